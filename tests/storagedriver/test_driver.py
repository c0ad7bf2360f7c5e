"""What the driver does better than the reference, and the S3 details of stat, list, move, delete, walk and redirects."""

from __future__ import annotations

import dataclasses
import io
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from storagedriver import (
    DriverParameters,
    FileInfo,
    InvalidPathError,
    PathNotFoundError,
    S3Driver,
    SkipDir,
    StopWalk,
    StorageDriverError,
    UnsupportedMethodError,
)
from storagedriver.clients import Timeouts
from storagedriver.errors import ContentTooLargeError, Kind, StorageDriverErrors

MIB = 2**20
TREE = [
    *("/file1", "/folder1-suffix/file1", "/folder1/file1", "/folder2/file1"),
    *("/folder3/subfolder1/subfolder1/file1", "/folder3/subfolder2/subfolder1/file1", "/folder4/file1"),
]
BELOW_FOLDER3 = [
    *("/folder3/subfolder1", "/folder3/subfolder1/subfolder1", "/folder3/subfolder1/subfolder1/file1"),
    *("/folder3/subfolder2", "/folder3/subfolder2/subfolder1", "/folder3/subfolder2/subfolder1/file1"),
]
FULL_WALK = [
    *("/file1", "/folder1-suffix", "/folder1-suffix/file1", "/folder1", "/folder1/file1", "/folder2", "/folder2/file1"),
    *("/folder3", *BELOW_FOLDER3, "/folder4", "/folder4/file1"),
]
HINT = "/folder3/subfolder1/subfolder1/file1"


def put_all(driver: S3Driver, *paths: str) -> None:
    for path in paths:
        driver.put_content(path, f"content {path}".encode())


def put_key(driver: S3Driver, key: str) -> None:
    """Store a key that the path rule would refuse, as another tool may."""
    driver.client.put_object(Bucket=driver.parameters.bucket, Key=key, Body=b"")


def entries(driver: S3Driver, path: str = "/") -> set[str]:
    return {entry.path for page in driver.scan(path) for entry in page}


class TestGetContent:
    def test_it_reads_up_to_the_limit(self, driver: S3Driver) -> None:
        driver.put_content("/a", b"12345")
        assert driver.get_content("/a", limit=5) == b"12345"

    def test_it_refuses_more_than_the_limit(self, driver: S3Driver) -> None:
        driver.put_content("/a", b"12345")
        with pytest.raises(ContentTooLargeError, match="/a has 5 bytes; at most 4 are read at once"):
            driver.get_content("/a", limit=4)

    def test_a_missing_bucket_is_no_missing_path(self, driver: S3Driver) -> None:
        driver = S3Driver(dataclasses.replace(driver.parameters, bucket="no-such-bucket"))
        with pytest.raises(StorageDriverError, match="Bucket no-such-bucket does not exist") as caught:
            driver.get_content("/a")
        assert (caught.value.code, caught.value.kind) == ("NoSuchBucket", Kind.PERMANENT)
        assert caught.value.request_id


