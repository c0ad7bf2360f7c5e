"""The writer of one object: a multipart upload that is durable on close and visible on commit.

All its state is in S3: the upload is found by its key, its size by its parts. So an upload begun by a registry is
continued here, and the other way round. Parts are sent side by side while the next ones are written: memory is at most
(concurrency + 2) x chunksize.
"""

from __future__ import annotations

import hashlib
import logging
from types import TracebackType
from typing import TYPE_CHECKING, Self

from storagedriver.errors import DigestMismatchError, PathNotFoundError, StorageDriverError, classify, error_code
from storagedriver.parts import MAX_PARTS, MIN_PART_BYTES, part_size
from storagedriver.sending import PartSender
from storagedriver.uploads import Part

if TYPE_CHECKING:
    from storagedriver.driver import S3Driver

logger = logging.getLogger(__name__)
DIGEST_ALGORITHMS = frozenset(("sha256", "sha384", "sha512"))


class FileWriter:
    """Writes one object. `close` keeps what was written for a later `append=True`, `commit` publishes, `cancel` drops.

    Leaving a `with` block without commit or close, by an exception or not, cancels: nothing is ever published by
    accident. With `digest` the content is hashed on its way, and a mismatch at commit publishes nothing.

    Methods raise StorageDriverError; calls in the wrong state say `already closed`, `already committed` or
    `already cancelled`. A part that S3 does not take, after the client's retries, fails the next `write`, which ends
    writing: what can follow is `close` or `cancel`. It fails `commit` or `close` likewise, but these keep what is missing
    and may be called again. Use a writer from one thread.
    """

    def __init__(self, driver: S3Driver, path: str, *, digest: str | None = None) -> None:
        """Made by `S3Driver.writer`."""
        self._driver = driver
        self._uploads = driver.uploads
        self._path = path
        self._expected = digest
        self._hash = None
        if digest is not None:
            algorithm = digest.partition(":")[0]
            if algorithm not in DIGEST_ALGORITHMS:
                raise ValueError(f"unknown digest algorithm in {digest!r}; use sha256, sha384 or sha512")
            self._hash = hashlib.new(algorithm)
        self._upload_id = ""
        self._size = 0
        self._next = 1
        self._buffer = bytearray()
        self._sender = self._new_sender()
        self._merged = False
        self._failure: BaseException | None = None
        self._closed = self._committed = self._cancelled = False

    def begin(self) -> Self:
        """Begin a new upload. Older pending uploads of the path and a present object are left alone."""
        self._upload_id = self._uploads.begin(self._path)
        return self

    def resume(self) -> Self:
        """Go on with the pending upload, or with an empty object. Raises PathNotFoundError when there is neither."""
        if self._hash is not None:
            raise ValueError("digest needs a writer that starts at byte 0: append=False")
        upload_id = self._uploads.find(self._path)
        if upload_id is None:
            info = self._driver.stat(self._path)
            if info.is_dir:
                raise PathNotFoundError(self._path)
            if info.size:
                raise StorageDriverError(f"append to non-empty path {self._path} unsupported; write it anew")
            return self.begin()
        self._upload_id = upload_id
        for part in self._uploads.parts(self._path, upload_id):
            if part.number != self._next:
                break  # parts beyond a gap never became part of the content; their numbers are used again
            self._take(part)
        return self

    @property
    def size(self) -> int:
        """Return the bytes written in all, earlier sessions included."""
        return self._size

    @property
    def upload_id(self) -> str:
        """Return the id of the multipart upload."""
        return self._upload_id

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Take bytes; whole parts are on their way to S3 when this returns. Returns their number."""
        self._check(self._closed, self._committed, self._cancelled)
        self._check_failure()
        view = memoryview(data).cast("B")
        try:
            self._sender.resend()  # what a failed commit or close left: a short part must not end up between others
            if (last := self._sender.stored.get(self._next - 1)) is not None and last.size < MIN_PART_BYTES:
                self._merge_small_tail()
            self._fill(view)
        except BaseException as error:  # how much was taken is not known, so nothing may follow
            self._failure = error
            raise
        if self._hash is not None:
            # Here, and not on another thread: it is as fast as the hash that signs the parts, and there several threads share that.
            self._hash.update(view)
        return len(view)

    def _fill(self, view: memoryview) -> None:
        while len(view):
            if self._next > MAX_PARTS:
                raise StorageDriverError(
                    f"{self._path} needs more than {MAX_PARTS:,} parts; raise chunksize for objects of this size"
                )
            target = part_size(self._next, self._driver.parameters.chunksize)
            room = max(target - len(self._buffer), 0)
            self._buffer += view[:room]
            self._size += len(view[:room])
            view = view[room:]
            if len(self._buffer) >= target:
                self._submit()

    def commit(self) -> None:
        """Publish the content. After a transient failure it may be called again; what was written is kept.

        Raises DigestMismatchError when the content is not what `digest` promised.
        """
        self._check(self._closed, self._committed, self._cancelled)
        self._check_failure()
        if self._hash is not None and self._expected is not None:
            actual = f"{self._hash.name}:{self._hash.hexdigest()}"
            if actual != self._expected:
                self._drop()
                raise DigestMismatchError(self._path, self._expected, actual)
        self._flush()
        if parts := self._parts():
            self._uploads.complete(self._path, self._upload_id, parts)
        else:  # S3 completes no upload without parts
            self._driver.put_content(self._path, b"")
            self._abort()
        self._committed = True
        self._sender.abandon()

    def cancel(self) -> None:
        """Drop everything written, in earlier sessions too."""
        self._check(self._closed, self._committed, self._cancelled)
        self._drop()

    def close(self) -> None:
        """Make what was written durable and end this session; `writer(path, append=True)` goes on from here.

        After a failed `write` it keeps what was stored before the first gap.
        """
        self._check(self._closed)
        if not (self._committed or self._cancelled or self._failure):
            self._flush()
        self._closed = True
        self._sender.abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._closed:
            return
        try:
            if not (self._committed or self._cancelled):
                self._drop()
        except StorageDriverError:
            if error is None:
                raise
            logger.warning("the upload of %s was left pending", self._path, exc_info=True)
        finally:
            self._closed = True

    def _check(self, closed: bool, committed: bool = False, cancelled: bool = False) -> None:
        for state, text in ((closed, "closed"), (committed, "committed"), (cancelled, "cancelled")):
            if state:
                raise StorageDriverError(f"already {text}")

    def _check_failure(self) -> None:
        if self._failure is not None:
            raise StorageDriverError(
                f"{self._path} lacks what a failed write was given; write it anew",
                kind=classify(self._failure),
                code=error_code(self._failure),
            ) from self._failure

    def _new_sender(self) -> PartSender:
        parameters = self._driver.parameters
        return PartSender(
            self._send,
            concurrency=parameters.concurrency,
            held_bytes=(parameters.concurrency + 1) * parameters.chunksize,
        )

    def _send(self, number: int, body: bytearray) -> Part:
        return self._uploads.send(self._path, self._upload_id, number, body)

    def _parts(self) -> list[Part]:
        return [part for _number, part in sorted(self._sender.stored.items())]

    def _take(self, part: Part) -> None:
        """Count a part that is stored already."""
        self._sender.stored[part.number] = part
        self._next = part.number + 1
        self._size += part.size

    def _flush(self) -> None:
        """Store everything written; what fails is kept and sent again by the next call."""
        if self._buffer:
            self._submit()
        self._sender.drain()

    def _submit(self) -> None:
        number, body = self._next, self._buffer
        self._next, self._buffer = number + 1, bytearray()
        self._sender.submit(number, body)

    def _drop(self) -> None:
        self._cancelled = True
        self._buffer = bytearray()
        self._sender.abandon()
        self._abort()
        if self._merged:
            self._driver.delete_object(self._path)

    def _abort(self) -> None:
        try:
            self._uploads.abort(self._path, self._upload_id)
        except PathNotFoundError:
            logger.info("the upload of %s was gone already", self._path)

    def _merge_small_tail(self) -> None:
        """Make the upload fit to go on after a last part below 5 MiB, which S3 takes only at the very end.

        The parts become an object, and that becomes the beginning of a new upload: in memory while it is small, as
        copied parts otherwise. The object in between is replaced at commit and removed by cancel.
        """
        self._uploads.complete(self._path, self._upload_id, self._parts())
        self._merged = True
        self._upload_id = self._uploads.begin(self._path)
        size, self._size, self._next, self._sender = self._size, 0, 1, self._new_sender()
        if size < MIN_PART_BYTES:
            self._buffer = bytearray(self._driver.get_content(self._path))
            self._size = size
            return
        info = self._driver.stat(self._path)
        for part in self._uploads.copy(self._path, info.etag, self._path, self._upload_id, size):
            self._take(part)
