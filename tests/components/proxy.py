"""A proxy before the S3 server that is slow, answers by itself, or does not answer at all.

`python -m tests.components.proxy TARGET PORT DELAY` runs a slow one in a process of its own.
"""

from __future__ import annotations

import http.client
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

HOP_BY_HOP = {"connection", "content-length", "transfer-encoding", "keep-alive"}


@dataclass(frozen=True)
class Answer:
    """What the proxy answers instead of the server behind it."""

    status: int
    body: bytes
    content_type: str = "application/xml"
    headers: dict[str, str] = field(default_factory=dict)


class Proxy:
    """Listens at `endpoint` and hands requests on to `target`.

    `delay` seconds pass before each request. `answer(method, path)` may return an Answer, or HANG to keep the client
    waiting until the proxy stops; None hands the request on. `count` is the number of requests seen.
    """

    HANG = Answer(0, b"")

    def __init__(
        self,
        target: str,
        *,
        port: int = 0,
        delay: float = 0,
        answer: Callable[[str, str], Answer | None] | None = None,
    ) -> None:
        self.delay = delay
        self.count = 0
        self._answer = answer or (lambda method, path: None)
        self._target = urlsplit(target).netloc
        self._stopping = threading.Event()
        self._local = threading.local()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def handle_any(self) -> None:
                proxy._handle(self)

            def finish(self) -> None:
                proxy._hang_up()
                super().finish()

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815

            def log_message(self, *args: Any) -> None:
                """Say nothing of single requests."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _handle(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        self.count += 1
        time.sleep(self.delay)
        answer = self._answer(request.command, request.path)
        if answer is Proxy.HANG:
            self._stopping.wait()
            request.close_connection = True
            return
        if answer is None:
            status, headers, content = self._forward(request, body)
        else:
            status, content = answer.status, answer.body
            headers = [("Content-Type", answer.content_type), *answer.headers.items()]
        request.send_response_only(status)
        for name, value in headers:
            request.send_header(name, value)
        head = request.command == "HEAD"
        if not head and status not in (204, 304):
            request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if not head:
            request.wfile.write(content)

    def _hang_up(self) -> None:
        if hasattr(self._local, "connection"):
            self._local.connection.close()

    def _forward(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        """Send the request on over this thread's connection to the server; a thread serves one client's connection."""
        if not hasattr(self._local, "connection"):
            self._local.connection = http.client.HTTPConnection(self._target, timeout=60)
        connection: http.client.HTTPConnection = self._local.connection
        headers = {
            name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP | {"expect"}
        }
        connection.request(request.command, request.path, body, headers | {"Content-Length": str(len(body))})
        response = connection.getresponse()
        content = response.read()
        kept = HOP_BY_HOP - ({"content-length"} if request.command == "HEAD" else set())
        return response.status, [item for item in response.getheaders() if item[0].lower() not in kept], content


if __name__ == "__main__":
    Proxy(sys.argv[1], port=int(sys.argv[2]), delay=float(sys.argv[3]))
    threading.Event().wait()
