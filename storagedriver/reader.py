"""A streaming reader of one object that goes on where a cut connection stopped."""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

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

if TYPE_CHECKING:
    from botocore.response import StreamingBody

    from storagedriver.driver import S3Driver
    from storagedriver.readahead import ReadAhead

RESUME_ATTEMPTS = 5  # in a row, without a byte between them
RESUME_DELAY_SECONDS = 0.2  # doubled at each attempt
BUFFER_BYTES = 2**20


def seek_target(stream: ObjectReader | ReadAhead, offset: int, whence: int) -> int:
    """Return the position that a seek asks for. Raises ValueError for one before the beginning."""
    target = {io.SEEK_SET: 0, io.SEEK_CUR: stream.tell(), io.SEEK_END: stream.size}[whence] + offset
    if target < 0:
        raise ValueError(f"negative seek position {target}")
    return target


class ObjectReader(io.RawIOBase):
    """The bytes of an object from an offset to its end. Opening makes one request; memory use is constant.

    A connection that is cut is opened again at the byte it stopped at, on condition of the same ETag: the bytes are
    always those of one version of the object, or StorageDriverError is raised. `seek` opens a new request when read.
    `size` is the whole object's bytes, `etag` without quotes. `end` is a byte to stop before; `etag` demands a version.
    """

    def __init__(self, driver: S3Driver, path: str, offset: int = 0, *, end: int | None = None, etag: str = "") -> None:
        super().__init__()
        self._driver = driver
        self._path = path
        self._position = offset
        self._wanted = end
        self._body: StreamingBody | None = None
        self._etag = f'"{etag}"' if etag else ""
        self.size = 0
        self._open()

    @property
    def etag(self) -> str:
        """Return the object's ETag, without quotes; "" when the first read was beyond its end."""
        return self._etag.strip('"')

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        target = seek_target(self, offset, whence)
        if target != self._position:
            self._drop()
            self._position = target
        return target

    def readinto(self, buffer: Any) -> int:
        """Read up to len(buffer) bytes. Raises StorageDriverError when the object cannot be read on."""
        if self.closed:
            raise ValueError("read of a closed reader")
        view = memoryview(buffer).cast("B")[: max(self._end - self._position, 0)]
        attempt = 0
        while len(view) and self._position < self._end:
            try:
                if self._body is None:
                    self._open()
                    continue
                count = self._body.readinto(view)  # type: ignore[arg-type]  # the stubs are wrong
                if count:
                    self._position += count
                    return int(count)
                failure: BaseException = EOFError("the connection ended before the object did")
            except (BotoCoreError, HTTPError, OSError) as error:
                failure = error
            self._drop()
            attempt += 1
            if attempt > RESUME_ATTEMPTS:
                raise StorageDriverError(
                    f"reading {self._path} stopped at byte {self._position:,} of {self.size:,} after"
                    f" {RESUME_ATTEMPTS} attempts: {failure}",
                    kind=Kind.TRANSIENT,
                    operation="GetObject",
                ) from failure
            time.sleep(RESUME_DELAY_SECONDS * 2 ** (attempt - 1))
        return 0

    def readall(self) -> bytes:
        """Read to the end."""
        return bytes(self.read_fully())

    def read_fully(self) -> bytearray:
        """Read to the end without a second copy of the bytes."""
        buffer = bytearray(max(self._end - self._position, 0))
        view, filled = memoryview(buffer), 0
        while filled < len(buffer) and (count := self.readinto(view[filled:])):
            filled += count
        view.release()
        del buffer[filled:]
        return buffer

    @property
    def _end(self) -> int:
        return self.size if self._wanted is None else min(self._wanted, self.size)

    def close(self) -> None:
        """Drop the connection. What was not read is not transferred."""
        self._drop()
        super().close()

    def _drop(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None

    def _open(self) -> None:
        """Ask for the bytes from the position on. An offset at or beyond the end reads as empty."""
        parameters = self._driver.parameters
        request: dict[str, Any] = {"Bucket": parameters.bucket, "Key": self._driver.key(self._path)}
        if self._position or self._wanted is not None:
            request["Range"] = f"bytes={self._position}-{'' if self._wanted is None else self._wanted - 1}"
        if self._etag:
            request["IfMatch"] = self._etag
        try:
            answer = self._driver.client.get_object(**request)
        except S3_FAILURES as error:
            if isinstance(error, ClientError) and error_code(error) in {"InvalidRange", "416"} and not self._etag:
                # S3 says how long the object is; with services that do not, it is taken to end at the offset.
                known = str(error.response["Error"].get("ActualObjectSize", ""))
                self.size = min(int(known), self._position) if known.isdecimal() else self._position
                return
            if error_code(error) in {"PreconditionFailed", "412"} or (self._etag and error_code(error) == "NoSuchKey"):
                raise StorageDriverError(
                    f"{self._path} changed while it was read; read it again",
                    code=error_code(error),
                    operation="GetObject",
                ) from error
            if (
                isinstance(error, ClientError)
                and classify(error) is Kind.MISSING
                and error_code(error) != "NoSuchBucket"
            ):
                raise PathNotFoundError(self._path) from error
            raise translate(error, parameters, self._path) from error
        with translating(parameters):
            self._accept(answer)

    def _accept(self, answer: Any) -> None:
        length, content_range = int(answer["ContentLength"]), answer.get("ContentRange", "")
        start = int(content_range.removeprefix("bytes ").partition("-")[0]) if content_range else 0
        if start != self._position:
            answer["Body"].close()
            raise StorageDriverError(
                f"{self._driver.parameters.endpoint_host} ignored the range: byte {self._position:,} of {self._path} was"
                f" asked for, byte {start:,} came",
                operation="GetObject",
            )
        self._body = answer["Body"]
        self._etag = answer["ETag"]
        total = content_range.rpartition("/")[2]
        self.size = int(total) if total.isdecimal() else start + length
