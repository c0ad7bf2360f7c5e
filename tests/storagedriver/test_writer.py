"""The writer: states, resuming, faults at commit, digests."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from storagedriver import DriverParameters, FileWriter, PathNotFoundError, S3Driver, StorageDriverError
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


def write_on(writer: FileWriter) -> None:
    """Write far more than can fail unnoticed."""
    for _ in range(100):
        writer.write(bytes(MIB))


class Sends:
    """What becomes of the parts that writers send: they wait at `gate` and for each other, and fail once if so told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.together: threading.Barrier | None = None
        self.numbers: list[int] = []
        self.sizes: list[int] = []
        self._failing: set[int] = set()
        real = Uploads.send

        def send(uploads: Uploads, path: str, upload_id: str, number: int, body: bytes | bytearray) -> Part:
            self.numbers.append(number)
            self.sizes.append(len(body))
            assert self.gate.wait(30)
            if (together := self.together) is not None:
                together.wait()
            if number in self._failing:
                self._failing.remove(number)
                raise StorageDriverError("the line is down", kind=Kind.TRANSIENT)
            return real(uploads, path, upload_id, number, body)

        monkeypatch.setattr(Uploads, "send", send)

    def fail(self, number: int) -> None:
        self._failing.add(number)


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


class TestSideBySide:
    """Parts are sent while the next ones are written."""

    @pytest.fixture
    def sends(self, monkeypatch: pytest.MonkeyPatch) -> Sends:
        return Sends(monkeypatch)

    @pytest.fixture
    def driver(self, parameters: Callable[..., DriverParameters]) -> S3Driver:
        return S3Driver(parameters(concurrency=3))

    def test_as_many_as_the_concurrency(self, driver: S3Driver, sends: Sends) -> None:
        content = secrets.token_bytes(30 * MIB)
        sends.together = threading.Barrier(3, timeout=30)  # broken, unless three parts are on their way at once
        with driver.writer("/a") as writer:
            for start in range(0, 30 * MIB, MIB):
                writer.write(content[start : start + MIB])
            writer.commit()
        assert driver.get_content("/a") == content

    def test_memory_is_bounded(self, driver: S3Driver, sends: Sends) -> None:
        """While no part gets through, the writer takes (concurrency + 2) chunks at most."""
        sends.gate.clear()
        taken = 0
        stuck = threading.Event()

        def write() -> None:
            nonlocal taken
            with driver.writer("/a") as writer:
                for _ in range(40):
                    writer.write(bytes(MIB))
                    taken += 1
                    if taken == 24:
                        stuck.set()
                writer.commit()

        thread = threading.Thread(target=write)
        thread.start()
        assert stuck.wait(30)
        thread.join(0.2)
        held = taken
        sends.gate.set()
        thread.join(30)
        assert (held, taken) == (24, 40)  # the 25th MiB fills the fifth chunk, which waits for room

    def test_a_failed_part_fails_a_later_write(self, driver: S3Driver, sends: Sends) -> None:
        sends.fail(2)
        writer = driver.writer("/a")
        with pytest.raises(StorageDriverError, match="the line is down"):
            write_on(writer)
        writer.cancel()
        assert pending(driver) == []

    @pytest.mark.parametrize("call", ["write", "commit"])
    def test_nothing_follows_a_failed_write(self, driver: S3Driver, sends: Sends, call: str) -> None:
        sends.fail(1)
        with driver.writer("/a") as writer:
            with pytest.raises(StorageDriverError):
                write_on(writer)
            with pytest.raises(StorageDriverError, match="/a lacks what a failed write was given") as caught:
                getattr(writer, call)(*([b"x"] if call == "write" else []))
        assert caught.value.kind is Kind.TRANSIENT
        assert not exists(driver, "/a")

    def test_close_after_a_failed_write_keeps_what_came_before_the_gap(self, driver: S3Driver, sends: Sends) -> None:
        sends.fail(3)
        writer = driver.writer("/a")
        with pytest.raises(StorageDriverError):
            write_on(writer)
        writer.close()
        assert driver.writer("/a", append=True).size == 10 * MIB

    @pytest.mark.parametrize("number", [1, 2, 3])
    def test_commit_sends_a_failed_part_again(self, driver: S3Driver, sends: Sends, number: int) -> None:
        content = secrets.token_bytes(12 * MIB)
        sends.gate.clear()
        sends.fail(number)
        with driver.writer("/a") as writer:
            writer.write(content)
            sends.gate.set()
            with pytest.raises(StorageDriverError, match="the line is down"):
                writer.commit()
            writer.commit()
        assert driver.get_content("/a") == content
        assert sorted(sends.numbers) == sorted([1, 2, 3, number])

    def test_close_may_be_repeated_after_a_failure(self, driver: S3Driver, sends: Sends) -> None:
        sends.fail(1)
        writer = driver.writer("/a")
        writer.write(b"content")
        with pytest.raises(StorageDriverError):
            writer.close()
        writer.close()
        assert driver.writer("/a", append=True).size == 7

    def test_cancel_waits_for_parts_on_their_way(self, driver: S3Driver, sends: Sends) -> None:
        """Otherwise a part would arrive after the abort, and be billed for ever."""
        sends.gate.clear()
        writer = driver.writer("/a")
        writer.write(bytes(12 * MIB))
        cancelling = threading.Thread(target=writer.cancel)
        cancelling.start()
        cancelling.join(0.2)
        assert (cancelling.is_alive(), pending(driver)) == (True, ["/a"])
        sends.gate.set()
        cancelling.join(30)
        assert pending(driver) == []

    def test_an_interruption_drops_parts_on_their_way(self, driver: S3Driver, sends: Sends) -> None:
        def interrupt() -> None:
            with driver.writer("/a") as writer:
                writer.write(bytes(12 * MIB))
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupt()
        assert pending(driver) == []
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("upload")]

    def test_parts_grow_before_the_limit_bites(
        self, driver: S3Driver, sends: Sends, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("storagedriver.parts.EQUAL_PARTS", 2)
        monkeypatch.setattr("storagedriver.parts.PARTS_PER_DOUBLING", 1)
        with driver.writer("/a") as writer:
            writer.write(bytes(41 * MIB))
            writer.commit()
        assert sorted(sends.sizes) == [MIB, 5 * MIB, 5 * MIB, 10 * MIB, 20 * MIB]

    def test_the_limit_is_an_error(self, driver: S3Driver, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("storagedriver.writer.MAX_PARTS", 2)
        with driver.writer("/a") as writer, pytest.raises(StorageDriverError, match="needs more than 2 parts"):
            writer.write(bytes(11 * MIB))

    def test_a_reused_buffer_does_no_harm(self, driver: S3Driver, sends: Sends) -> None:
        sends.gate.clear()
        buffer = bytearray(6 * MIB)
        with driver.writer("/a") as writer:
            writer.write(buffer)
            buffer[:] = b"x" * len(buffer)
            sends.gate.set()
            writer.commit()
        assert driver.get_content("/a") == bytes(6 * MIB)


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

    @pytest.mark.parametrize("size", [5 * MIB - 1, 5 * MIB, 5 * MIB + 1, 10 * MIB - 1, 10 * MIB, 10 * MIB + 1])
    def test_another_driver_goes_on_after_a_part_of_any_size(
        self, parameters: Callable[..., DriverParameters], size: int
    ) -> None:
        content = secrets.token_bytes(size + 6 * MIB)
        with S3Driver(parameters()).writer("/a") as writer:
            writer.write(content[:size])
            writer.close()
        other = S3Driver(parameters(useragent="another-process"))
        with other.writer("/a", append=True) as writer:
            assert writer.size == size
            writer.write(content[size:])
            writer.commit()
        assert other.get_content("/a") == content
        assert pending(other) == []

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

    def test_a_retry_that_finds_no_upload_is_looked_up(self, parameters: Callable[..., DriverParameters]) -> None:
        """The client itself asks again after the lost answer, and S3 knows no such upload any more."""
        driver = S3Driver(parameters())
        self.lose_answers(driver, 1)
        with driver.writer("/a") as writer:
            writer.write(bytes(6 * MIB))
            writer.commit()
        assert driver.requests["CompleteMultipartUpload"] == 2
        assert driver.stat("/a").size == 6 * MIB

    def test_an_error_in_an_answer_of_status_200_is_no_success(self, driver: S3Driver) -> None:
        def fail(response_dict: dict[str, Any], **_: object) -> None:
            response_dict["body"] = b"<Error><Code>InternalError</Code><Message>again</Message></Error>"

        driver.client.meta.events.register_first("before-parse.s3.CompleteMultipartUpload", fail)
        with driver.writer("/a") as writer:
            writer.write(b"x")
            driver.uploads.abort("/a", writer.upload_id)
            with pytest.raises(StorageDriverError):
                writer.commit()

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

    def test_it_keeps_the_order_of_many(self, driver: S3Driver) -> None:
        for number in range(30):
            driver.uploads.begin(f"/a/{number:02}")
        listed = [upload_id for _path, upload_id, _begun in driver.uploads.pending("/")]
        assert len(listed) == 30
        assert [upload.upload_id for upload in driver.multipart_uploads("/")] == listed

    def test_it_leaves_out_what_ends_meanwhile(self, driver: S3Driver, monkeypatch: pytest.MonkeyPatch) -> None:
        driver.uploads.begin("/kept")
        listed = [*driver.uploads.pending("/"), ("/gone", "no-such-upload", datetime.now(UTC))]
        monkeypatch.setattr(Uploads, "pending", lambda self, path: iter(listed))
        assert [upload.path for upload in driver.multipart_uploads("/")] == ["/kept"]

    def test_it_leaves_siblings_out(self, driver: S3Driver) -> None:
        for path in ("/a", "/a/b", "/a-b", "/ab"):
            driver.uploads.begin(path)
        assert sorted(upload.path for upload in driver.multipart_uploads("/a")) == ["/a", "/a/b"]

    def test_it_aborts_one(self, driver: S3Driver) -> None:
        upload_id = driver.uploads.begin("/a")
        driver.abort_multipart_upload("/a", upload_id)
        assert pending(driver) == []
