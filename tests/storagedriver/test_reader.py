"""The reader: what it does when the connection is cut, the object changes, or the server is no S3 server."""

from __future__ import annotations

import io
import secrets
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

import pytest

from storagedriver import DriverParameters, PathNotFoundError, S3Driver, StorageDriverError, reader
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
    start = int(span.removeprefix("bytes=").removesuffix("-")) if span else 0
    headers = {"ETag": etag}
    if span:
        headers["Content_Range"] = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
    piece = CONTENT[start:] if count is None else CONTENT[start : start + count]
    respond(handler, 206 if span else 200, piece, len(CONTENT) - start, **headers)


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
