"""The walk: every file and directory below a path, in key order."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from storagedriver.errors import SkipDir, StopWalk
from storagedriver.fileinfo import FileInfo
from storagedriver.listing import Entry, Lister, Page

if TYPE_CHECKING:
    from storagedriver.driver import S3Driver

Visit = Callable[[FileInfo], object]

LAST_CHARACTER = "\U0010ffff"  # sorts behind every other in UTF-8, the order of listings


def walk(driver: S3Driver, path: str, visit: Visit, start_after: str | None) -> None:
    """Visit everything below a path; see `S3Driver.walk`."""
    lister, prefix = Lister(driver), driver.keys.prefix(path)
    base = "" if path == "/" else path
    announced: list[str] = []
    skipped = ""
    page: Page[Entry] | None = lister.page(prefix, start_after=driver.key(start_after) if start_after else "")
    try:
        while page is not None:
            for entry in page.entries:
                if skipped and entry.path.startswith(skipped):
                    continue
                skipped = _announce(base, entry, announced, visit)
                if not skipped:
                    _visit(visit, FileInfo(entry.path, entry.size, entry.modified, is_dir=False, etag=entry.etag))
            if page.token is None:
                page = None
            elif skipped and page.last_key.startswith(driver.key(skipped)):  # do not list the rest of it
                page = lister.page(prefix, start_after=f"{driver.key(skipped)}{LAST_CHARACTER}")
            else:
                page = lister.following(prefix, page)
    except StopWalk:
        return


def _announce(base: str, entry: Entry, announced: list[str], visit: Visit) -> str:
    """Visit the directories between `base` and an entry that were not visited yet.

    Returns the beginning of the paths to leave out, "" when none of them was skipped.
    """
    names = entry.path[len(base) + 1 :].split("/")[:-1]
    common = 0
    while common < min(len(names), len(announced)) and names[common] == announced[common]:
        common += 1
    del announced[common:]
    for name in names[common:]:
        announced.append(name)
        directory = f"{base}/{'/'.join(announced)}"
        if name and not _visit(visit, FileInfo(directory, 0, None, is_dir=True)):
            return f"{directory}/"
    return ""


def _visit(visit: Visit, info: FileInfo) -> bool:
    try:
        visit(info)
    except SkipDir:
        return False
    return True
