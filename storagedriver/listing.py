"""Listing: pages of a prefix, in key order.

A page is at most 1,000 keys. botocore would spend about 65 ms of CPU on parsing one; lxml takes about 3 ms.
Directory markers (keys that end in "/") are what consoles leave behind: they are never reported.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote_plus

from lxml import etree

from storagedriver.clients import raw_listings
from storagedriver.errors import StorageDriverError, translating
from storagedriver.parameters import DriverParameters
from storagedriver.paths import KeyMap

if TYPE_CHECKING:
    from storagedriver.driver import S3Driver

# Another attempt at a page whose body was cut; botocore retries everything before the body.
PAGE_ATTEMPTS = 3


class Entry(NamedTuple):
    """One listed object. `path` may break the path rule: keys are foreign input. `size` is bytes, `etag` has no quotes."""

    path: str
    size: int
    etag: str
    modified: datetime
    storage_class: str


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing: entries, the paths of directories, the keys of directory markers; the next page's token.

    `first_key` and `last_key` are "" on an empty page.
    """

    entries: list[Entry]
    directories: list[str]
    markers: list[str]
    token: str | None
    first_key: str
    last_key: str


class MalformedPageError(Exception):
    """A listing answer that is no complete S3 listing."""


class StartAfterIgnoredError(StorageDriverError):
    """The service listed keys that come before the one to start after."""

    def __init__(self, host: str, start_after: str) -> None:
        super().__init__(
            f"{host} ignores where a listing is to start (StartAfter {start_after!r}); it lacks a part of ListObjectsV2",
            operation="ListObjectsV2",
        )
        self.args = (host, start_after)


FIELDS = ("Key", "LastModified", "ETag", "Size", "StorageClass")


@functools.lru_cache(maxsize=16)
def _columns(namespace: str) -> tuple[etree.XPath, ...]:
    """Return expressions for all texts of a field on a page, one for each of FIELDS. libxml2 walks the page, not Python."""
    names, prefix = ({"s": namespace}, "s:") if namespace else (None, "")
    return tuple(
        etree.XPath(f"{prefix}Contents/{prefix}{name}/text()", namespaces=names, smart_strings=False) for name in FIELDS
    )


def _rows(root: etree._Element, namespace: str) -> Iterable[tuple[str, str, str, str, str]]:
    """Return the fields of every listed object, in the order of FIELDS; "" for an ETag or storage class that is absent."""
    tag = f"{{{namespace}}}" if namespace else ""
    contents = root.findall(f"{tag}Contents")
    columns = [column(root) for column in _columns(namespace)]
    if all(len(column) == len(contents) for column in columns):
        return zip(*columns, strict=True)
    return [
        (
            item.findtext(f"{tag}Key") or "",
            item.findtext(f"{tag}LastModified") or "",
            item.findtext(f"{tag}ETag") or "",
            item.findtext(f"{tag}Size") or "",
            item.findtext(f"{tag}StorageClass") or "",
        )
        for item in contents
    ]


