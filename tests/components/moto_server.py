"""`python -m tests.components.moto_server PORT` serves moto on the loopback port over HTTP/1.1 until it is killed.

`POST /_age?bucket=&prefix=&seconds=` moves the dates of objects and pending parts into the past.
`POST /_fill?bucket=&folder=&count=` puts many small objects below a folder, faster than by requests.
"""

from __future__ import annotations

import hashlib
import io
import sys
import threading
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import make_server
from werkzeug.test import run_wsgi_app

moto = DomainDispatcherApplication(create_backend_app)
one_at_a_time = threading.Lock()  # moto's backend is not thread-safe; bodies are received in parallel


class KeepAliveHandler(MotoRequestHandler):
    """Answers many requests on one connection, which werkzeug's own handler refuses to."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def run_wsgi(self) -> None:
        environ: dict[str, Any] = self.make_environ()
        if "wsgi.input_terminated" in environ:  # a chunked body
            body = environ["wsgi.input"].read()
            del environ["HTTP_TRANSFER_ENCODING"]
        else:
            body = self.rfile.read(int(environ.get("CONTENT_LENGTH") or 0))
        environ |= {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        try:
            with one_at_a_time:
                status, headers, answer = respond(environ)
        except Exception:  # noqa: BLE001 - moto stumbles over an upload that has just ended, as its own server's 500 says
            status, headers, answer = "500 Internal Server Error", [], b"<Error><Code>InternalError</Code></Error>"
        head = self.command == "HEAD"
        code, _, reason = status.partition(" ")
        self.send_response(int(code), reason)
        for name, value in headers:
            if head or name.lower() != "content-length":
                self.send_header(name, value)
        if not head and code not in ("204", "304"):
            self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if not head:
            self.wfile.write(answer)

    def log(self, *args: object) -> None:
        """Say nothing of single requests."""


def respond(environ: dict[str, Any]) -> tuple[str, list[tuple[str, str]], bytes]:
    """Return the status line, headers and body for a request."""
    if environ["PATH_INFO"] in ("/_age", "/_fill"):
        query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
        if environ["PATH_INFO"] == "/_age":
            age(query["bucket"], query.get("prefix", ""), timedelta(seconds=float(query["seconds"])))
        else:
            fill(query["bucket"], query["folder"], int(query["count"]))
        return "204 No Content", [], b""
    chunks, status, headers = run_wsgi_app(moto, environ, buffered=True)
    return status, list(headers), b"".join(chunks)


def age(bucket_name: str, prefix: str, by: timedelta) -> None:
    """Move the dates of all objects and parts below the prefix into the past."""
    bucket = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets[bucket_name]
    for name in list(bucket.keys):
        if name.startswith(prefix):
            for version in bucket.keys.getlist(name):
                version.last_modified -= by
    for upload in bucket.multiparts.values():
        if upload.key_name.startswith(prefix):
            for part in upload.parts.values():
                part.last_modified -= by


def fill(bucket_name: str, folder: str, count: int) -> None:
    """Put objects named as blobs below the folder; below `docker` where a registry has them."""
    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    root = "docker/registry/v2/blobs/sha256/{:.2}/" if folder == "docker" else f"{folder}/"
    for number in range(count):
        name = hashlib.sha256(str(number).encode()).hexdigest()
        backend.put_object(bucket_name, f"{root.format(name)}{name}/data", b"")


if __name__ == "__main__":
    make_server("127.0.0.1", int(sys.argv[1]), moto, threaded=True, request_handler=KeepAliveHandler).serve_forever()
