"""The scan: everything below a path, listed by many chains of pages at once.

A scan begins with the shards that the registry's layout offers: the folders of `blobs/sha256` and the first level below
`repositories`, by the first character of their names. While there are fewer chains than could run, a long one is cut: a second chain begins at a key in
the rest of its range, found by a guess that is itself a page of the listing. So deep trees and folders of any number of
tags, links or objects are listed side by side, whatever their names; what a cut costs is a page at each border.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from typing import Generic, NamedTuple

from storagedriver.layout.paths import BLOBS, REPOSITORIES
from storagedriver.listing import E, Listing, Page, StartAfterIgnoredError

SCAN_CONCURRENCY = 16
# With more direct children than this, one chain of pages costs fewer requests than a shard for each child.
MAX_CHILD_SHARDS = 256
# A chain is cut after this many pages, and again after as many; guesses in vain are at most a tenth of all pages.
PAGES_BEFORE_CUT = 8
PAGES_PER_VAIN_GUESS = 10
# Names mostly go on with a character of the same sort: digits with digits, letters with letters.
SORTS = ((ord("0"), ord("9")), (ord("A"), ord("Z")), (ord("a"), ord("z")))
LAST = ord("~")


class Shard(NamedTuple, Generic[E]):
    """A prefix to list, and its first page if that is known already."""

    prefix: str
    page: Page[E] | None = None


@dataclass(eq=False, slots=True)
class Chain(Generic[E]):
    """One chain of pages over the keys of a prefix, up to and including the key `stop`; "" is no bound."""

    prefix: str
    stop: str = ""
    page: Page[E] | None = None
    first_key: str = ""
    uncut_pages: int = 0
    high: str = ""  # nothing lies beyond this key up to `stop`, as a guess in vain has shown
    guessing: bool = False


class Scan(Generic[E]):
    """One scan of a prefix. Iterate once: lists of entries, in no order across them. Complete, or StorageDriverError."""

    def __init__(self, lister: Listing[E], prefix: str) -> None:
        self._lister = lister
        self._prefix = prefix
        self._shards: deque[Shard[E]] = deque()
        self._running: dict[Future[Page[E]], Chain[E]] = {}
        self._guesses: dict[Future[Page[E]], tuple[Chain[E], str]] = {}
        self._cutting = True
        self._pages = self._vain = 0

    def __iter__(self) -> Iterator[list[E]]:
        first = self._lister.page(self._prefix)
        direct = first.entries if first.token is None else self._split(self._prefix, first)
        if direct:
            yield direct
        with closing(self._list()) as pages:
            yield from filter(None, pages)

    def _split(self, prefix: str, first: Page[E] | None = None) -> list[E]:
        """Cut a prefix into shards along the layout; return the objects that lie directly in the levels looked at."""
        keys = self._lister.keys
        blobs, repositories = keys.prefix(f"{BLOBS}/sha256"), keys.prefix(REPOSITORIES)
        if not (blobs.startswith(prefix) or repositories.startswith(prefix)):
            self._shards.append(Shard(prefix, first))
            return []
        direct: list[E] = []
        children: list[str] = []
        for page in self._lister.pages(prefix, delimiter="/"):
            direct += page.entries
            children += [f"{keys.key(directory)}/" for directory in page.directories]
            if len(children) > MAX_CHILD_SHARDS:
                self._shards.append(Shard(prefix, first))
                return []
        if prefix in (blobs, repositories):
            # By first character, not each by itself: hundreds of small folders would cost a request each.
            names = (*children, *(keys.key(entry.path) for entry in direct))
            self._shards += [Shard(start) for start in sorted({name[: len(prefix) + 1] for name in names})]
            return []
        for child in children:
            direct += self._split(child)
        return direct

    def _list(self) -> Generator[list[E]]:
        """List the shards side by side. At most SCAN_CONCURRENCY pages are asked for or held at a time."""
        executor = ThreadPoolExecutor(SCAN_CONCURRENCY, thread_name_prefix="scan")
        try:
            while self._shards or self._running or self._guesses:
                while self._shards and self._free():
                    shard = self._shards.popleft()
                    fresh: Chain[E] = Chain(shard.prefix)
                    if shard.page is None:
                        self._running[executor.submit(self._lister.page, shard.prefix)] = fresh
                    else:
                        yield self._go_on(executor, fresh, shard.page)
                for running in list(self._running.values()):
                    if self._free() and (guess := self._cut(running)):
                        running.guessing = True
                        future = executor.submit(self._lister.page, running.prefix, start_after=guess)
                        self._guesses[future] = running, guess
                done, _pending = wait([*self._running, *self._guesses], return_when=FIRST_COMPLETED)
                for future in done & self._running.keys():
                    yield self._go_on(executor, self._running.pop(future), future.result())
                for future in done & self._guesses.keys():
                    yield self._begin_second(executor, future)
        finally:
            executor.shutdown(wait=True, cancel_futures=True)

    def _free(self) -> bool:
        return len(self._running) + len(self._guesses) < SCAN_CONCURRENCY

    def _go_on(self, executor: ThreadPoolExecutor, running: Chain[E], page: Page[E]) -> list[E]:
        """Take a page of a chain and ask for the next one; return the entries that belong to it."""
        self._pages += 1
        running.page, running.uncut_pages = page, running.uncut_pages + 1
        running.first_key = running.first_key or page.first_key
        over = bool(running.stop) and page.last_key >= running.stop
        if page.token is not None and not over:
            self._running[executor.submit(self._lister.following, running.prefix, page)] = running
        if not over:
            return page.entries
        stop = self._lister.keys.path(running.stop)
        return [entry for entry in page.entries if entry.path <= stop]

    def _begin_second(self, executor: ThreadPoolExecutor, future: Future[Page[E]]) -> list[E]:
        """Begin a second chain at the page that a guess gave, if it is any good; return the page's entries then."""
        first, guess = self._guesses.pop(future)
        first.guessing = False
        try:
            page = future.result()
        except StartAfterIgnoredError:
            self._cutting = False
            return []
        if first not in self._running.values() or (first.page is not None and first.page.last_key >= guess):
            self._vain += 1  # the chain was faster
            return []
        if not page.first_key or (first.stop and page.first_key > first.stop):
            self._vain += 1
            first.high = guess
            return []
        second: Chain[E] = Chain(first.prefix, stop=first.stop, high=first.high)
        first.stop, first.high, first.uncut_pages = guess, "", 0
        return self._go_on(executor, second, page)

    def _cut(self, running: Chain[E]) -> str:
        """Return a key in the rest of a chain's range at which a second one might begin, "" if it is not to be cut."""
        if not self._cutting or running.guessing or running.page is None or running.uncut_pages < PAGES_BEFORE_CUT:
            return ""
        if self._vain * PAGES_PER_VAIN_GUESS > self._pages:
            return ""
        return middle(running.first_key, running.page.last_key, running.high or running.stop)


def middle(first: str, reached: str, stop: str) -> str:
    """Return a key between `reached` and `stop` ("" for no bound) that may lie amid what is still to come, "" for none.

    The keys from `first` to `reached` show where names begin to differ; there a character is chosen half-way to the last
    of its sort, or half-way to the bound once that is nearer.
    """
    at = next((at for at, (one, other) in enumerate(zip(first, reached, strict=False)) if one != other), len(reached))
    while at < len(reached):
        low, high = ord(reached[at]), LAST + 1
        if stop and stop[:at] == reached[:at] and len(stop) > at:
            high = min(high, ord(stop[at]))
        end = next((last + 1 for begin, last in SORTS if begin <= low <= last), high)
        for bound in (min(end, high), high):
            if bound - low > 1:
                return f"{reached[:at]}{chr((low + bound) // 2)}"
        at += 1
    return ""
