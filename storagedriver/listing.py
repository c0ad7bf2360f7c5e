"""Listing: pages of a prefix, in key order.

A page is at most 1,000 keys. botocore would spend about 65 ms of CPU on parsing one; lxml takes about 3 ms.
Directory markers (keys that end in "/") are what consoles leave behind: they are never reported.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar
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


class Listed(Protocol):
    """What stands on a page: something with a path."""

    @property
    def path(self) -> str: ...


E = TypeVar("E", bound=Listed)


class Entry(NamedTuple):
    """One listed object. `path` may break the path rule: keys are foreign input. `size` is bytes, `etag` has no quotes."""

    path: str
    size: int
    etag: str
    modified: datetime
    storage_class: str


@dataclass(frozen=True, slots=True)
class Page(Generic[E]):
    """One page of a listing: entries, the paths of directories, the keys of directory markers; the next page's token.

    `first_key` and `last_key` are "" on an empty page.
    """

    entries: list[E]
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
def _columns(namespace: str, element: str, fields: tuple[str, ...]) -> tuple[etree.XPath, ...]:
    """Return expressions for all texts of each field of an element on a page. libxml2 walks the page, not Python."""
    names, prefix = ({"s": namespace}, "s:") if namespace else (None, "")
    return tuple(
        etree.XPath(f"{prefix}{element}/{prefix}{name}/text()", namespaces=names, smart_strings=False)
        for name in fields
    )


def rows(root: etree._Element, element: str, fields: tuple[str, ...]) -> Iterable[tuple[str, ...]]:
    """Return the fields of every `element` on a page, in the order of `fields`; "" for a text that is absent."""
    namespace = etree.QName(root).namespace or ""
    tag = f"{{{namespace}}}" if namespace else ""
    items = root.findall(f"{tag}{element}")
    columns = [column(root) for column in _columns(namespace, element, fields)]
    if all(len(column) == len(items) for column in columns):
        return zip(*columns, strict=True)
    return [tuple(item.findtext(f"{tag}{name}") or "" for name in fields) for item in items]


class Answer:
    """The parsed body of a listing answer. Raises MalformedPageError for a cut body or anything else."""

    def __init__(self, body: bytes, document: str) -> None:
        parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
        try:
            self.root = etree.fromstring(body, parser)
        except etree.XMLSyntaxError as error:
            raise MalformedPageError(str(error)) from None
        name = etree.QName(self.root)
        if name.localname != document:
            raise MalformedPageError(f"a document <{name.localname}>")
        self._tag = f"{{{name.namespace}}}" if name.namespace else ""
        self._encoded = self.text("EncodingType") == "url"
        self.truncated = self.text("IsTruncated").strip().lower() == "true"

    def text(self, field: str) -> str:
        """Return a field of the page itself, "" for none."""
        return self.root.findtext(f"{self._tag}{field}") or ""

    def key(self, text: str) -> str:
        """Decode a key or a prefix."""
        return unquote_plus(text) if self._encoded and ("%" in text or "+" in text) else text

    def prefixes(self) -> list[str]:
        """Return the prefixes that stand for what a delimiter hides."""
        path = "*[local-name()='CommonPrefixes']/*[local-name()='Prefix']/text()"
        return [self.key(prefix) for prefix in self.root.xpath(path, smart_strings=False)]


def parse_page(body: bytes, keys: KeyMap) -> Page[Entry]:
    """Parse the body of a ListObjectsV2 answer. Raises MalformedPageError for a cut body or anything else."""
    answer = Answer(body, "ListBucketResult")
    decode, to_path = answer.key, keys.path
    entries: list[Entry] = []
    markers: list[str] = []
    first_key = last_key = key = ""
    try:
        for encoded, modified, etag, size, storage_class in rows(answer.root, "Contents", FIELDS):
            key = decode(encoded)
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
        prefixes = answer.prefixes()
        directories = [to_path(prefix).removesuffix("/") for prefix in prefixes]
    except ValueError as error:
        raise MalformedPageError(f"an entry that cannot be read ({error})") from None
    token = answer.text("NextContinuationToken") or None
    if answer.truncated and token is None:
        raise MalformedPageError("a page that ends early without a token to go on")
    first_key = min([*([first_key] if first_key else []), *prefixes[:1]], default="")
    last_key = max([last_key, *prefixes[-1:]])
    return Page(entries, directories, markers, token if answer.truncated else None, first_key, last_key)


class Listing(ABC, Generic[E]):
    """Lists a bucket through a driver's client, `page_keys` at a time (S3 allows 1,000)."""

    page_keys = 1_000
    operation = "ListObjectsV2"

    def __init__(self, driver: S3Driver) -> None:
        self._driver = driver
        self._parameters: DriverParameters = driver.parameters
        self.keys: KeyMap = driver.keys

    @abstractmethod
    def ask(self, request: dict[str, Any], start_after: str, token: str | None) -> Page[E]:
        """Make one request and parse its answer. Raises StorageDriverError and MalformedPageError."""

    def page(
        self,
        prefix: str,
        *,
        delimiter: str = "",
        start_after: str = "",
        token: str | None = None,
        limit: int | None = None,
    ) -> Page[E]:
        """Return one page of the keys that begin with `prefix`. Raises StorageDriverError."""
        request: dict[str, Any] = {
            "Bucket": self._parameters.bucket,
            "Prefix": prefix,
            "MaxKeys": limit or self.page_keys,
        }
        if delimiter:
            request["Delimiter"] = delimiter
        for attempt in range(1, PAGE_ATTEMPTS + 1):
            try:
                page = self.ask(request, start_after, token)
                if start_after and token is None and page.first_key and page.first_key <= start_after:
                    raise StartAfterIgnoredError(self._parameters.endpoint_host, start_after)
                return page
            except MalformedPageError as error:
                if attempt == PAGE_ATTEMPTS:
                    raise StorageDriverError(
                        f"{self._parameters.endpoint_host} answered a listing with {error}; check that the endpoint is an"
                        f" S3 service that supports {self.operation}",
                        operation=self.operation,
                    ) from None
        raise AssertionError("unreachable")

    def pages(
        self, prefix: str, *, delimiter: str = "", start_after: str = "", limit: int | None = None
    ) -> Iterator[Page[E]]:
        """Yield all pages of a prefix in key order. Raises StorageDriverError, also when the listing runs in circles."""
        page = self.page(prefix, delimiter=delimiter, start_after=start_after, limit=limit)
        yield page
        while page.token is not None:
            page = self.following(prefix, page, delimiter=delimiter)
            yield page

    def following(self, prefix: str, page: Page[E], *, delimiter: str = "") -> Page[E]:
        """Return the page after `page`. Raises StorageDriverError when it does not lead on."""
        after = self.page(prefix, delimiter=delimiter, token=page.token)
        if after.token is not None and (after.token == page.token or not self.leads_on(page.last_key, after.last_key)):
            raise StorageDriverError(
                f"{self._parameters.endpoint_host} lists in circles: the page after {page.last_key!r} ends at"
                f" {after.last_key!r}; its listing cannot be relied on",
                operation=self.operation,
            )
        return after

    def leads_on(self, last_key: str, after: str) -> bool:
        """Say whether a page that is not the last and ends at the key `after` may follow one that ends at `last_key`."""
        return after > last_key


class Lister(Listing[Entry]):
    """Lists the objects of a bucket."""

    def ask(self, request: dict[str, Any], start_after: str, token: str | None) -> Page[Entry]:
        if token is not None:
            request = request | {"ContinuationToken": token}
        elif start_after:  # some services answer an empty list when it is sent without need
            request = request | {"StartAfter": start_after}
        with translating(self._parameters), raw_listings():
            answer: Any = self._driver.client.list_objects_v2(**request)
        return parse_page(answer["RawBody"], self.keys)
