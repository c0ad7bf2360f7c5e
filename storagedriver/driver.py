"""The StorageDriver interface over one bucket and root directory."""

from __future__ import annotations

import base64
import builtins
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC
from typing import TYPE_CHECKING, Any, Literal, overload

from storagedriver import clients
from storagedriver.copying import copy
from storagedriver.deleting import delete_below, delete_keys
from storagedriver.errors import (
    DRIVER_NAME,
    ContentTooLargeError,
    InvalidOffsetError,
    Kind,
    PathNotFoundError,
    StorageDriverError,
    UnsupportedMethodError,
    translating,
)
from storagedriver.fileinfo import FileInfo as FileInfo
from storagedriver.layout.paths import BLOBS
from storagedriver.listing import Entry, Lister
from storagedriver.parameters import DriverParameters
from storagedriver.paths import KeyMap, check_path
from storagedriver.readahead import ReadAhead
from storagedriver.reader import ObjectReader
from storagedriver.scanning import Scan
from storagedriver.uploads import MultipartUpload, Uploads
from storagedriver.versions import ObjectVersion, VersionLister
from storagedriver.walking import walk
from storagedriver.writer import FileWriter

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

    from storagedriver.middleware.cloudfront import CloudFront

URL_SECONDS = 20 * 60
CONTENT_TYPE = "application/octet-stream"


