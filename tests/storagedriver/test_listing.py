"""Listing pages and the scan: complete, or an error."""

from __future__ import annotations

import itertools
import secrets
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storagedriver import DriverParameters, Entry, S3Driver, StorageDriverError
from storagedriver.clients import Timeouts
from storagedriver.listing import Lister, MalformedPageError, Page, StartAfterIgnoredError, parse_page
from storagedriver.paths import KeyMap
from storagedriver.scanning import Scan, middle
from tests.storagedriver.conftest import ScriptedServer, respond

V2 = "/docker/registry/v2"
HEX = secrets.token_hex


def page_body(*keys: str, token: str = "", namespace: bool = True, declared: str = "") -> bytes:
    """Return a listing answer as S3 writes it."""
    contents = "".join(
        f"<Contents><Key>{escape(key)}</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified>"
        f"<ETag>&quot;e&quot;</ETag><Size>7</Size><StorageClass>GLACIER_IR</StorageClass></Contents>"
        for key in keys
    )
    xmlns = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"' if namespace else ""
    more = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    truncated = declared or ("true" if token else "false")
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult{xmlns}>'
        f"<IsTruncated>{truncated}</IsTruncated>{more}{contents}</ListBucketResult>"
    ).encode()


class TestParsePage:
    @pytest.mark.parametrize("namespace", [True, False])
    def test_it_works(self, namespace: bool) -> None:
        page = parse_page(page_body("root/a", "root/b c", token="next", namespace=namespace), KeyMap("root"))
        modified = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
        assert page.entries == [Entry(path, 7, "e", modified, "GLACIER_IR") for path in ("/a", "/b c")]
        assert (page.token, page.last_key, page.markers) == ("next", "root/b c", [])

    def test_it_decodes_keys_only_when_they_are_encoded(self) -> None:
        plain = page_body("a%2Bb+c")
        encoded = plain.replace(b"<IsTruncated>", b"<EncodingType>url</EncodingType><IsTruncated>")
        assert [parse_page(body, KeyMap("")).entries[0].path for body in (plain, encoded)] == ["/a%2Bb+c", "/a+b c"]

    def test_it_keeps_markers_apart(self) -> None:
        page = parse_page(page_body("a/", "a/b"), KeyMap(""))
        assert ([entry.path for entry in page.entries], page.markers) == (["/a/b"], ["a/"])

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"<html><body>Welcome</body></html>",
            b"{}",
            page_body("a")[:-10],
            page_body("a", declared="true"),
            page_body("a").replace(b"<Size>7</Size>", b""),
            page_body("a").replace(b"<Size>7", b"<Size>many"),
            page_body("outside/root"),
        ],
        ids=["empty", "html", "json", "cut", "no token", "no size", "bad size", "foreign key"],
    )
    def test_it_refuses_what_is_no_complete_page(self, body: bytes) -> None:
        keys = KeyMap("root" if b"outside" in body else "")
        with pytest.raises(MalformedPageError):
            parse_page(body, keys)

    def test_it_expands_no_entities(self) -> None:
        bomb = b'<!DOCTYPE x [<!ENTITY a "boom">]>' + page_body("a").split(b"\n", 1)[1].replace(b">a<", b">&a;<")
        assert b"boom" in bomb
        try:
            paths = [entry.path for entry in parse_page(bomb, KeyMap("")).entries]
        except MalformedPageError:
            paths = []
        assert "/boom" not in paths

    @given(st.binary(max_size=200))
    def test_it_never_raises_anything_else(self, body: bytes) -> None:
        with pytest.raises(MalformedPageError):
            parse_page(body, KeyMap(""))


def put_keys(driver: S3Driver, keys: list[str]) -> None:
    for key in keys:
        driver.client.put_object(Bucket=driver.parameters.bucket, Key=key, Body=b"")


