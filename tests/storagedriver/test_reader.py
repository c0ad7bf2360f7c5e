"""The reader: what it does when the connection is cut, the object changes, or the server is no S3 server."""

from __future__ import annotations

import io
import secrets
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

import pytest

from storagedriver import DriverParameters, PathNotFoundError, S3Driver, StorageDriverError, readahead, reader
from storagedriver.clients import Timeouts
from storagedriver.errors import Kind
from tests.storagedriver.conftest import ScriptedServer, respond

MIB = 2**20
CONTENT = secrets.token_bytes(300_000)
Serve = Callable[[BaseHTTPRequestHandler, int], None]


@pytest.fixture(autouse=True)
def no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "RESUME_DELAY_SECONDS", 0)


def serve(handler: BaseHTTPRequestHandler, count: int | None = None, etag: str = '"v1"') -> None:
    """Serve CONTENT from the asked byte, only `count` bytes of it before the connection ends."""
    if handler.headers.get("If-Match", etag) != etag:
        respond(handler, 412, b"<Error><Code>PreconditionFailed</Code></Error>")
        return
    span = handler.headers.get("Range")
    first, _, last = (span or "bytes=0-").removeprefix("bytes=").partition("-")
    start, end = int(first), min(int(last or len(CONTENT)) + 1, len(CONTENT))
    headers = {"ETag": etag}
    if span:
        headers["Content_Range"] = f"bytes {start}-{end - 1}/{len(CONTENT)}"
    piece = CONTENT[start:end] if count is None else CONTENT[start : min(start + count, end)]
    respond(handler, 206 if span else 200, piece, end - start, **headers)


@pytest.fixture
def open_driver(
    scripted: Callable[[Serve], ScriptedServer], parameters: Callable[..., DriverParameters]
) -> Callable[[Serve], S3Driver]:
    def make(answer: Serve) -> S3Driver:
        return S3Driver(
            parameters(regionendpoint=scripted(answer).endpoint), timeouts=Timeouts(connect=2, read=0.5, attempts=1)
        )

    return make


def test_it_goes_on_where_the_connection_was_cut(open_driver: Callable[[Serve], S3Driver]) -> None:
    ranges = []

    def answer(handler: BaseHTTPRequestHandler, number: int) -> None:
        ranges.append((handler.headers.get("Range"), handler.headers.get("If-Match")))
        serve(handler, 100_000 if number < 3 else None)

    assert open_driver(answer).get_content("/a") == CONTENT
    assert ranges == [(None, None), ("bytes=100000-", '"v1"'), ("bytes=200000-", '"v1"')]


def test_it_goes_on_after_a_stall(open_driver: Callable[[Serve], S3Driver]) -> None:
    release = threading.Event()

    def answer(handler: BaseHTTPRequestHandler, number: int) -> None:
        serve(handler, 1000 if number == 1 else None)
        if number == 1:
            handler.wfile.flush()
            release.wait(5)

    try:
        assert open_driver(answer).get_content("/a") == CONTENT
    finally:
        release.set()


def test_it_never_mixes_two_versions(open_driver: Callable[[Serve], S3Driver]) -> None:
    def answer(handler: BaseHTTPRequestHandler, number: int) -> None:
        serve(handler, 1000, etag=f'"v{number}"')

    with pytest.raises(StorageDriverError, match="/a changed while it was read"):
        open_driver(answer).get_content("/a")


def test_it_gives_up_when_no_byte_comes(open_driver: Callable[[Serve], S3Driver]) -> None:
    driver = open_driver(lambda handler, number: serve(handler, 1000 if number == 1 else 0))
    with pytest.raises(StorageDriverError, match="stopped at byte 1,000 of 300,000 after 5 attempts") as caught:
        driver.get_content("/a")
    assert caught.value.kind is Kind.TRANSIENT


def test_it_refuses_a_server_that_ignores_ranges(open_driver: Callable[[Serve], S3Driver]) -> None:
    driver = open_driver(lambda handler, number: respond(handler, 200, CONTENT, ETag='"v1"'))
    with pytest.raises(StorageDriverError, match="ignored the range: byte 10 of /a was asked for, byte 0 came"):
        driver.reader("/a", 10)


def test_a_missing_object_is_missing_even_without_an_error_body(open_driver: Callable[[Serve], S3Driver]) -> None:
    with pytest.raises(PathNotFoundError):
        open_driver(lambda handler, number: respond(handler, 404)).reader("/a")


def test_a_range_refused_midway_is_no_end(open_driver: Callable[[Serve], S3Driver]) -> None:
    def answer(handler: BaseHTTPRequestHandler, number: int) -> None:
        if number == 1:
            serve(handler, 1000)
        else:
            respond(handler, 416, b"<Error><Code>InvalidRange</Code><ActualObjectSize>9</ActualObjectSize></Error>")

    with pytest.raises(StorageDriverError, match="HTTP status 416"):
        open_driver(answer).get_content("/a")