class TestPutContent:
    def headers(self, parameters: Callable[..., DriverParameters], **values: object) -> dict[str, str]:
        driver = S3Driver(parameters(**values))
        seen: dict[str, str] = {}
        driver.client.meta.events.register_last(
            "before-send.s3.PutObject", lambda request, **_: seen.update(_decoded(request.headers))
        )
        driver.put_content("/a", b"content")
        return seen

    def test_it_sends_the_type_class_and_md5(self, parameters: Callable[..., DriverParameters]) -> None:
        headers = self.headers(parameters)
        assert headers["content-type"] == "application/octet-stream"
        assert headers["x-amz-storage-class"] == "STANDARD"
        assert headers["content-md5"] == "mgNkuembtIDdJeHwKEyFVQ=="

    def test_it_sends_no_acl_for_private(self, parameters: Callable[..., DriverParameters]) -> None:
        assert "x-amz-acl" not in self.headers(parameters, objectacl="private")

    def test_it_sends_another_acl(self, parameters: Callable[..., DriverParameters]) -> None:
        headers = self.headers(parameters, objectacl="bucket-owner-full-control")
        assert headers["x-amz-acl"] == "bucket-owner-full-control"

    def test_it_sends_no_class_for_none(self, parameters: Callable[..., DriverParameters]) -> None:
        assert "x-amz-storage-class" not in self.headers(parameters, storageclass="none")

    def test_it_encrypts_with_s3_keys(self, parameters: Callable[..., DriverParameters]) -> None:
        headers = self.headers(parameters, encrypt=True)
        assert headers["x-amz-server-side-encryption"] == "AES256"
        assert "x-amz-server-side-encryption-aws-kms-key-id" not in headers

    def test_it_encrypts_with_a_kms_key(self, parameters: Callable[..., DriverParameters]) -> None:
        headers = self.headers(parameters, encrypt=True, keyid="alias/registry")
        assert headers["x-amz-server-side-encryption"] == "aws:kms"
        assert headers["x-amz-server-side-encryption-aws-kms-key-id"] == "alias/registry"

    def test_it_ignores_a_key_without_encrypt(self, parameters: Callable[..., DriverParameters]) -> None:
        assert not any("encryption" in name for name in self.headers(parameters, keyid="alias/registry"))

    def test_it_signs_with_version_2_when_asked(self, parameters: Callable[..., DriverParameters]) -> None:
        assert self.headers(parameters, v4auth=False)["authorization"].startswith("AWS AKIDEXAMPLE:")


def _decoded(headers: dict[str, str | bytes]) -> dict[str, str]:
    return {name.lower(): value.decode() if isinstance(value, bytes) else value for name, value in headers.items()}


class TestStat:
    def test_a_sibling_with_the_same_beginning_is_no_directory(self, driver: S3Driver) -> None:
        put_all(driver, "/ab", "/a-b/c")
        with pytest.raises(PathNotFoundError):
            driver.stat("/a")

    def test_a_directory_marker_alone_is_no_directory(self, driver: S3Driver) -> None:
        put_key(driver, driver.key("/a/"))
        with pytest.raises(PathNotFoundError):
            driver.stat("/a")

    def test_a_directory_beside_its_marker_is_one(self, driver: S3Driver) -> None:
        put_key(driver, driver.key("/a/"))
        put_all(driver, "/a/b")
        assert driver.stat("/a") == FileInfo("/a", 0, None, is_dir=True)

    def test_a_file_and_a_directory_of_one_name_is_a_file(self, driver: S3Driver) -> None:
        put_all(driver, "/a", "/a/b")
        assert not driver.stat("/a").is_dir


class TestList:
    def test_it_lists_more_than_a_page_of_files_and_directories(self, driver: S3Driver, small_pages: int) -> None:
        expected = [f"/d/{number:04}" for number in range(20)] + [f"/d/x{number:04}" for number in range(20)]
        put_all(driver, *expected[:20], *(f"{path}/f" for path in expected[20:]))
        assert driver.list("/d") == expected

    def test_it_leaves_out_the_marker(self, driver: S3Driver) -> None:
        put_key(driver, driver.key("/a/"))
        put_all(driver, "/a/b")
        assert driver.list("/a") == ["/a/b"]

    @pytest.mark.parametrize("root", ["", "/"])
    def test_it_lists_an_empty_root(self, parameters: Callable[..., DriverParameters], root: str) -> None:
        inside = S3Driver(parameters())
        put_all(inside, "/test")
        assert f"/{inside.keys.root}" in S3Driver(parameters(rootdirectory=root)).list("/")


