"""What an archive gives to be published: content with the digest that it must have."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO, cast

from .digests import Digest, digest_of
from .errors import ArchiveError


@dataclass(frozen=True, slots=True)
class ArchiveBlob:
    """A layer or a config; `size` in bytes."""

    digest: str
    size: int
    media_type: str
    source: Callable[[], BinaryIO] = field(repr=False, compare=False)

    @classmethod
    def of(cls, content: bytes, media_type: str) -> ArchiveBlob:
        return cls(digest_of(content), len(content), media_type, lambda: io.BytesIO(content))

    def open(self) -> BinaryIO:
        """A new stream of the content. It raises ArchiveError instead of giving the last bytes if the content has not
        the promised digest and size: nobody ever has all of a wrong content."""
        return cast(BinaryIO, _VerifiedStream(self.source(), self.digest, self.size))


@dataclass(frozen=True, slots=True)
class ArchiveManifest:
    """A manifest, verified."""

    digest: str
    content: bytes = field(repr=False)
    media_type: str

    @property
    def size(self) -> int:
        return len(self.content)

    def open(self) -> BinaryIO:
        return io.BytesIO(self.content)


@dataclass(frozen=True, slots=True)
class ArchiveImage:
    """One image, or one index with its images, in the order in which it may be published."""

    root: str
    """Digest of the manifest that a tag is to point at."""
    references: tuple[str, ...]
    """What the archive calls it: full names, or tags alone, as the tool that wrote it saw fit."""
    blobs: tuple[ArchiveBlob, ...]
    """Layers and configs, each once; of an index, the children's too."""
    manifests: tuple[ArchiveManifest, ...]
    """Children before their index; the last is the root."""
    left_out: tuple[str, ...] = ()
    """Platforms that the index names and the archive lacks; `root` is then the one image that is whole."""


class _VerifiedStream(io.RawIOBase):
    def __init__(self, source: BinaryIO, digest: str, size: int) -> None:
        self._source = source
        self._digest = digest
        self._left = size
        self._hash = hashlib.new(Digest.parse(digest).algorithm)
        if size == 0:
            self._verify()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._left or not len(buffer):
            return 0
        content = self._source.read(min(len(buffer), self._left))
        if not content:
            raise ArchiveError(f"The content of {self._digest} ends {self._left} bytes early: the archive is damaged.")
        self._hash.update(content)
        self._left -= len(content)
        if not self._left:
            self._verify()
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        self._source.close()
        super().close()

    def _verify(self) -> None:
        if self._source.read(1):
            raise ArchiveError(f"The content of {self._digest} is longer than promised: the archive is damaged.")
        if self._hash.hexdigest() != Digest.parse(self._digest).hex:
            raise ArchiveError(f"The content of {self._digest} does not match its digest: the archive is damaged.")
