"""The writer: states, resuming, faults at commit, digests."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from storagedriver import DriverParameters, PathNotFoundError, S3Driver, StorageDriverError
from storagedriver.clients import Timeouts
from storagedriver.errors import DigestMismatchError, Kind
from storagedriver.uploads import Part, Uploads, multipart_etag

MIB = 2**20
ONE_TRY = Timeouts(attempts=1)


def pending(driver: S3Driver) -> list[str]:
    return [upload.path for upload in driver.multipart_uploads("/")]


def exists(driver: S3Driver, path: str) -> bool:
    try:
        driver.stat(path)
    except PathNotFoundError:
        return False
    return True


@pytest.mark.parametrize(
    ("first", "then", "text"),
    [
        ("commit", "write", "already committed"),
        ("commit", "commit", "already committed"),
        ("commit", "cancel", "already committed"),
        ("cancel", "write", "already cancelled"),
        ("cancel", "commit", "already cancelled"),
        ("cancel", "cancel", "already cancelled"),
        ("close", "write", "already closed"),
        ("close", "commit", "already closed"),
        ("close", "cancel", "already closed"),
        ("close", "close", "already closed"),
    ],
)
def test_calls_in_the_wrong_state(driver: S3Driver, first: str, then: str, text: str) -> None:
    writer = driver.writer("/a")
    writer.write(b"x")
    getattr(writer, first)()
    with pytest.raises(StorageDriverError, match=text):
        getattr(writer, then)(*([b"y"] if then == "write" else []))


@pytest.mark.parametrize("first", ["commit", "cancel"])
def test_close_after_the_end_is_clean(driver: S3Driver, first: str) -> None:
    writer = driver.writer("/a")
    writer.write(b"x")
    getattr(writer, first)()
    writer.close()
    assert pending(driver) == []
    assert exists(driver, "/a") == (first == "commit")


def test_nothing_is_visible_before_commit(driver: S3Driver) -> None:
    writer = driver.writer("/a")
    writer.write(bytes(6 * MIB))
    assert not exists(driver, "/a")
    writer.cancel()


def test_a_present_object_stays_until_commit(driver: S3Driver) -> None:
    driver.put_content("/a", b"old")
    writer = driver.writer("/a")
    writer.write(bytes(6 * MIB))
    assert driver.get_content("/a") == b"old"
    writer.cancel()


def test_an_exception_publishes_nothing(driver: S3Driver) -> None:
    def fail() -> None:
        with driver.writer("/a") as writer:
            writer.write(bytes(6 * MIB))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not exists(driver, "/a")
    assert pending(driver) == []


def test_leaving_without_commit_publishes_nothing(driver: S3Driver) -> None:
    with driver.writer("/a") as writer:
        writer.write(b"x")
    assert not exists(driver, "/a")
    assert pending(driver) == []


def test_close_inside_with_keeps_the_upload(driver: S3Driver) -> None:
    with driver.writer("/a") as writer:
        writer.write(b"x")
        writer.close()
    assert pending(driver) == ["/a"]


def test_parts_have_the_chunk_size(driver: S3Driver) -> None:
    writer = driver.writer("/a")
    for _ in range(12):
        writer.write(bytes(MIB))
    writer.close()
    assert [part.size for part in driver.uploads.parts("/a", writer.upload_id)] == [5 * MIB, 5 * MIB, 2 * MIB]


def test_one_large_write_is_cut_into_parts(driver: S3Driver) -> None:
    content = secrets.token_bytes(12 * MIB)
    with driver.writer("/a") as writer:
        assert writer.write(memoryview(content)) == len(content)
        writer.commit()
    assert driver.get_content("/a") == content


class TestResume:
    def test_it_needs_something_to_append_to(self, driver: S3Driver) -> None:
        with pytest.raises(PathNotFoundError):
            driver.writer("/a", append=True)

    def test_it_refuses_a_directory(self, driver: S3Driver) -> None:
        driver.put_content("/a/b", b"")
        with pytest.raises(PathNotFoundError):
            driver.writer("/a", append=True)

    def test_it_refuses_published_content(self, driver: S3Driver) -> None:
        driver.put_content("/a", b"x")
        with pytest.raises(StorageDriverError, match="append to non-empty path /a unsupported"):
            driver.writer("/a", append=True)

    def test_it_ignores_uploads_of_longer_paths(self, driver: S3Driver) -> None:
        driver.writer("/a-b").close()
        driver.writer("/a/b").close()
        with pytest.raises(PathNotFoundError):
            driver.writer("/a", append=True)

    def test_it_takes_the_oldest_of_several_uploads(self, driver: S3Driver, monkeypatch: pytest.MonkeyPatch) -> None:
        new, old = driver.uploads.begin("/a"), driver.uploads.begin("/a")
        listed = [("/a", new, datetime(2026, 2, 1, tzinfo=UTC)), ("/a", old, datetime(2026, 1, 1, tzinfo=UTC))]
        monkeypatch.setattr(Uploads, "pending", lambda self, path: iter(listed))
        assert driver.writer("/a", append=True).upload_id == old

    def test_it_finds_its_upload_among_many(self, driver: S3Driver) -> None:
        for number in range(30):
            driver.uploads.begin(f"/uploads/{number:02}")
        assert driver.writer("/uploads/17", append=True).size == 0

    def test_it_reads_more_parts_than_a_page(self, driver: S3Driver) -> None:
        upload_id = driver.uploads.begin("/a")
        for number in range(1, 1004):
            driver.uploads.send("/a", upload_id, number, b"%04d" % number)
        assert driver.writer("/a", append=True).size == 4012

    def test_it_ignores_parts_beyond_a_gap(self, driver: S3Driver) -> None:
        upload_id = driver.uploads.begin("/a")
        for number in (1, 2, 4):
            driver.uploads.send("/a", upload_id, number, bytes(5 * MIB))
        assert driver.writer("/a", append=True).size == 10 * MIB

    def test_it_keeps_the_kms_key_when_it_begins_again(self, parameters: Callable[..., DriverParameters]) -> None:
        driver = S3Driver(parameters(encrypt=True, keyid="alias/registry"))
        with driver.writer("/a") as writer:
            writer.write(b"small")
            writer.close()
        begun: list[dict[str, Any]] = []
        driver.client.meta.events.register(
            "before-parameter-build.s3.CreateMultipartUpload", lambda params, **_: begun.append(dict(params))
        )
        with driver.writer("/a", append=True) as writer:
            writer.write(b" and more")
            writer.commit()
        assert [(call["ServerSideEncryption"], call["SSEKMSKeyId"]) for call in begun] == [
            ("aws:kms", "alias/registry")
        ]

    def test_cancel_removes_the_object_of_an_earlier_session(self, driver: S3Driver) -> None:
        with driver.writer("/a") as writer:
            writer.write(b"small")
            writer.close()
        with driver.writer("/a", append=True) as writer:
            writer.write(b" and more")
            writer.cancel()
        assert not exists(driver, "/a")
        assert pending(driver) == []

    def test_commit_alone_publishes_what_is_there(self, driver: S3Driver) -> None:
        with driver.writer("/a") as writer:
            writer.write(b"small")
            writer.close()
        with driver.writer("/a", append=True) as writer:
            writer.commit()
        assert driver.get_content("/a") == b"small"


class TestDigest:
    content = secrets.token_bytes(7 * MIB)

    @pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
    def test_the_right_content_is_published(self, driver: S3Driver, algorithm: str) -> None:
        digest = f"{algorithm}:{hashlib.new(algorithm, self.content).hexdigest()}"
        with driver.writer("/a", digest=digest) as writer:
            writer.write(self.content[:100])
            writer.write(self.content[100:])
            writer.commit()
        assert driver.get_content("/a") == self.content

    def test_other_content_is_not(self, driver: S3Driver) -> None:
        digest = f"sha256:{hashlib.sha256(self.content).hexdigest()}"
        with driver.writer("/a", digest=digest) as writer:
            writer.write(self.content[:-1])
            with pytest.raises(DigestMismatchError, match="nothing was published"):
                writer.commit()
        assert not exists(driver, "/a")
        assert pending(driver) == []

    def test_it_refuses_an_unknown_algorithm(self, driver: S3Driver) -> None:
        with pytest.raises(ValueError, match="use sha256, sha384 or sha512"):
            driver.writer("/a", digest="md5:00")

    def test_it_refuses_to_resume(self, driver: S3Driver) -> None:
        driver.writer("/a").close()
        with pytest.raises(ValueError, match="digest needs a writer that starts at byte 0"):
            driver.writer("/a", append=True, digest=f"sha256:{'0' * 64}")


class TestFaultsAtCommit:
    @pytest.fixture
    def driver(self, parameters: Callable[..., DriverParameters], request: pytest.FixtureRequest) -> S3Driver:
        """Return a driver with a client of its own, so that a fault stays in its test."""
        return S3Driver(parameters(useragent=request.node.name), timeouts=ONE_TRY)

    def lose_answers(self, driver: S3Driver, count: int) -> None:
        """Let Complete succeed in S3, but turn its first answers into an internal error."""
        lost = iter(range(count))

        def lose(response_dict: dict[str, Any], **_: object) -> None:
            if next(lost, None) is not None:
                response_dict["status_code"] = 500
                response_dict["body"] = b"<Error><Code>InternalError</Code></Error>"

        driver.client.meta.events.register_first("before-parse.s3.CompleteMultipartUpload", lose)

    def test_a_lost_answer_is_looked_up(self, driver: S3Driver) -> None:
        self.lose_answers(driver, 1)
        with driver.writer("/a") as writer:
            writer.write(bytes(6 * MIB))
            writer.commit()
        assert driver.stat("/a").size == 6 * MIB

    def test_a_failed_commit_can_be_repeated(self, driver: S3Driver) -> None:
        failing = iter([True])

        def fail(**_: object) -> None:
            if next(failing, False):
                raise OSError("the line is down")

        driver.client.meta.events.register("before-send.s3.CompleteMultipartUpload", fail)
        with driver.writer("/a") as writer:
            writer.write(b"x")
            with pytest.raises(StorageDriverError) as caught:
                writer.commit()
            assert caught.value.kind is Kind.TRANSIENT
            writer.commit()
        assert driver.get_content("/a") == b"x"

    def test_an_older_object_is_not_taken_for_a_success(self, driver: S3Driver) -> None:
        with driver.writer("/a") as writer:
            writer.write(b"old")
            writer.commit()
        with driver.writer("/a") as writer:
            writer.write(b"new")
            driver.abort_multipart_upload("/a", writer.upload_id)
            with pytest.raises(StorageDriverError):
                writer.commit()
        assert driver.get_content("/a") == b"old"


def test_multipart_etag_is_that_of_s3(driver: S3Driver) -> None:
    with driver.writer("/a") as writer:
        writer.write(secrets.token_bytes(6 * MIB))
        writer.commit()
    parts = [Part(1, 5 * MIB, hashlib.md5(driver.get_content("/a")[: 5 * MIB]).hexdigest())]
    parts.append(Part(2, MIB, hashlib.md5(driver.get_content("/a")[5 * MIB :]).hexdigest()))
    assert multipart_etag(parts) == driver.stat("/a").etag


def test_multipart_etag_of_foreign_etags_is_unknown() -> None:
    assert multipart_etag([Part(1, 5, '"not-hex"')]) == ""


class TestMultipartUploads:
    def test_it_describes_them(self, driver: S3Driver) -> None:
        with driver.writer("/a/data") as writer:
            writer.write(bytes(6 * MIB))
            writer.close()
        (upload,) = driver.multipart_uploads("/a")
        assert (upload.path, upload.key, upload.upload_id) == ("/a/data", driver.key("/a/data"), writer.upload_id)
        assert (upload.parts, upload.size) == (2, 6 * MIB)
        assert upload.newest_part is not None
        assert upload.initiated.utcoffset() is not None

    def test_it_leaves_siblings_out(self, driver: S3Driver) -> None:
        for path in ("/a", "/a/b", "/a-b", "/ab"):
            driver.uploads.begin(path)
        assert sorted(upload.path for upload in driver.multipart_uploads("/a")) == ["/a", "/a/b"]

    def test_it_aborts_one(self, driver: S3Driver) -> None:
        upload_id = driver.uploads.begin("/a")
        driver.abort_multipart_upload("/a", upload_id)
        assert pending(driver) == []
