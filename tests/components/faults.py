"""A proxy before the S3 server that makes single requests go wrong, in the ways networks and S3 do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from threading import Lock
from urllib.parse import parse_qs, urlsplit

from tests.components.proxy import Answer, Proxy

# Method and query to operation, most special first; an upload copies a part when it names a source.
_OPERATIONS = (
    ("POST", "uploads", "CreateMultipartUpload"),
    ("POST", "uploadId", "CompleteMultipartUpload"),
    ("POST", "delete", "DeleteObjects"),
    ("PUT", "partNumber", "UploadPart"),
    ("DELETE", "uploadId", "AbortMultipartUpload"),
    ("GET", "uploadId", "ListParts"),
    ("GET", "uploads", "ListMultipartUploads"),
    ("GET", "list-type", "ListObjectsV2"),
    ("PUT", "", "PutObject"),
    ("GET", "", "GetObject"),
    ("HEAD", "", "HeadObject"),
    ("DELETE", "", "DeleteObject"),
)
_COPIES = {"UploadPart": "UploadPartCopy", "PutObject": "CopyObject"}


def operation_of(method: str, path: str, copies: bool = False) -> str:
    """Return the S3 operation of a path-style request."""
    names = parse_qs(urlsplit(path).query, keep_blank_values=True)
    found = next(name for verb, query, name in _OPERATIONS if verb == method and (not query or query in names))
    return _COPIES.get(found, found) if copies else found


def s3_error(status: int, code: str) -> Answer:
    """Return S3's answer for an error code."""
    return Answer(
        status, f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>by the proxy</Message></Error>".encode()
    )


SLOW_DOWN = s3_error(503, "SlowDown")
INTERNAL_ERROR = s3_error(500, "InternalError")
ERROR_IN_200 = s3_error(200, "InternalError")  # S3 promises 200 early when a copy or Complete takes long
ACCESS_DENIED = s3_error(403, "AccessDenied")


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request.

    `delivered` says whether the server gets it nevertheless. Then the client gets `answer`; without one it gets the
    first `cut` bytes of the server's answer, and for None no answer at all, before the connection ends.
    """

    delivered: bool
    answer: Answer | None = None
    cut: int | None = None


def instead(answer: Answer) -> Fault:
    """Answer by the proxy; the server never hears of the request."""
    return Fault(False, answer)


def after(answer: Answer) -> Fault:
    """Answer by the proxy after the server has done what was asked."""
    return Fault(True, answer)


class FaultProxy(Proxy):
    """Hands requests on to `target`, unless `fault(operation, number)` returns a Fault for the number-th of its kind, from 1.

    `seen` lists the operation and headers (names in lower case) of every request, in order.
    """

    def __init__(self, target: str, fault: Callable[[str, int], Fault | None] = lambda operation, number: None) -> None:
        self.fault = fault
        self.seen: list[tuple[str, dict[str, str]]] = []
        self._counts: Counter[str] = Counter()
        self._lock = Lock()
        super().__init__(target)

    def count_of(self, operation: str) -> int:
        """Return how often an operation was asked for, retries included."""
        return self._counts[operation]

    def fail(self, operation: str, fault: Fault, times: int | None = None) -> None:
        """Let a fault befall the next `times` requests of an operation; every one for None."""
        first = self._counts[operation]

        def decide(asked: str, number: int) -> Fault | None:
            return fault if asked == operation and (times is None or number - first <= times) else None

        self.fault = decide

    def recover(self) -> None:
        """Hand everything on from now."""
        self.fault = lambda operation, number: None

    def _handle(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in request.headers.items()}
        operation = operation_of(request.command, request.path, "x-amz-copy-source" in headers)
        with self._lock:
            self._counts[operation] += 1
            number = self._counts[operation]
            self.seen.append((operation, headers))
        fault = self.fault(operation, number) or Fault(True, cut=-1)
        status, answer_headers, content = 0, [("Content-Type", "application/xml")], b""
        if fault.delivered:
            status, answer_headers, content = self._forward(request, body)
        if fault.answer is not None:
            status, content = fault.answer.status, fault.answer.body
            answer_headers = [("Content-Type", fault.answer.content_type)]
        elif fault.cut is None:
            request.close_connection = True
            return
        head = request.command == "HEAD"
        request.send_response_only(status)
        for name, value in answer_headers:
            request.send_header(name, value)
        if not head and status not in (204, 304):
            request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if fault.answer is None and fault.cut is not None and 0 <= fault.cut < len(content):
            content = content[: fault.cut]
            request.close_connection = True
        if not head:
            request.wfile.write(content)
