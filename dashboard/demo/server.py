"""The demo's S3 server: moto's S3 application behind an HTTP/1.1 server, its state kept in a folder.

Not for the network: moto checks no signatures, so the server listens on 127.0.0.1 and refuses what a browser sends from
somebody else's page (requests with an Origin, requests for another host name).
"""

from __future__ import annotations

import datetime
import io
import os
import threading
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlsplit

os.environ.setdefault("MOTO_DISABLE_GLOBAL_CORS", "true")  # read once, when moto is imported

import lxml.etree as etree
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import MotoRequestHandler, create_backend_app
from moto.s3.models import S3Backend, s3_backends
from werkzeug.datastructures import Headers
from werkzeug.serving import make_server
from werkzeug.test import EnvironBuilder, run_wsgi_app

from dashboard.demo import HOST, REGION
from dashboard.demo.registry import DemoRegistry
from dashboard.demo.state import StateFolder, initiated, new_upload

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication

LOOPBACK_NAMES: Final = {"127.0.0.1", "localhost", "::1"}
CHANGING_METHODS: Final = {"PUT", "POST", "DELETE"}

Environ = dict[str, Any]
Answer = tuple[str, Headers, bytes]


class PersistentS3:
    """moto's S3 as a WSGI application; with a folder, what a request changed is stored before it is answered.

    moto's backend is one per process, so is this; `close` empties it. Requests are served one at a time: the backend is
    not thread-safe, and it holds Python's lock for most of a request anyway.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._app = create_backend_app("s3")
        self._app.debug = False  # an exception is a 500, not a traceback in the answer
        self._backend: S3Backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
        self._lock = threading.Lock()
        self._state = StateFolder(folder, self._backend) if folder else None
        if self._state:
            self._state.load(self._replay)

    def has_bucket(self, name: str) -> bool:
        """Say whether the bucket exists."""
        return name in self._backend.buckets

    def seed(self, bucket_name: str, registry: DemoRegistry) -> None:
        """Create the bucket with the registry's objects and its pending upload, dated as the registry says.

        All or nothing: a seed that was killed leaves no bucket.
        """
        with self._lock:
            bucket = self._backend.create_bucket(bucket_name, REGION)
            for item in registry.objects:
                key = self._backend.put_object(bucket_name, item.key, item.content)
                key.set_metadata({"Content-Type": "application/octet-stream"}, replace=True)
                key.last_modified = item.modified
            for upload in registry.uploads:
                pending = new_upload(bucket, upload.key, upload.id, upload.initiated)
                for number, content in enumerate(upload.parts, start=1):
                    pending.set_part(number, content).last_modified = upload.initiated
            if self._state:
                self._state.save(bucket_name)
                self._state.configure("PUT", bucket_name, "", {}, b"")

    def close(self) -> None:
        """Forget everything in memory."""
        with self._lock:
            self._backend.reset()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if "HTTP_ORIGIN" in environ or _host_name(environ) not in LOOPBACK_NAMES:
            start_response("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"The demo's S3 server is not for browsers.\n"]
        body = environ["wsgi.input"].read()
        environ["wsgi.input"] = io.BytesIO(body)
        with self._lock:
            status, headers, answer = _call(self._app, environ)
            if self._state and environ["REQUEST_METHOD"] in CHANGING_METHODS and status.startswith("2"):
                _store(self._state, environ, body)
            elif _asks_for_uploads(environ) and status.startswith("200"):
                answer = self._date_uploads(environ, answer)
        start_response(status, list(headers.items()))
        return [answer]

    def _replay(self, method: str, path: str, query: str, headers: dict[str, str], body: bytes) -> None:
        builder = EnvironBuilder(path, f"http://{HOST}", query, method, data=body, headers=list(headers.items()))
        status, _, _ = _call(self._app, builder.get_environ())
        if not status.startswith("2"):
            raise RuntimeError(f"moto answered {status} to the stored {method} {path}?{query}")

    def _date_uploads(self, environ: Environ, body: bytes) -> bytes:
        """Put the true date of each upload into a listing: moto writes one of 2010 everywhere."""
        bucket = self._backend.buckets[environ["PATH_INFO"].strip("/")]
        root = etree.fromstring(body)
        for element in root.iter("{*}Upload"):
            upload = bucket.multiparts[element.findtext("{*}UploadId")]
            moment = initiated(upload).astimezone(datetime.UTC)
            element.find("{*}Initiated").text = moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        dated: bytes = etree.tostring(root, encoding="utf-8", xml_declaration=True)
        return dated


def _call(application: WSGIApplication, environ: Environ) -> Answer:
    chunks, status, headers = run_wsgi_app(application, environ, buffered=True)
    return status, headers, b"".join(chunks)


def _store(state: StateFolder, environ: Environ, body: bytes) -> None:
    """Write to the folder what a successful request has changed."""
    path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
    bucket, _, key = path.lstrip("/").partition("/")
    method, query = environ["REQUEST_METHOD"], environ["QUERY_STRING"]
    if key or method == "POST":  # a POST on the bucket deletes many keys, or is a browser's form
        state.save(bucket, key or None)
    else:
        kept = {"CONTENT_TYPE": "Content-Type"} | {
            name: name[5:].replace("_", "-") for name in environ if name.startswith("HTTP_X_AMZ_")
        }
        headers = {header: environ[name] for name, header in kept.items() if name in environ}
        state.configure(method, bucket, query, headers, body)


def _host_name(environ: Environ) -> str:
    return urlsplit(f"//{environ.get('HTTP_HOST', '')}").hostname or ""


def _asks_for_uploads(environ: Environ) -> bool:
    return environ["REQUEST_METHOD"] == "GET" and any(
        name == "uploads" for name, _ in parse_qsl(environ["QUERY_STRING"], keep_blank_values=True)
    )


class KeepAliveHandler(MotoRequestHandler):
    """Answers many requests on one connection, which werkzeug's own handler refuses to."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes; the second must not wait for an acknowledgement

    def run_wsgi(self) -> None:
        self.environ = environ = self.make_environ()
        if "wsgi.input_terminated" in environ:  # chunked: werkzeug's stream ends by itself
            body = environ["wsgi.input"].read()
            del environ["HTTP_TRANSFER_ENCODING"]
        else:
            body = self.rfile.read(int(environ.get("CONTENT_LENGTH") or 0))
        environ |= {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        try:
            status, headers, answer = _call(self.server.app, environ)
        except Exception:  # noqa: BLE001 - a server outlives its requests
            traceback.print_exc()
            status, headers, answer = "500 Internal Server Error", Headers(), b""
        code, _, reason = status.partition(" ")
        if self.command == "HEAD":
            answer = b""  # and Content-Length stays that of the object
        elif code not in {"204", "304"}:
            headers["Content-Length"] = str(len(answer))
        self.send_response(int(code), reason)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer)

    def log(self, *args: object) -> None:
        """Say nothing; failures print their traceback."""


class S3Server:
    """The server on 127.0.0.1; port 0 takes a free one. Use `with` for a server in a thread, or `serve_forever`."""

    def __init__(self, folder: Path | None = None, port: int = 0) -> None:
        self.s3 = PersistentS3(folder)
        self._server = make_server(HOST, port, self.s3, threaded=True, request_handler=KeepAliveHandler)
        self.endpoint_url = f"http://{HOST}:{self._server.server_port}"

    def serve_forever(self) -> None:
        """Serve until another thread calls `close` or the process ends."""
        self._server.serve_forever(poll_interval=0.1)

    def close(self) -> None:
        """Stop serving, free the port and forget what is in memory."""
        self._server.shutdown()
        self._server.server_close()
        self.s3.close()

    def __enter__(self) -> S3Server:
        threading.Thread(target=self.serve_forever, daemon=True, name="demo-s3").start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