class S3Driver:
    """The registry's storage in S3. Methods raise StorageDriverError and its kin; making one calls no network.

    Paths keep the rule of `storagedriver.paths`. A driver is safe across threads and forks, and cheap to make: drivers
    of equal parameters share one client. `middleware` sends GET and HEAD redirects through CloudFront.
    """

    name = DRIVER_NAME

    def __init__(
        self,
        parameters: DriverParameters,
        *,
        middleware: CloudFront | None = None,
        timeouts: clients.Timeouts | None = None,
    ) -> None:
        self.parameters = parameters
        self.middleware = middleware
        self.keys = KeyMap.under(parameters.rootdirectory)
        self._timeouts = timeouts
        self._requests = clients.RequestCounter()
        self._clients: tuple[S3Client, S3Client] | None = None  # the shared one, and our view of it

    def __repr__(self) -> str:
        return f"<S3Driver s3://{self.parameters.bucket}/{self.keys.root} at {self.parameters.endpoint_host}>"

    @property
    def client(self) -> S3Client:
        """Return the boto3 client: this driver's own, on connections shared with every driver of equal parameters."""
        shared = clients.connect(self.parameters, self._timeouts)
        known = self._clients
        if known is None or known[0] is not shared:  # the first use, or the first after a fork
            self._clients = known = shared, clients.view(shared, self._requests)
        return known[1]

    @property
    def requests(self) -> Counter[str]:
        """Return the S3 requests by operation that this driver made, retries included, in whatever thread."""
        return self._requests.snapshot()

    @property
    def uploads(self) -> Uploads:
        """Return the multipart uploads of the bucket."""
        return Uploads(self)

    def key(self, path: str) -> str:
        """Return the bucket key of a path."""
        return self.keys.key(path)

    def path(self, key: str) -> str:
        """Return the path of a bucket key. Raises ValueError for a key outside the root directory."""
        return self.keys.path(key)

    def object_headers(self, path: str | None = None) -> dict[str, Any]:
        """Return the arguments that every call takes which makes an object: type, encryption, storage class, ACL.

        With `storageclassblobsonly` the class is that of blobs; every other `path` stays STANDARD, since small objects
        such as links are billed as 128 KB each in the classes for rare access.
        """
        parameters = self.parameters
        headers: dict[str, Any] = {"ContentType": CONTENT_TYPE}
        # "private" is what S3 does without a header, and buckets without ACLs refuse the header.
        if parameters.objectacl not in {"none", "private"}:
            headers["ACL"] = parameters.objectacl
        if parameters.storageclass != "NONE":
            plain = parameters.storageclassblobsonly and path is not None and not path.startswith(f"{BLOBS}/")
            headers["StorageClass"] = "STANDARD" if plain else parameters.storageclass
        if parameters.encrypt:
            headers["ServerSideEncryption"] = "aws:kms" if parameters.keyid else "AES256"
            if parameters.keyid:
                headers["SSEKMSKeyId"] = parameters.keyid
        return headers

    def get_content(self, path: str, limit: int | None = None) -> bytes:
        """Return a whole object. Raises PathNotFoundError, and ContentTooLargeError above `limit` bytes."""
        with ObjectReader(self, check_path(path)) as reader:
            if limit is not None and reader.size > limit:
                raise ContentTooLargeError(path, reader.size, limit)
            return reader.readall()

    def put_content(self, path: str, content: bytes) -> None:
        """Store a small object with one request, replacing what was there."""
        check_path(path)
        digest = hashlib.md5(content, usedforsecurity=False).digest()
        with translating(self.parameters):
            answer = self.client.put_object(
                Bucket=self.parameters.bucket,
                Key=self.key(path),
                Body=content,
                ContentMD5=base64.b64encode(digest).decode(),
                **self.object_headers(path),
            )
            answer["ETag"]  # a web server may say 200 to anything; only S3 gives an ETag

    @overload
    def reader(self, path: str, offset: int = 0, *, ahead: Literal[0] = 0) -> ObjectReader: ...

    @overload
    def reader(self, path: str, offset: int = 0, *, ahead: int) -> ObjectReader | ReadAhead: ...

    def reader(self, path: str, offset: int = 0, *, ahead: int = 0) -> ObjectReader | ReadAhead:
        """Return a stream from `offset` to the end; at or beyond the end it is empty. Raises PathNotFoundError.

        With `ahead` as many ranges of 8 MiB are fetched side by side: for large objects on distant stores.
        """
        if offset < 0:
            raise InvalidOffsetError(path, offset)
        check_path(path)
        return ReadAhead(self, path, offset, ahead) if ahead else ObjectReader(self, path, offset)

    def writer(self, path: str, append: bool = False, *, digest: str | None = None) -> FileWriter:
        """Return a writer of a new upload, or with `append` of the pending one. See FileWriter.

        `digest` ("sha256:...") makes commit refuse any other content; it needs append=False.
        """
        writer = FileWriter(self, check_path(path), digest=digest)
        return writer.resume() if append else writer.begin()

    def stat(self, path: str) -> FileInfo:
        """Return what stands at a path. Raises PathNotFoundError. "/" is always a directory."""
        check_path(path, root=True)
        if path == "/":
            return FileInfo(path, 0, None, is_dir=True)
        try:
            with translating(self.parameters):
                answer = self.client.head_object(Bucket=self.parameters.bucket, Key=self.key(path))
                modified = answer["LastModified"].astimezone(UTC)
                etag = answer["ETag"].strip('"')
                return FileInfo(path, answer["ContentLength"], modified, is_dir=False, etag=etag)
        except StorageDriverError as error:
            if error.kind is not Kind.MISSING:
                raise
        # Two keys, since the first may be the directory's own marker.
        for page in Lister(self).pages(self.keys.prefix(path), limit=2):
            if page.entries:
                return FileInfo(path, 0, None, is_dir=True)
        raise PathNotFoundError(path)

    def list(self, path: str) -> list[str]:
        """Return the full paths of the direct children, sorted. Raises PathNotFoundError when empty, except for "/"."""
        directories, files = self.children(path)
        if not (directories or files or path == "/"):
            raise PathNotFoundError(path)
        base = path.rstrip("/")
        return sorted(f"{base}/{name}" for name in {*directories, *files})

    def children(self, path: str) -> tuple[builtins.list[str], builtins.list[str]]:
        """Return the names of the directories and of the objects directly below a path, each sorted; both may be empty."""
        check_path(path, root=True)
        prefix = self.keys.prefix(path)
        directories: builtins.list[str] = []
        files: builtins.list[str] = []
        for page in Lister(self).pages(prefix, delimiter="/"):
            directories += [name for at in page.directories if (name := self.key(at)[len(prefix) :])]
            files += [self.key(entry.path)[len(prefix) :] for entry in page.entries]
        return sorted(directories), sorted(files)

    def move(self, source: str, destination: str) -> None:
        """Move an object within S3, replacing the destination; large ones in parts, side by side. Not atomic.

        Raises PathNotFoundError when the source is missing or a directory; the destination is untouched then.
        """
        check_path(source)
        check_path(destination)
        info = self.stat(source)
        if info.is_dir:
            raise PathNotFoundError(source)
        if source == destination:
            return
        copy(self, info, destination)
        self.delete_object(source)

    def delete(self, path: str) -> None:
        """Delete the object at a path and everything below it, never a sibling that merely shares the beginning.

        Raises PathNotFoundError when nothing was there, StorageDriverErrors naming each key that S3 did not delete.
        """
        delete_below(self, check_path(path))

    def delete_object(self, path: str) -> None:
        """Delete the one object at a path, present or not."""
        with translating(self.parameters):
            self.client.delete_object(Bucket=self.parameters.bucket, Key=self.key(check_path(path)))

    def delete_keys(self, keys: Sequence[str]) -> builtins.list[StorageDriverError]:
        """Delete up to 1,000 keys with one request; return an error for each that S3 refused to delete.

        A service without batches gets a request for each key.
        """
        return delete_keys(self, keys)

    def redirect_url(self, path: str, method: str = "GET", client_ip: str | None = None) -> str | None:
        """Return a URL that serves the object for 20 minutes: CloudFront's if there is a middleware, else presigned S3.

        Only pulls are redirected: for other methods than GET and HEAD a version 3 driver returns None, an older one
        raises UnsupportedMethodError. `client_ip` lets CloudFront's `ipfilteredby` choose. Makes no request.
        """
        check_path(path)
        if method not in {"GET", "HEAD"}:
            if self.parameters.version == "3":
                return None
            raise UnsupportedMethodError
        return self.signed_url(path, method, client_ip=client_ip)

    def signed_url(
        self,
        path: str,
        method: str = "GET",
        *,
        seconds: int | None = None,
        arguments: dict[str, Any] | None = None,
        client_ip: str | None = None,
    ) -> str:
        """Return a URL that serves the object for `seconds`: CloudFront's if there is a middleware, else presigned S3.

        `arguments` are GetObject's, such as ResponseContentDisposition; with them the URL is always S3's. So it is for
        a `client_ip` that the middleware sends straight to S3.
        """
        check_path(path)
        if self.middleware is not None and not arguments and self.middleware.serves(client_ip):
            return self.middleware.sign(self.key(path), None if seconds is None else int(time.time()) + seconds)
        parameters = self.parameters
        if parameters.redirectendpoint:
            parameters = replace(parameters, regionendpoint=parameters.redirectendpoint, redirectendpoint="")
        with translating(parameters):
            return clients.connect(parameters, self._timeouts).generate_presigned_url(
                "head_object" if method == "HEAD" else "get_object",
                Params={"Bucket": parameters.bucket, "Key": self.key(check_path(path)), **(arguments or {})},
                ExpiresIn=URL_SECONDS if seconds is None else seconds,
            )

    def walk(self, path: str, visit: Callable[[FileInfo], object], start_after: str | None = None) -> None:
        """Visit every file and directory below a path in key order, a directory before its contents.

        `visit` may raise SkipDir (a directory's contents are neither visited nor, beyond the page, listed; ignored for a
        file) or StopWalk (the walk ends, successfully). `start_after` is a path after which to begin; its ancestors below
        `path` are visited again.
        """
        check_path(path, root=True)
        walk(self, path, visit, check_path(start_after) if start_after else None)

    def scan(self, path: str = "/") -> Iterator[builtins.list[Entry]]:
        """Yield every object below a path in pages, in parallel, in no order across pages. Complete, or an error."""
        return iter(Scan(Lister(self), self.keys.prefix(check_path(path, root=True))))

    def scan_versions(self, path: str = "/") -> Iterator[builtins.list[ObjectVersion]]:
        """Yield every object version and delete marker below a path in pages, as `scan` does."""
        return iter(Scan(VersionLister(self), self.keys.prefix(check_path(path, root=True))))

    def multipart_uploads(self, path: str = "/") -> Iterator[MultipartUpload]:
        """Yield the pending multipart uploads at and below a path, with what their parts weigh."""
        return self.uploads.described(check_path(path, root=True))

    def abort_multipart_upload(self, path: str, upload_id: str) -> None:
        """Drop a pending upload and its parts. Raises PathNotFoundError when it is gone already."""
        self.uploads.abort(path, upload_id)