def parse_page(body: bytes, keys: KeyMap) -> Page:
    """Parse the body of a ListObjectsV2 answer. Raises MalformedPageError for a cut body or anything else."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        root = etree.fromstring(body, parser)
    except etree.XMLSyntaxError as error:
        raise MalformedPageError(str(error)) from None
    name = etree.QName(root)
    if name.localname != "ListBucketResult":
        raise MalformedPageError(f"a document <{name.localname}>")
    namespace = name.namespace or ""
    tag = f"{{{namespace}}}" if namespace else ""
    encoded = root.findtext(f"{tag}EncodingType") == "url"
    to_path = keys.path
    entries: list[Entry] = []
    markers: list[str] = []
    first_key = last_key = key = ""
    try:
        for key, modified, etag, size, storage_class in _rows(root, namespace):
            if encoded and ("%" in key or "+" in key):
                key = unquote_plus(key)
            first_key = first_key or key
            if key.endswith("/"):
                markers.append(key)
            else:
                entries.append(
                    Entry(
                        to_path(key),
                        int(size),
                        etag.strip('"'),
                        datetime.fromisoformat(modified),
                        storage_class or "STANDARD",
                    )
                )
        last_key = key
        prefixes = root.xpath("*[local-name()='CommonPrefixes']/*[local-name()='Prefix']/text()", smart_strings=False)
        if encoded:
            prefixes = [unquote_plus(prefix) for prefix in prefixes]
        directories = [keys.path(prefix).removesuffix("/") for prefix in prefixes]
    except ValueError as error:
        raise MalformedPageError(f"an entry that cannot be read ({error})") from None
    truncated = (root.findtext(f"{tag}IsTruncated") or "").strip().lower() == "true"
    token = root.findtext(f"{tag}NextContinuationToken") or None
    if truncated and token is None:
        raise MalformedPageError("a page that ends early without a token to go on")
    last_key = max([last_key, *prefixes[-1:]])
    first_key = min([*([first_key] if first_key else []), *prefixes[:1]], default="")
    return Page(entries, directories, markers, token if truncated else None, first_key, last_key)


class Lister:
    """Lists keys of one bucket through a driver's client, `page_keys` at a time (S3 allows 1,000)."""

    page_keys = 1_000

    def __init__(self, driver: S3Driver) -> None:
        self._driver = driver
        self._parameters: DriverParameters = driver.parameters
        self.keys: KeyMap = driver.keys

    def page(
        self,
        prefix: str,
        *,
        delimiter: str = "",
        start_after: str = "",
        token: str | None = None,
        limit: int | None = None,
    ) -> Page:
        """Return one page of the keys that begin with `prefix`. Raises StorageDriverError."""
        request: dict[str, Any] = {
            "Bucket": self._parameters.bucket,
            "Prefix": prefix,
            "MaxKeys": limit or self.page_keys,
        }
        if delimiter:
            request["Delimiter"] = delimiter
        if token is not None:
            request["ContinuationToken"] = token
        elif start_after:  # some services answer an empty list when it is sent without need
            request["StartAfter"] = start_after
        for attempt in range(1, PAGE_ATTEMPTS + 1):
            with translating(self._parameters), raw_listings():
                answer: Any = self._driver.client.list_objects_v2(**request)
            try:
                page = parse_page(answer["RawBody"], self.keys)
                if start_after and token is None and page.first_key and page.first_key <= start_after:
                    raise StartAfterIgnoredError(self._parameters.endpoint_host, start_after)
                return page
            except MalformedPageError as error:
                if attempt == PAGE_ATTEMPTS:
                    raise StorageDriverError(
                        f"{self._parameters.endpoint_host} answered a listing with {error}; check that the endpoint is an"
                        " S3 service that supports ListObjectsV2",
                        operation="ListObjectsV2",
                    ) from None
        raise AssertionError("unreachable")

    def pages(
        self, prefix: str, *, delimiter: str = "", start_after: str = "", limit: int | None = None
    ) -> Iterator[Page]:
        """Yield all pages of a prefix in key order. Raises StorageDriverError, also when the listing runs in circles."""
        page = self.page(prefix, delimiter=delimiter, start_after=start_after, limit=limit)
        yield page
        while page.token is not None:
            page = self.following(prefix, page, delimiter=delimiter)
            yield page

    def following(self, prefix: str, page: Page, *, delimiter: str = "") -> Page:
        """Return the page after `page`. Raises StorageDriverError when it does not lead on."""
        after = self.page(prefix, delimiter=delimiter, token=page.token)
        if after.token is not None and (after.token == page.token or after.last_key <= page.last_key):
            raise StorageDriverError(
                f"{self._parameters.endpoint_host} lists in circles: the page after {page.last_key!r} ends at"
                f" {after.last_key!r}; its listing cannot be relied on",
                operation="ListObjectsV2",
            )
        return after
