"""A reader that fetches the next ranges of an object while the caller works on this one."""

from __future__ import annotations

import io
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from storagedriver.parts import MIB
from storagedriver.reader import ObjectReader, seek_target

if TYPE_CHECKING:
    from storagedriver.driver import S3Driver

RANGE_BYTES = 8 * MIB


class ReadAhead(io.RawIOBase):
    """The bytes of an object from an offset to its end, fetched in ranges side by side; see `ObjectReader`.

    At most `ahead` ranges are on their way or waiting to be read, so memory is at most (ahead + 1) x 8 MiB. All ranges
    are of one version of the object, or StorageDriverError is raised; a read after an error asks again. Use it from one
    thread.
    """

    def __init__(self, driver: S3Driver, path: str, offset: int, ahead: int) -> None:
        super().__init__()
        self._driver = driver
        self._path = path
        self._ahead = ahead
        self._position = self._planned = offset
        self._first: ObjectReader | None = ObjectReader(driver, path, offset, end=offset + RANGE_BYTES)
        self.size = self._first.size
        self.etag = self._first.etag
        self._current = memoryview(b"")
        self._coming: deque[Future[bytearray]] = deque()
        self._executor = ThreadPoolExecutor(ahead, thread_name_prefix="read-ahead")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        target = seek_target(self, offset, whence)
        if target != self._position:
            self._restart(target)
        return target

    def readinto(self, buffer: Any) -> int:
        """Read up to len(buffer) bytes. Raises StorageDriverError when the object cannot be read on."""
        if self.closed:
            raise ValueError("read of a closed reader")
        view = memoryview(buffer).cast("B")
        if not len(view) or self._position >= self.size:
            return 0
        if not self._current:
            self._current = memoryview(self._next_range())
        count = min(len(view), len(self._current))
        view[:count] = self._current[:count]
        self._current = self._current[count:]
        self._position += count
        return count

    def close(self) -> None:
        """Forget what was fetched ahead and wait for what is on its way."""
        if not self.closed:
            self._restart(self.size)
            self._executor.shutdown(wait=True)
        super().close()

    def _next_range(self) -> bytearray:
        while self._planned < self.size and len(self._coming) < self._ahead:
            end = min(self._planned + RANGE_BYTES, self.size)
            self._coming.append(self._executor.submit(self._fetch, self._planned, end, self._first))
            self._planned, self._first = end, None
        try:
            return self._coming.popleft().result()
        except BaseException:
            self._restart(self._position)
            raise

    def _fetch(self, start: int, end: int, opened: ObjectReader | None) -> bytearray:
        """Return the bytes of a range, through `opened` if that stands at its beginning already."""
        with opened or ObjectReader(self._driver, self._path, start, end=end, etag=self.etag) as reader:
            return reader.read_fully()

    def _restart(self, position: int) -> None:
        for future in self._coming:
            future.cancel()
        self._coming.clear()
        if self._first is not None:
            self._first.close()
            self._first = None
        self._current = memoryview(b"")
        self._position = self._planned = position