class TestOffset:
    @pytest.mark.parametrize("offset", [0, 1, 7])
    @pytest.mark.parametrize("ahead", [0, 2])
    def test_an_empty_object_is_empty_from_everywhere(self, driver: S3Driver, offset: int, ahead: int) -> None:
        driver.put_content("/a", b"")
        with driver.reader("/a", offset, ahead=ahead) as stream:
            assert stream.read() == b""

    @pytest.mark.parametrize("offset", [5, 6, 1000])
    @pytest.mark.parametrize("ahead", [0, 2])
    def test_nothing_is_beyond_the_end(self, driver: S3Driver, offset: int, ahead: int) -> None:
        driver.put_content("/a", b"12345")
        with driver.reader("/a", offset, ahead=ahead) as stream:
            assert stream.read() == b""

    def test_the_size_is_known_beyond_the_end_too(self, open_driver: Callable[[Serve], S3Driver]) -> None:
        body = b"<Error><Code>InvalidRange</Code><ActualObjectSize>5</ActualObjectSize></Error>"
        assert open_driver(lambda handler, number: respond(handler, 416, body)).reader("/a", 7).size == 5


class TestReadAhead:
    @pytest.fixture(autouse=True)
    def small_ranges(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(readahead, "RANGE_BYTES", 70_000)

    def test_it_gives_the_bytes_in_order(self, open_driver: Callable[[Serve], S3Driver]) -> None:
        driver = open_driver(lambda handler, number: serve(handler))
        with driver.reader("/a", 10, ahead=3) as stream:
            assert (stream.size, stream.etag) == (len(CONTENT), "v1")
            assert stream.read(5) + stream.read() == CONTENT[10:]

    def test_as_many_ranges_as_asked_for_are_on_their_way(self, open_driver: Callable[[Serve], S3Driver]) -> None:
        together = threading.Barrier(3, timeout=10)

        def answer(handler: BaseHTTPRequestHandler, number: int) -> None:
            if 2 <= number <= 4:  # the first is asked for when the reader opens, and then three at once
                together.wait()
            serve(handler)

        with open_driver(answer).reader("/a", ahead=4) as stream:
            assert stream.read() == CONTENT

    def test_it_fetches_no_further_than_asked(self, open_driver: Callable[[Serve], S3Driver]) -> None:
        driver = open_driver(lambda handler, number: serve(handler))
        with driver.reader("/a", ahead=2) as stream:
            stream.read(1)
        assert driver.requests["GetObject"] <= 2

    def test_cut_ranges_are_resumed(self, open_driver: Callable[[Serve], S3Driver]) -> None:
        with open_driver(lambda handler, number: serve(handler, 30_000)).reader("/a", ahead=2) as stream:
            assert stream.read() == CONTENT

    def test_it_never_mixes_two_versions(self, open_driver: Callable[[Serve], S3Driver]) -> None:
        driver = open_driver(lambda handler, number: serve(handler, etag='"v1"' if number < 3 else '"v2"'))
        with driver.reader("/a", ahead=1) as stream, pytest.raises(StorageDriverError, match="/a changed while it was"):
            stream.read()

    def test_a_read_after_an_error_asks_again(self, open_driver: Callable[[Serve], S3Driver]) -> None:
        def answer(handler: BaseHTTPRequestHandler, number: int) -> None:
            if number == 2:
                respond(handler, 403, b"<Error><Code>AccessDenied</Code></Error>")
            else:
                serve(handler)

        with open_driver(answer).reader("/a", ahead=1) as stream:
            first = stream.read(70_000)
            with pytest.raises(StorageDriverError, match="denied s3:GetObject"):
                stream.read(1)
            assert first + stream.read() == CONTENT

    def test_it_seeks(self, open_driver: Callable[[Serve], S3Driver]) -> None:
        with open_driver(lambda handler, number: serve(handler)).reader("/a", ahead=2) as stream:
            stream.read(10)
            stream.seek(-1000, io.SEEK_END)
            assert (stream.tell(), stream.read()) == (len(CONTENT) - 1000, CONTENT[-1000:])

    def test_a_missing_object_is_missing_at_once(self, driver: S3Driver) -> None:
        with pytest.raises(PathNotFoundError):
            driver.reader("/a", ahead=2)

    def test_closing_ends_its_threads(self, open_driver: Callable[[Serve], S3Driver]) -> None:
        stream = open_driver(lambda handler, number: serve(handler)).reader("/a", ahead=3)
        stream.read(1)
        stream.close()
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


class TestSeek:
    content = secrets.token_bytes(1000)

    @pytest.fixture
    def stream(self, driver: S3Driver) -> reader.ObjectReader:
        driver.put_content("/a", self.content)
        return driver.reader("/a")

    def test_it_reads_elsewhere(self, stream: reader.ObjectReader) -> None:
        with stream:
            stream.seek(-10, io.SEEK_END)
            assert (stream.tell(), stream.read()) == (990, self.content[990:])
            stream.seek(5)
            assert stream.read(5) == self.content[5:10]

    def test_it_makes_no_request_to_stay(self, driver: S3Driver, stream: reader.ObjectReader) -> None:
        with stream:
            stream.seek(0)
            stream.read()
        assert driver.requests["GetObject"] == 1

    def test_it_refuses_a_negative_position(self, stream: reader.ObjectReader) -> None:
        with stream, pytest.raises(ValueError, match="negative seek position -1"):
            stream.seek(-1)

    def test_a_buffered_reader_may_stand_before_it(self, stream: reader.ObjectReader) -> None:
        with io.BufferedReader(stream, 64) as buffered:
            assert buffered.read(10) + buffered.read() == self.content

    def test_it_refuses_reads_after_close(self, stream: reader.ObjectReader) -> None:
        stream.close()
        with pytest.raises(ValueError, match="closed"):
            stream.read(1)
