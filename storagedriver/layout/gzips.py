"""gzip that is the same for the same content always, and made by all processors."""

from __future__ import annotations

import os
import struct
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from .documents import KIB, MIB

MAGIC = b"\x1f\x8b"
LEVEL = 6
BLOCK_BYTES = MIB
WINDOW_BYTES = 32 * KIB
# No flags, no time, no name; "unknown" as the operating system, so that no platform shows.
_HEADER = MAGIC + b"\x08\x00" + bytes(4) + b"\x00\xff"


def compress(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The gzip of `blocks`, in pieces. Holds a few blocks at a time, which may be of BLOCK_BYTES, the last one shorter.

    Blocks are compressed on their own, each primed with the 32 KiB before it, and joined to one deflate stream. The
    same blocks give the same bytes, however many processors take part.
    """
    workers = os.cpu_count() or 1
    checksum, length, before = 0, 0, b""
    yield _HEADER
    with ThreadPoolExecutor(workers, thread_name_prefix="gzip") as pool:
        pending: deque[Future[bytes]] = deque()
        for block in blocks:
            pending.append(pool.submit(_deflate, block, before))
            checksum = zlib.crc32(block, checksum)
            length += len(block)
            before = block[-WINDOW_BYTES:]
            if len(pending) > workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    yield zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS).flush()  # an empty last block ends the stream
    yield struct.pack("<LL", checksum, length & 0xFFFFFFFF)


def _deflate(block: bytes, before: bytes) -> bytes:
    compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, zdict=before)
    return compressor.compress(block) + compressor.flush(zlib.Z_SYNC_FLUSH)
