"""Object versions and delete markers: all of them, whatever the pages."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storagedriver import DriverParameters, ObjectVersion, S3Driver, StorageDriverError
from storagedriver.clients import Timeouts
from storagedriver.listing import MalformedPageError
from storagedriver.paths import KeyMap
from storagedriver.versions import VersionLister, parse_versions
from tests.storagedriver.conftest import ScriptedServer, respond

BUCKET = "wharfinger-versions"


def body(*versions: str, more: str = "") -> bytes:
    inner = f"<IsTruncated>true</IsTruncated>{more}" if more else "<IsTruncated>false</IsTruncated>"
    return (
        f'<ListVersionsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inner}{"".join(versions)}'
        "</ListVersionsResult>"
    ).encode()


def version(key: str, version_id: str = "null") -> str:
    return (
        f"<Version><Key>{key}</Key><VersionId>{version_id}</VersionId><IsLatest>true</IsLatest>"
        "<LastModified>2026-01-02T03:04:05Z</LastModified><ETag>&quot;e&quot;</ETag><Size>7</Size>"
        "<StorageClass>STANDARD</StorageClass></Version>"
    )


def marker(key: str, version_id: str = "m") -> str:
    return (
        f"<DeleteMarker><Key>{key}</Key><VersionId>{version_id}</VersionId><IsLatest>false</IsLatest>"
        "<LastModified>2026-01-02T03:04:05Z</LastModified></DeleteMarker>"
    )


class TestParse:
    stored = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    def test_it_works(self) -> None:
        page = parse_versions(body(version("root/a", "v"), marker("root/b")), KeyMap("root"))
        assert page.entries == [
            ObjectVersion("/a", "v", True, False, 7, "e", self.stored, "STANDARD"),
            ObjectVersion("/b", "m", False, True, 0, "", self.stored, ""),
        ]
        assert (page.token, page.first_key, page.last_key) == (None, "root/a", "root/b")

    @pytest.mark.parametrize(
        "text",
        [
            b"",
            b"<ListBucketResult/>",
            body(version("a"))[:-9],
            body(version("a"), more="<NextVersionIdMarker>x</NextVersionIdMarker>"),
            body(version("a").replace(">7<", ">many<")),
            body(version("a").replace("2026", "soon")),
        ],
        ids=["empty", "objects", "cut", "no marker", "bad size", "bad date"],
    )
    def test_it_refuses_what_is_no_complete_page(self, text: bytes) -> None:
        with pytest.raises(MalformedPageError):
            parse_versions(text, KeyMap(""))

    @given(st.binary(max_size=200))
    def test_it_never_raises_anything_else(self, text: bytes) -> None:
        with pytest.raises(MalformedPageError):
            parse_versions(text, KeyMap(""))


class TestScan:
    @pytest.fixture
    def driver(self, parameters: Callable[..., DriverParameters]) -> S3Driver:
        driver = S3Driver(parameters(bucket=BUCKET))
        driver.client.create_bucket(Bucket=BUCKET)
        driver.client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        return driver

    def found(self, driver: S3Driver, path: str = "/") -> list[tuple[str, bool, bool, int]]:
        return sorted(
            (one.path, one.is_latest, one.is_delete_marker, one.size)
            for page in driver.scan_versions(path)
            for one in page
        )

    def test_it_tells_versions_from_delete_markers(self, driver: S3Driver) -> None:
        driver.put_content("/a", b"1")
        driver.put_content("/a", b"22")
        driver.put_content("/b", b"333")
        driver.delete("/b")
        assert self.found(driver) == [
            ("/a", False, False, 1),
            ("/a", True, False, 2),
            ("/b", False, False, 3),
            ("/b", True, True, 0),
        ]

    @pytest.mark.parametrize("page_keys", [1, 2, 5])
    def test_versions_of_one_key_go_on_over_pages(
        self, driver: S3Driver, monkeypatch: pytest.MonkeyPatch, page_keys: int
    ) -> None:
        monkeypatch.setattr(VersionLister, "page_keys", page_keys)
        for number in range(12):
            driver.put_content("/same", bytes(number))
        for name in ("/a", "/z"):
            driver.put_content(name, b"")
        sizes = sorted(size for path, _latest, _marker, size in self.found(driver) if path == "/same")
        assert (sizes, len(self.found(driver))) == (list(range(12)), 14)

    def test_it_stays_below_its_path(self, driver: S3Driver) -> None:
        for path in ("/a/1", "/a-b", "/ab"):
            driver.put_content(path, b"")
        assert [path for path, *_ in self.found(driver, "/a")] == ["/a/1"]

    def test_a_bucket_without_versions_has_one_of_each(self, parameters: Callable[..., DriverParameters]) -> None:
        driver = S3Driver(parameters())
        driver.put_content("/a", b"1")
        ((one,),) = driver.scan_versions("/")
        assert (one.path, one.version_id, one.is_latest) == ("/a", "null", True)


def test_a_listing_in_circles_ends(
    scripted: Callable[..., ScriptedServer], parameters: Callable[..., DriverParameters]
) -> None:
    more = "<NextKeyMarker>root/a</NextKeyMarker><NextVersionIdMarker>v</NextVersionIdMarker>"

    def answer(handler: BaseHTTPRequestHandler, number: int) -> None:
        respond(handler, 200, body(version("root/a", "v"), more=more))

    values = dataclasses.replace(parameters(regionendpoint=scripted(answer).endpoint), rootdirectory="root")
    with pytest.raises(StorageDriverError, match="lists in circles"):
        list(S3Driver(values, timeouts=Timeouts(attempts=1)).scan_versions("/"))
