"""Random access to the members of a tar file that nobody vouches for. Nothing is ever extracted to disk."""

from __future__ import annotations

import io
import posixpath
import tarfile
import threading
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from .documents import KIB, MIB
from .errors import ArchiveError, shown

MAX_MEMBERS = 50_000
# Extended headers of one member: names and times, where hostile ones would fill the memory.
MAX_HEADER_BYTES = 256 * KIB
MAX_READ_BYTES = 64 * MIB  # by `read`, in all; an archive of a thousand images needs a tenth of it
BLOCK_BYTES = 512


class SharedFile:
    """A file that several streams read at once, each at its own place."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lock = threading.Lock()

    def read_at(self, offset: int, size: int) -> bytes:
        with self._lock:
            self._file.seek(offset)
            return self._file.read(size)

    def append(self, content: bytes) -> int:
        """Write `content` at the end, and return where it begins."""
        with self._lock:
            offset = self._file.seek(0, io.SEEK_END)
            self._file.write(content)
            return offset

    def window(self, offset: int, size: int) -> BinaryIO:
        """A stream of `size` bytes from `offset` on."""
        return io.BufferedReader(_Window(self, offset, size), 64 * KIB)


class _Window(io.RawIOBase):
    def __init__(self, file: SharedFile, offset: int, size: int) -> None:
        self._file = file
        self._offset = offset
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        content = self._file.read_at(self._offset, min(len(buffer), self._left))
        buffer[: len(content)] = content
        self._offset += len(content)
        self._left -= len(content)
        return len(content)


class _Member(NamedTuple):
    offset: int
    size: int
    target: str | None  # of a link: the name of the member that it leads to


class TarIndex:
    """The regular files of a tar, by name; links lead to their target's content.

    Raises ArchiveError for anything that does not belong into an image archive: names that lead out of it, links that
    do so or go in a circle, devices, two members of one name, sparse files, too many members; and if it ends early.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = SharedFile(file)
        self._members: dict[str, _Member] = {}
        self._readable_bytes = MAX_READ_BYTES
        self._read_headers(file)
        for name, member in self._members.items():
            if member.target is not None:
                self._resolve(name)

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def size(self, name: str) -> int:
        return self._find(name).size

    def open(self, name: str) -> BinaryIO:
        """A stream of a member's content. Streams may be read at the same time by several threads."""
        member = self._find(name)
        return self._file.window(member.offset, member.size)

    def read(self, name: str, limit: int) -> bytes:
        """The content of a member of at most `limit` bytes. All that is read so, also again, is limited too: an archive
        may name one manifest ten thousand times."""
        if (size := self.size(name)) > limit:
            raise ArchiveError(f"{shown(name)} in the archive has {size} bytes; at most {limit} are allowed.")
        self._readable_bytes -= size
        if self._readable_bytes < 0:
            raise ArchiveError(f"The manifests and configs of the archive are over {MAX_READ_BYTES // MIB} MiB in all.")
        with self.open(name) as stream:
            return stream.read()

    def identity(self, name: str) -> object:
        """Equal for names that lead to the same content."""
        return self._find(name).offset

    def _find(self, name: str) -> _Member:
        member = self._resolve(name)
        if member is None:
            raise ArchiveError(f"The archive lacks {shown(name)}. It is incomplete: save the image again.")
        return member

    def _resolve(self, name: str) -> _Member | None:
        seen = {name}
        member = self._members.get(name)
        while member is not None and member.target is not None:
            if member.target in seen:
                raise ArchiveError(f"The link {shown(name)} in the archive leads to itself.")
            seen.add(member.target)
            member = self._members.get(member.target)
        return member

    def _read_headers(self, file: BinaryIO) -> None:
        file.seek(0)
        guard = _HeaderGuard(file)
        try:
            with tarfile.open(fileobj=guard, mode="r:") as tar:  # type: ignore[call-overload]
                end = 0
                while (info := tar.next()) is not None:
                    if info.size < 0 or info.offset < end:
                        raise ArchiveError(f"The member {shown(info.name)} of the archive has an impossible size.")
                    end = info.offset_data
                    self._add(info)
                    tar.members.clear()  # tarfile would keep them all
                    guard.reset()
                end = tar.offset
        except (tarfile.TarError, RecursionError, ValueError, OverflowError) as problem:
            if isinstance(problem, ArchiveError):
                raise
            if self._members:
                raise ArchiveError("The archive is damaged or ends early: save or upload it again.") from problem
            raise ArchiveError("This file is not a tar archive.") from problem
        guard.reset()
        file.seek(end)
        trailer = file.read(BLOCK_BYTES)
        if len(trailer) < BLOCK_BYTES or trailer.strip(b"\0"):
            raise ArchiveError("The archive is damaged or ends early: save or upload it again.")

    def _add(self, info: tarfile.TarInfo) -> None:
        name = _inside(info.name, info.name)
        if info.isdir():
            return
        if info.type in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            base = posixpath.dirname(name) if info.issym() else ""
            member = _Member(0, 0, _inside(posixpath.join(base, info.linkname), info.name))
        elif info.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and info.sparse is None:
            member = _Member(info.offset_data, info.size, None)
        else:
            kind = "a device or pipe" if info.isdev() else "a sparse or unknown kind of file"
            raise ArchiveError(f"The member {shown(info.name)} of the archive is {kind}: this is no image archive.")
        if name in self._members:
            raise ArchiveError(f"The archive has two members named {shown(name)}.")
        if len(self._members) >= MAX_MEMBERS:
            raise ArchiveError(f"The archive has more than {MAX_MEMBERS} members.")
        self._members[name] = member


class _HeaderGuard:
    """What tarfile reads from: headers only, and of one member no more than MAX_HEADER_BYTES.

    tarfile reads an extended header whole, whatever size it claims, and with a negative size to the end of the file.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell
        self.reset()

    def reset(self) -> None:
        self._left = MAX_HEADER_BYTES

    def read(self, size: int) -> bytes:
        self._left -= size
        if size < 0 or self._left < 0:
            raise ArchiveError(f"A member of the archive has a header of more than {MAX_HEADER_BYTES // KIB} KiB.")
        return self._file.read(size)


def _inside(name: str, member: str) -> str:
    """`name` in its plain form; ArchiveError if it leads out of the archive."""
    plain = posixpath.normpath(name)
    if name.startswith("/") or plain == ".." or plain.startswith("../") or "\0" in name or "\\" in name:
        raise ArchiveError(f"The member {shown(member)} leads out of the archive: this is no image archive.")
    return plain
