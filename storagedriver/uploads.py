"""Multipart uploads: begin, find, send and copy parts, complete, abort."""

from __future__ import annotations

import base64
import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from storagedriver.errors import (
    S3_FAILURES,
    Kind,
    PathNotFoundError,
    StorageDriverError,
    classify,
    error_code,
    translate,
    translating,
)
from storagedriver.parts import Span, copy_spans

if TYPE_CHECKING:
    from storagedriver.driver import S3Driver

# More side-by-side copies than this gain nothing: S3 does the work, this process only waits.
MAX_COPY_THREADS = 32
LOOKUPS = 8  # uploads whose parts are listed at once


class Part(NamedTuple):
    """One stored part: number from 1, bytes, ETag as S3 gave it, and when it was stored (None if just now)."""

    number: int
    size: int
    etag: str
    modified: datetime | None = None


@dataclass(frozen=True, slots=True)
class MultipartUpload:
    """A pending multipart upload: invisible in listings, billed all the same. `size` is the bytes of its parts."""

    path: str
    key: str
    upload_id: str
    initiated: datetime
    parts: int
    size: int
    newest_part: datetime | None


class Uploads:
    """The multipart uploads of a driver's bucket. Methods raise StorageDriverError."""

    def __init__(self, driver: S3Driver) -> None:
        self._driver = driver
        self._parameters = driver.parameters

    def _object(self, path: str) -> dict[str, Any]:
        return {"Bucket": self._parameters.bucket, "Key": self._driver.key(path)}

    def begin(self, path: str) -> str:
        """Begin an upload and return its id."""
        with translating(self._parameters):
            answer = self._driver.client.create_multipart_upload(
                **self._object(path), **self._driver.object_headers(path)
            )
            return answer["UploadId"]

    def pending(self, path: str) -> Iterator[tuple[str, str, datetime]]:
        """Yield (path, upload id, begun) of the uploads at a path and below it, in key order, then by age."""
        key, below = self._driver.key(path), self._driver.keys.prefix(path)
        with translating(self._parameters):
            paginator = self._driver.client.get_paginator("list_multipart_uploads")
            # The exact key as prefix: some services know no other.
            for page in paginator.paginate(Bucket=self._parameters.bucket, Prefix=key.rstrip("/")):
                for upload in page.get("Uploads", ()):
                    if upload["Key"] == key or upload["Key"].startswith(below):
                        yield (
                            self._driver.keys.path(upload["Key"]),
                            upload["UploadId"],
                            upload["Initiated"].astimezone(UTC),
                        )

    def find(self, path: str) -> str | None:
        """Return the id of the oldest pending upload of exactly this path, which is the one a registry takes.

        One with parts comes before an older one without: a Create whose answer is lost and which is sent again leaves an
        empty upload behind, which would hide what was written.
        """
        found = [(at, upload_id, begun) for at, upload_id, begun in self.pending(path) if at == path]
        if len(found) <= 1:
            return found[0][1] if found else None
        present = [upload for upload in (self.describe(*pending) for pending in found) if upload is not None]
        oldest = min(present, key=lambda upload: (upload.parts == 0, upload.initiated), default=None)
        return oldest.upload_id if oldest else None

    def parts(self, path: str, upload_id: str) -> list[Part]:
        """Return the stored parts in order. Raises PathNotFoundError when the upload is gone."""
        with translating(self._parameters, path):
            pages = self._driver.client.get_paginator("list_parts").paginate(**self._object(path), UploadId=upload_id)
            return [
                Part(part["PartNumber"], part["Size"], part["ETag"], part["LastModified"].astimezone(UTC))
                for page in pages
                for part in page.get("Parts", ())
            ]

    def send(self, path: str, upload_id: str, number: int, body: bytes | bytearray) -> Part:
        """Store one part; S3 checks on arrival that it has the bytes that were sent."""
        checks: dict[str, Any] = {}
        if (
            not self._parameters.v4auth
        ):  # version 4 signs the SHA-256 of the bytes, so a second hash would be for nothing
            checks["ContentMD5"] = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        with translating(self._parameters):
            answer = self._driver.client.upload_part(
                **self._object(path),
                UploadId=upload_id,
                PartNumber=number,
                Body=body,  # type: ignore[arg-type]  # the stubs miss bytearray
                **checks,
            )
            return Part(number, len(body), answer["ETag"])

    def copy(self, source: str, etag: str, path: str, upload_id: str, size: int) -> list[Part]:
        """Copy an object of `size` bytes into an upload's parts from number 1, side by side, within S3.

        Returns when every copy has ended; the first failure is raised.
        """

        def copy_span(span: Span) -> Part:
            with translating(self._parameters, source):
                answer = self._driver.client.upload_part_copy(
                    **self._object(path),
                    UploadId=upload_id,
                    PartNumber=span.number,
                    CopySource={"Bucket": self._parameters.bucket, "Key": self._driver.key(source)},
                    CopySourceRange=f"bytes={span.first}-{span.last}",
                    CopySourceIfMatch=etag,
                )
                return Part(span.number, span.last - span.first + 1, answer["CopyPartResult"]["ETag"])

        spans = copy_spans(size, self._parameters.multipartcopychunksize)
        threads = min(self._parameters.multipartcopymaxconcurrency, MAX_COPY_THREADS, len(spans))
        with ThreadPoolExecutor(threads, thread_name_prefix="copy") as executor:
            futures = [executor.submit(copy_span, span) for span in spans]
            done, waiting = wait(futures, return_when=FIRST_EXCEPTION)
            for future in waiting:
                future.cancel()
            for future in done:
                future.result()
        return [future.result() for future in futures]

    def complete(self, path: str, upload_id: str, parts: Sequence[Part]) -> None:
        """Publish an upload. A lost answer is looked up: an object that is what was asked for counts as success."""
        try:
            self._driver.client.complete_multipart_upload(
                **self._object(path),
                UploadId=upload_id,
                MultipartUpload={"Parts": [{"PartNumber": part.number, "ETag": part.etag} for part in parts]},
            )
        except S3_FAILURES as error:
            doubtful = error_code(error) == "NoSuchUpload" or classify(error) is Kind.TRANSIENT
            if not (doubtful and self._is_complete(path, upload_id, parts)):
                raise translate(error, self._parameters) from error

    def abort(self, path: str, upload_id: str) -> None:
        """Drop an upload and its parts. Raises PathNotFoundError when it is gone already."""
        with translating(self._parameters, path):
            self._driver.client.abort_multipart_upload(**self._object(path), UploadId=upload_id)

    def described(self, path: str) -> Iterator[MultipartUpload]:
        """Yield the uploads at and below a path as `pending` does, their parts looked up side by side."""
        coming: deque[Future[MultipartUpload | None]] = deque()
        executor = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="uploads")
        try:
            for found in self.pending(path):
                coming.append(executor.submit(self.describe, *found))
                if len(coming) > LOOKUPS and (upload := coming.popleft().result()) is not None:
                    yield upload
            for future in coming:
                if (upload := future.result()) is not None:
                    yield upload
        finally:
            executor.shutdown(wait=True, cancel_futures=True)

    def describe(self, path: str, upload_id: str, begun: datetime) -> MultipartUpload | None:
        """Return an upload with what its parts weigh, None when it ended meanwhile."""
        try:
            parts = self.parts(path, upload_id)
        except PathNotFoundError:
            return None
        return MultipartUpload(
            path=path,
            key=self._driver.key(path),
            upload_id=upload_id,
            initiated=begun,
            parts=len(parts),
            size=sum(part.size for part in parts),
            newest_part=max((part.modified for part in parts if part.modified), default=None),
        )

    def _is_complete(self, path: str, upload_id: str, parts: Sequence[Part]) -> bool:
        """Say whether the object at a path is made of exactly these parts."""
        try:
            with translating(self._parameters, path):
                head = self._driver.client.head_object(**self._object(path))
                size, etag = head["ContentLength"], head["ETag"].strip('"')
            if size != sum(part.size for part in parts) or not etag.endswith(f"-{len(parts)}"):
                return False
            if etag == multipart_etag(parts):
                return True
            # With a KMS key ETags are no MD5: then the upload must be gone, too.
            return str(head.get("ServerSideEncryption", "")).startswith("aws:kms") and not self._is_pending(
                path, upload_id
            )
        except StorageDriverError:
            return False

    def _is_pending(self, path: str, upload_id: str) -> bool:
        try:
            self.parts(path, upload_id)
        except PathNotFoundError:
            return False
        return True


def multipart_etag(parts: Sequence[Part]) -> str:
    """Return the ETag that S3 gives an object of these parts, or "" when their ETags are not MD5."""
    try:
        digests = b"".join(bytes.fromhex(part.etag.strip('"')) for part in parts)
    except ValueError:
        return ""
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"