class TestScan:
    paths = [
        "/docker/registry/v1",
        *(f"{V2}/blobs/sha256/{prefix}/{prefix}{HEX(4)}/data" for prefix in ("00", "0a", "7f", "ff") for _ in range(9)),
        *(f"{V2}/blobs/sha256/{name}" for name in ("ab", "not-hex/x", "zz/y", "00-x")),
        *(f"{V2}/blobs/{name}" for name in ("sha512/aa/aabb/data", "readme")),
        *(f"{V2}/repositories/{name}/_manifests/tags/{tag}/current/link" for name in "abc" for tag in "xyzuvw"),
        f"{V2}/repositories/stray",
        "/elsewhere/with space/+plus%41/ünïcode/\x01control",
        "/zlast//double",
    ]

    def scan(self, driver: S3Driver, path: str = "/") -> list[str]:
        return sorted(entry.path for page in driver.scan(path) for entry in page)

    @pytest.fixture
    def full(self, driver: S3Driver) -> S3Driver:
        put_keys(driver, [driver.key(path) for path in self.paths] + [driver.key(f"{V2}/blobs/sha256/00/")])
        return driver

    def test_a_small_prefix_costs_one_request(self, full: S3Driver) -> None:
        assert self.scan(full) == sorted(self.paths)
        assert full.requests["ListObjectsV2"] == 1

    @pytest.mark.parametrize("path", ["/", "/docker", V2, f"{V2}/blobs", f"{V2}/blobs/sha256", f"{V2}/repositories"])
    def test_a_large_one_is_listed_in_shards_completely(self, full: S3Driver, small_pages: int, path: str) -> None:
        assert self.scan(full, path) == sorted(
            found for found in self.paths if found.startswith(path.rstrip("/") + "/")
        )

    def test_many_small_folders_cost_no_request_each(self, driver: S3Driver, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Lister, "page_keys", 64)
        put_keys(driver, [driver.key(f"{V2}/blobs/sha256/{number:02x}/x/data") for number in range(256)])
        before = driver.requests["ListObjectsV2"]
        assert len(self.scan(driver)) == 256
        asked = driver.requests["ListObjectsV2"] - before
        levels, folders, characters = 6, 4, 16  # the way down, the folders' own pages, a shard for each first digit
        assert asked <= levels + folders + characters

    def test_too_many_children_are_listed_in_one_chain(
        self, full: S3Driver, small_pages: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("storagedriver.scanning.MAX_CHILD_SHARDS", 2)
        assert self.scan(full) == sorted(self.paths)

    def test_an_empty_one_has_no_pages(self, driver: S3Driver) -> None:
        assert list(driver.scan("/")) == []

    def test_a_sibling_of_the_root_is_left_out(self, driver: S3Driver) -> None:
        put_keys(driver, [f"{driver.keys.root}-sibling/a", driver.key("/a")])
        assert self.scan(driver) == ["/a"]

    def test_a_scan_left_early_ends_its_threads(self, full: S3Driver, small_pages: int) -> None:
        pages = full.scan("/")
        next(pages)
        pages.close()  # type: ignore[attr-defined]

    def test_it_finds_the_root_of_the_bucket(self, parameters: Callable[..., DriverParameters]) -> None:
        inside = S3Driver(parameters())
        inside.put_content("/x", b"")
        assert f"/{inside.key('/x')}" in self.scan(S3Driver(parameters(rootdirectory="")))


class Store(Lister):
    """A listing of keys in memory, `page_keys` at a time, that counts the pages."""

    def __init__(self, keys: Iterable[str], *, page_keys: int = 1000, deaf: bool = False) -> None:
        self.keys = KeyMap("")
        self.page_keys = page_keys
        self.asked = 0
        self._sorted = sorted(set(keys))
        self._deaf = deaf  # takes no notice of where to start
        self._lock = threading.Lock()

    def page(self, prefix: str, **options: Any) -> Page[Entry]:
        with self._lock:
            self.asked += 1
        start = options.get("token") or ("" if self._deaf else options.get("start_after", ""))
        begin = max(bisect_left(self._sorted, prefix), bisect_right(self._sorted, start))
        found: dict[str, bool] = {}
        for key in self._sorted[begin:]:
            if not key.startswith(prefix):
                break
            head, slash, _ = key[len(prefix) :].partition("/")
            folded = options.get("delimiter") and slash
            found[f"{prefix}{head}/" if folded else key] = bool(folded)
            if len(found) > self.page_keys:
                break
        more, names = len(found) > self.page_keys, list(found)[: self.page_keys]
        if (after := options.get("start_after")) and names and names[0] <= after:
            raise StartAfterIgnoredError("store", after)
        entries = [Entry(f"/{name}", 0, "", datetime.now(UTC), "STANDARD") for name in names if not found[name]]
        token = f"{names[-1]}{chr(0x10FFFF) if found[names[-1]] else ''}" if more else None
        folders = [f"/{name}".rstrip("/") for name in names if found[name]]
        return Page(entries, folders, [], token, *((names[0], names[-1]) if names else ("", "")))


def scanned(store: Store, prefix: str = "") -> list[str]:
    return sorted(entry.path.removeprefix("/") for page in Scan(store, prefix) for entry in page)


class TestCuts:
    """Long chains are cut wherever the keys are; nothing is lost or listed twice."""

    trees = {
        name: list(keys)
        for name, keys in {
            "tags": (
                f"{V2[1:]}/repositories/app/_manifests/tags/v1.{n // 100}.{n % 100}/current/link" for n in range(9000)
            ),
            "deep": (f"{V2[1:]}/repositories/org/{a}/{b}/{n}/link" for a in "abc" for b in "xyz" for n in range(900)),
            "digests": (
                f"{V2[1:]}/repositories/app/_layers/sha256/{n * 2654435761 % 2**32:08x}/link" for n in range(9000)
            ),
            "flat": (f"{n:05}" for n in range(9000)),
            "mixed sorts": (f"d/{c}{n:03}" for c in "0.-_aZ~é日" for n in range(900)),
        }.items()
    }

    @pytest.mark.parametrize("name", trees)
    def test_everything_is_listed_once(self, name: str) -> None:
        keys = sorted(self.trees[name])
        store = Store(keys, page_keys=20)
        assert scanned(store) == keys

    def test_the_price_is_small(self) -> None:
        """At most a tenth of all pages are guesses in vain; a cut costs one page at its border."""
        store = Store((f"{n:06}" for n in range(60_000)), page_keys=100)
        assert len(scanned(store)) == 60_000
        assert store.asked <= 600 * 1.2

    def test_a_long_folder_is_listed_by_many_chains(self, monkeypatch: pytest.MonkeyPatch) -> None:
        together = threading.Barrier(3, timeout=20)  # broken, unless three pages are on their way at once
        store = Store((f"tags/v1.{n:05}/link" for n in range(9000)), page_keys=50)
        real = Store.page

        def page(self: Store, prefix: str, **options: Any) -> Page[Entry]:
            found = real(self, prefix, **options)
            if next(numbers) in range(60, 90):
                together.wait()
            return found

        numbers = itertools.count()
        monkeypatch.setattr(Store, "page", page)
        assert len(scanned(store)) == 9000

    def test_a_service_that_ignores_the_start_is_listed_in_one_chain(self) -> None:
        keys = [f"{n:05}" for n in range(9000)]
        store = Store(keys, page_keys=20, deaf=True)
        assert scanned(store) == keys

    @settings(deadline=None, max_examples=60)
    @given(
        st.sets(st.text("0129afAZ_.-/~", min_size=1, max_size=6), max_size=400),
        st.integers(1, 5),
        st.sampled_from(["", "a", "1/"]),
    )
    def test_any_keys(self, keys: set[str], page_keys: int, prefix: str) -> None:
        assert scanned(Store(keys, page_keys=page_keys), prefix) == sorted(
            key for key in keys if key.startswith(prefix)
        )


class TestMiddle:
    @pytest.mark.parametrize(
        ("first", "reached", "stop", "expected"),
        [
            ("tags/v1.0/", "tags/v1.3/", "", "tags/v1.6"),
            ("a", "a", "", ""),
            ("a/0", "a/8", "", "a/9"),
            ("a/0", "a/9", "", "a/\\"),
            ("a/0", "a/9x", "a/:", "a/9y"),
            ("x", "y/1", "", "z"),
        ],
    )
    def test_it_chooses_a_key_ahead(self, first: str, reached: str, stop: str, expected: str) -> None:
        assert middle(first, reached, stop) == expected

    @given(st.text(max_size=8), st.text(max_size=8), st.text(max_size=8))
    def test_it_is_within_the_range(self, first: str, reached: str, stop: str) -> None:
        guess = middle(first, reached, stop)
        assert not guess or guess > reached
        assert not guess or not stop > reached or guess < stop


class TestBadServers:
    @pytest.fixture
    def open_driver(
        self, scripted: Callable[..., ScriptedServer], parameters: Callable[..., DriverParameters]
    ) -> Callable[[Callable[[BaseHTTPRequestHandler, int], None]], S3Driver]:
        def make(answer: Callable[[BaseHTTPRequestHandler, int], None]) -> S3Driver:
            return S3Driver(parameters(regionendpoint=scripted(answer).endpoint), timeouts=Timeouts(attempts=1))

        return make

    def test_a_listing_in_circles_ends(self, open_driver: Callable[..., S3Driver]) -> None:
        def answer(handler: BaseHTTPRequestHandler, number: int) -> None:
            key = parse_qs(urlsplit(handler.path).query)["prefix"][0] + "a"
            respond(handler, 200, page_body(key, token=f"token{number}"))

        driver = open_driver(answer)
        with pytest.raises(StorageDriverError, match="lists in circles"):
            list(driver.scan("/"))

    def test_a_cut_page_is_asked_for_again(self, open_driver: Callable[..., S3Driver]) -> None:
        def answer(handler: BaseHTTPRequestHandler, number: int) -> None:
            body = page_body(parse_qs(urlsplit(handler.path).query)["prefix"][0] + "a")
            respond(handler, 200, body[:-20] if number == 1 else body)

        (page,) = open_driver(answer).scan("/")
        assert [entry.path for entry in page] == ["/a"]

    def test_a_web_page_is_no_listing(self, open_driver: Callable[..., S3Driver]) -> None:
        driver = open_driver(lambda handler, number: respond(handler, 200, b"<html><p>Welcome to nginx</p></html>"))
        with pytest.raises(StorageDriverError, match="check that the endpoint is an S3 service"):
            driver.list("/")

    def test_a_failing_shard_fails_the_scan(self, driver: S3Driver, monkeypatch: pytest.MonkeyPatch) -> None:
        put_keys(driver, [driver.key(f"{V2}/blobs/sha256/{prefix}/x/data") for prefix in ("00", "10", "20", "30")])
        monkeypatch.setattr(Lister, "page_keys", 2)
        real = Lister.page

        def page(self: Lister, prefix: str, **arguments: object) -> object:
            if prefix.endswith("/sha256/2"):
                raise StorageDriverError("denied")
            return real(self, prefix, **arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(Lister, "page", page)
        with pytest.raises(StorageDriverError, match="denied"):
            list(driver.scan("/"))
