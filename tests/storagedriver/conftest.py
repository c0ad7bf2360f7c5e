"""Drivers on fresh roots of one bucket."""

from __future__ import annotations

import itertools
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from storagedriver import DriverParameters, S3Driver
from storagedriver.listing import Lister
from tests.components import S3Process

BUCKET = "wharfinger-driver"
MIB = 2**20


@pytest.fixture(scope="session")
def s3_endpoint(s3: S3Process) -> str:
    s3.make_bucket(BUCKET)
    return s3.endpoint


def _parameters(endpoint: str, **values: object) -> DriverParameters:
    given = {
        "regionendpoint": endpoint,
        "region": "us-east-1",
        "bucket": BUCKET,
        "accesskey": "AKIDEXAMPLE",
        "secretkey": "wJalrXUtnFEMI-canary",
        "chunksize": 5 * MIB,
    }
    return DriverParameters.parse(given | values, version="3")


_roots = itertools.count()


@pytest.fixture
def parameters(s3_endpoint: str) -> Callable[..., DriverParameters]:
    """Make parameters for one fresh root directory; keyword arguments replace single ones."""
    root = f"root-{next(_roots)}"

    def make(**values: object) -> DriverParameters:
        return _parameters(s3_endpoint, **{"rootdirectory": root} | values)

    return make


@pytest.fixture
def driver(parameters: Callable[..., DriverParameters]) -> S3Driver:
    """Return a driver on a fresh, empty root directory."""
    return S3Driver(parameters())


class ScriptedServer:
    """A local HTTP server whose answers a test writes: `answer(handler, n)` serves the n-th request, from 1."""

    def __init__(
        self, answer: Callable[[BaseHTTPRequestHandler, int], None], tls: ssl.SSLContext | None = None
    ) -> None:
        numbers = itertools.count(1)
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        script = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                script.requests.append((self.command, self.path, dict(self.headers)))
                answer(self, next(numbers))

            do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls is not None:
            # The handshake is made by the request's own thread; a client that breaks it off is nobody's error.
            self._server.handle_error = lambda request, address: None  # type: ignore[method-assign]
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def scripted() -> Iterator[Callable[..., ScriptedServer]]:
    """Start servers with scripted answers."""
    servers: list[ScriptedServer] = []

    def start(answer: Callable[[BaseHTTPRequestHandler, int], None]) -> ScriptedServer:
        servers.append(ScriptedServer(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def respond(
    handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", length: int | None = None, **headers: str
) -> None:
    """Answer a request; `length` is the Content-Length to claim, if not the body's."""
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> int:
    """Make listing pages of few keys, so that a few objects fill several."""
    monkeypatch.setattr(Lister, "page_keys", 7)
    return Lister.page_keys