class TestMove:
    @pytest.mark.parametrize("size", [0, 6 * MIB - 1, 6 * MIB, 6 * MIB + 1, 16 * MIB])
    def test_it_moves_around_the_threshold(self, parameters: Callable[..., DriverParameters], size: int) -> None:
        driver = S3Driver(parameters(multipartcopythresholdsize=6 * MIB, multipartcopychunksize=5 * MIB))
        content = secrets.token_bytes(size)
        driver.put_content("/source", content)
        driver.move("/source", "/deep/destination")
        assert driver.get_content("/deep/destination") == content
        assert entries(driver) == {"/deep/destination"}

    def test_a_failed_part_aborts_the_upload_and_keeps_the_source(
        self, parameters: Callable[..., DriverParameters]
    ) -> None:
        driver = S3Driver(parameters(multipartcopythresholdsize=MIB, useragent="failing-copy"))
        driver.put_content("/source", bytes(2 * MIB))

        def fail(**_: object) -> None:
            raise OSError("the line is down")

        driver.client.meta.events.register("before-send.s3.UploadPartCopy", fail)
        with pytest.raises(StorageDriverError, match="the line is down"):
            driver.move("/source", "/destination")
        assert entries(driver) == {"/source"}
        assert list(driver.multipart_uploads("/")) == []

    def test_it_refuses_a_directory(self, driver: S3Driver) -> None:
        put_all(driver, "/a/b")
        with pytest.raises(PathNotFoundError):
            driver.move("/a", "/c")
        assert entries(driver) == {"/a/b"}

    def test_it_keeps_an_object_moved_onto_itself(self, driver: S3Driver) -> None:
        put_all(driver, "/a")
        driver.move("/a", "/a")
        assert driver.get_content("/a") == b"content /a"

    def test_it_keeps_a_destination_below_the_source(self, driver: S3Driver) -> None:
        put_all(driver, "/a")
        driver.move("/a", "/a/b")
        assert entries(driver) == {"/a/b"}


class TestMoveLostAnswers:
    """Faults of one request, which the client would otherwise repeat."""

    @pytest.fixture
    def driver(self, parameters: Callable[..., DriverParameters]) -> S3Driver:
        driver = S3Driver(parameters(multipartcopythresholdsize=6 * MIB), timeouts=Timeouts(attempts=1))
        driver.put_content("/source", b"content")
        return driver

    def lose(self, driver: S3Driver, operation: str, status: int = 500) -> None:
        """Let an operation succeed in S3, but lose its answer."""

        def lose(response_dict: dict[str, Any], **_: object) -> None:
            response_dict["status_code"] = status
            response_dict["body"] = b"<Error><Code>InternalError</Code><Message>try again</Message></Error>"

        driver.client.meta.events.register_first(f"before-parse.s3.{operation}", lose)

    @pytest.mark.parametrize("status", [500, 200])
    def test_a_lost_copy_is_looked_up(self, driver: S3Driver, status: int) -> None:
        self.lose(driver, "CopyObject", status)
        driver.move("/source", "/destination")
        assert entries(driver) == {"/destination"}

    def test_a_copy_that_was_not_made_keeps_the_source(self, driver: S3Driver) -> None:
        def fail(**_: object) -> None:
            raise OSError("the line is down")

        driver.put_content("/destination", b"other")
        driver.client.meta.events.register("before-send.s3.CopyObject", fail)
        with pytest.raises(StorageDriverError, match="the line is down"):
            driver.move("/source", "/destination")
        assert (driver.get_content("/source"), driver.get_content("/destination")) == (b"content", b"other")

    def test_a_lost_complete_is_looked_up(self, driver: S3Driver) -> None:
        driver.put_content("/source", bytes(7 * MIB))
        self.lose(driver, "CompleteMultipartUpload")
        driver.move("/source", "/destination")
        assert entries(driver) == {"/destination"}

    def test_a_lost_delete_of_the_source_is_an_error_that_loses_nothing(self, driver: S3Driver) -> None:
        self.lose(driver, "DeleteObject")
        with pytest.raises(StorageDriverError) as caught:
            driver.move("/source", "/destination")
        assert caught.value.kind is Kind.TRANSIENT
        assert driver.get_content("/destination") == b"content"

    def test_copies_are_side_by_side_and_bounded(
        self, parameters: Callable[..., DriverParameters], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        driver = S3Driver(
            parameters(multipartcopythresholdsize=0, multipartcopychunksize=5 * MIB, multipartcopymaxconcurrency=2)
        )
        together, running, most = threading.Barrier(2, timeout=20), Counter[str](), []
        lock = threading.Lock()

        def enter(**_: object) -> None:
            with lock:
                running["now"] += 1
                most.append(running["now"])
            together.wait()

        def leave(**_: object) -> None:
            with lock:
                running["now"] -= 1

        driver.put_content("/source", bytes(20 * MIB))
        driver.client.meta.events.register("before-send.s3.UploadPartCopy", enter)
        driver.client.meta.events.register("after-call.s3.UploadPartCopy", leave)
        driver.move("/source", "/destination")
        assert max(most) == 2


class TestDelete:
    tree = [
        *("/file1", "/file1-2", "/folder1/file1", "/folder2/file1", "/folder3/file1"),
        *("/folder3/subfolder1/subfolder1/file1", "/folder3/subfolder2/subfolder1/file1", "/folder4/file1"),
        *("/folder1-v2/file1", "/folder1-v2/subfolder1/file1", "/folder1.v3/file1"),
    ]

    @pytest.mark.parametrize("path", ["/folder1", "/folder2", "/folder3", *tree])
    def test_it_deletes_what_is_at_and_below_the_path(self, driver: S3Driver, path: str) -> None:
        put_all(driver, *self.tree)
        driver.delete(path)
        assert entries(driver) == {kept for kept in self.tree if kept != path and not kept.startswith(f"{path}/")}

    @pytest.mark.parametrize("path", ["/path/does/not/exist", "/folder", "/file"])
    def test_it_reports_a_missing_path(self, driver: S3Driver, path: str) -> None:
        put_all(driver, *self.tree)
        with pytest.raises(PathNotFoundError):
            driver.delete(path)
        assert entries(driver) == set(self.tree)

    @pytest.mark.parametrize("path", ["/path/is/invalid/", "/path/is/invalid*", "/", "", "/a/../b"])
    def test_it_refuses_an_invalid_path_before_any_request(self, driver: S3Driver, path: str) -> None:
        before = driver.requests
        with pytest.raises(InvalidPathError):
            driver.delete(path)
        assert driver.requests == before

    def test_it_deletes_more_than_a_batch(self, driver: S3Driver) -> None:
        put_all(driver, *(f"/many/file{number}" for number in range(1005)), "/many-more")
        driver.delete("/many")
        assert entries(driver) == {"/many-more"}

    def test_it_deletes_markers_too(self, driver: S3Driver) -> None:
        put_key(driver, driver.key("/a/b/"))
        put_all(driver, "/a/c")
        driver.delete("/a")
        answer = driver.client.list_objects_v2(Bucket=driver.parameters.bucket, Prefix=driver.key("/"))
        assert answer["KeyCount"] == 0

    def test_a_service_without_batches_deletes_one_by_one(self, driver: S3Driver) -> None:
        class Refusal(io.BytesIO):
            def stream(self) -> Iterator[bytes]:
                yield self.read()

        def refuse(request: AWSPreparedRequest, **_: object) -> AWSResponse:
            return AWSResponse(request.url, 501, {}, Refusal(b"<Error><Code>NotImplemented</Code></Error>"))

        put_all(driver, "/a/1", "/a/2", "/b")
        driver.client.meta.events.register("before-send.s3.DeleteObjects", refuse)
        driver.delete("/a")
        assert (entries(driver), driver.requests["DeleteObject"]) == ({"/b"}, 2)

    def test_it_names_each_key_that_was_refused(
        self, parameters: Callable[..., DriverParameters], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        driver = S3Driver(parameters(useragent="refused-keys"))
        put_all(driver, "/a/1", "/a/2")
        errors = [{"Key": driver.key("/a/1"), "Code": "AccessDenied", "Message": "Access Denied"}]
        monkeypatch.setattr(driver.client, "delete_objects", lambda **_: {"Errors": errors})
        with pytest.raises(StorageDriverErrors, match=r"root-\d+/a/1 was not deleted: Access Denied") as caught:
            driver.delete("/a")
        assert [error.kind for error in caught.value.errors] == [Kind.DENIED]


class TestWalk:
    @pytest.fixture
    def tree(self, driver: S3Driver) -> S3Driver:
        put_all(driver, *TREE)
        return driver

    def walk(
        self, driver: S3Driver, path: str, start_after: str | None = None, **actions: type[Exception]
    ) -> list[str]:
        """Return the visited paths; an exception named by a path with "_" for "/" is raised there."""
        seen: list[str] = []

        def visit(info: FileInfo) -> None:
            seen.append(info.path)
            if (action := actions.get(info.path.replace("/", "_"))) is not None:
                raise action

        driver.walk(path, visit, start_after=start_after)
        return seen

    def test_it_visits_all_in_key_order(self, tree: S3Driver) -> None:
        assert self.walk(tree, "/") == FULL_WALK

    def test_it_tells_directories_from_files(self, tree: S3Driver) -> None:
        seen: dict[str, bool] = {}
        tree.walk("/", lambda info: seen.update({info.path: info.is_dir}))
        assert seen == {path: path not in TREE for path in FULL_WALK}

    def test_it_skips_a_directory(self, tree: S3Driver) -> None:
        expected = [path for path in FULL_WALK if not path.startswith("/folder3/")]
        assert self.walk(tree, "/", _folder3=SkipDir) == expected

    def test_skipping_loses_no_sibling_with_the_same_beginning(self, driver: S3Driver) -> None:
        put_all(driver, "/tags/1.2/current/link", "/tags/1.20/current/link")
        assert self.walk(driver, "/tags", **{"_tags_1.2": SkipDir, "_tags_1.20": SkipDir}) == [
            "/tags/1.2",
            "/tags/1.20",
        ]

    def test_skipping_at_a_file_is_ignored(self, tree: S3Driver) -> None:
        assert self.walk(tree, "/", _file1=SkipDir) == FULL_WALK

    def test_it_stops(self, tree: S3Driver) -> None:
        assert self.walk(tree, "/", _folder1_file1=StopWalk) == FULL_WALK[:5]

    def test_it_passes_errors_on(self, tree: S3Driver) -> None:
        with pytest.raises(ZeroDivisionError):
            tree.walk("/", lambda info: 1 / 0)

    @pytest.mark.parametrize(
        ("path", "hint", "expected"),
        [
            ("/", HINT, ["/folder3", *BELOW_FOLDER3[3:], "/folder4", "/folder4/file1"]),
            ("/folder3", HINT, BELOW_FOLDER3[3:]),
            ("/folder1", "/folder2", []),
            ("/folder3", "/folder3", BELOW_FOLDER3),
            ("/folder3", "/folder3/notafolder/notafile", BELOW_FOLDER3),
            ("/folder1", None, ["/folder1/file1"]),
            ("/nowhere", None, []),
        ],
    )
    def test_it_starts_late(self, tree: S3Driver, path: str, hint: str | None, expected: list[str]) -> None:
        assert self.walk(tree, path, hint) == expected

    def test_it_goes_on_over_page_borders(self, driver: S3Driver, small_pages: int) -> None:
        paths = [f"/d/{number:04}/f" for number in range(20)]
        put_all(driver, *paths)
        assert [path for path in self.walk(driver, "/d") if path.endswith("/f")] == paths

    def test_what_is_skipped_is_not_listed(self, driver: S3Driver, small_pages: int) -> None:
        put_all(driver, "/a/first", *(f"/b/{number:03}/f" for number in range(60)), "/b0", "/c")
        before = driver.requests["ListObjectsV2"]
        assert self.walk(driver, "/", _b=SkipDir) == ["/a", "/a/first", "/b", "/b0", "/c"]
        assert driver.requests["ListObjectsV2"] - before == 2

    def test_a_directory_skipped_on_the_last_page_ends_the_walk(self, driver: S3Driver) -> None:
        put_all(driver, "/a/1", "/a/2")
        assert self.walk(driver, "/", _a=SkipDir) == ["/a"]

    def test_it_visits_no_path_with_an_empty_name(self, driver: S3Driver) -> None:
        put_all(driver, "/repositories/a/_layers/x")
        put_key(driver, driver.key("/repositories/a/_uploads/"))
        assert self.walk(driver, "/repositories/a") == ["/repositories/a/_layers", "/repositories/a/_layers/x"]

    def test_it_sends_no_start_without_a_hint(self, parameters: Callable[..., DriverParameters]) -> None:
        driver, urls = S3Driver(parameters(useragent="walk-urls")), []
        driver.client.meta.events.register(
            "before-send.s3.ListObjectsV2", lambda request, **_: urls.append(request.url)
        )
        self.walk(driver, "/a")
        self.walk(driver, "/a", "/a/b")
        assert ["start-after" in parse_qs(urlsplit(url).query) for url in urls] == [False, True]


class TestRedirect:
    def test_it_lasts_20_minutes(self, driver: S3Driver) -> None:
        assert parse_qs(urlsplit(str(driver.redirect_url("/a"))).query)["X-Amz-Expires"] == ["1200"]

    def test_it_makes_no_request(self, driver: S3Driver) -> None:
        before = driver.requests
        driver.redirect_url("/a")
        assert driver.requests == before

    def test_other_methods_are_not_redirected(self, driver: S3Driver) -> None:
        assert driver.redirect_url("/a", method="PUT") is None

    def test_an_older_version_refuses_other_methods(self, parameters: Callable[..., DriverParameters]) -> None:
        driver = S3Driver(dataclasses.replace(parameters(), version="2.8"))
        with pytest.raises(UnsupportedMethodError, match="s3aws: unsupported method"):
            driver.redirect_url("/a", method="PUT")

    def test_it_signs_for_the_redirect_endpoint(self, parameters: Callable[..., DriverParameters]) -> None:
        driver = S3Driver(parameters(redirectendpoint="https://public.example.com"))
        url = urlsplit(str(driver.redirect_url("/a")))
        assert (url.scheme, url.netloc, url.path.endswith("/a")) == ("https", "public.example.com", True)


def test_a_driver_prints_no_secret(driver: S3Driver) -> None:
    assert "canary" not in f"{driver!r} {driver.parameters!r} {vars(driver)}"


class TestClassOfBlobsOnly:
    blob = f"/docker/registry/v2/blobs/sha256/aa/{'a' * 64}/data"
    link = "/docker/registry/v2/repositories/app/_manifests/tags/1/current/link"

    @pytest.fixture
    def driver(self, parameters: Callable[..., DriverParameters]) -> S3Driver:
        return S3Driver(parameters(storageclass="STANDARD_IA", storageclassblobsonly=True))

    def classes(self, driver: S3Driver) -> dict[str, str]:
        return {entry.path: entry.storage_class for page in driver.scan("/") for entry in page}

    def test_a_link_stays_standard(self, driver: S3Driver) -> None:
        driver.put_content(self.link, b"sha256:")
        assert self.classes(driver) == {self.link: "STANDARD"}

    def test_an_upload_gets_the_class_when_it_becomes_a_blob(self, driver: S3Driver) -> None:
        with driver.writer("/docker/registry/v2/repositories/app/_uploads/u/data") as writer:
            writer.write(b"layer")
            writer.commit()
        assert set(self.classes(driver).values()) == {"STANDARD"}
        driver.move("/docker/registry/v2/repositories/app/_uploads/u/data", self.blob)
        assert self.classes(driver) == {self.blob: "STANDARD_IA"}


def test_requests_are_counted_since_the_first_use(driver: S3Driver) -> None:
    assert not driver.requests
    driver.put_content("/a", b"")
    driver.stat("/a")
    assert driver.requests == {"PutObject": 1, "HeadObject": 1}
