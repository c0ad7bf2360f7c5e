"""Image archives: what `docker save`, `skopeo copy`, `buildx --output` and others write, made ready for publishing.

Known are the oci-archive (an OCI image layout in a tar) and the docker-archive (`manifest.json`, from Docker 1.10 on),
either of them also compressed with gzip as a whole. Nothing in an archive is believed: `TarIndex` looks after its
structure, `ArchiveBlob` after its content.
"""

from __future__ import annotations

import gzip
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import cached_property, partial
from os import PathLike
from types import TracebackType
from typing import BinaryIO, Self

from . import gzips
from .blobs import ArchiveBlob, ArchiveImage, ArchiveManifest
from .dockerarchive import MANIFEST_FILE, DockerArchive
from .documents import MIB
from .errors import ArchiveError
from .ociarchive import INDEX_FILE, LAYOUT_FILE, OciArchive, blob_member
from .tarindex import TarIndex

__all__ = ["ArchiveBlob", "ArchiveImage", "ArchiveManifest", "ImageArchive", "open_archive", "write_oci_archive"]

MAX_UNPACKED_BYTES = 64 * 1024 * MIB
MAX_RATIO = 200  # of a file compressed as a whole; gzip makes at best 1,032 of one byte, out of nothing but zeros
RATIO_FREE_BYTES = 32 * MIB  # so much may be zeros in a small image
_OTHER_FORMATS = {
    b"\x28\xb5\x2f\xfd": "compressed with zstd: unpack it first (zstd -d)",
    b"\xfd7zXZ": "compressed with xz: unpack it first (xz -d)",
    b"BZh": "compressed with bzip2: unpack it first (bzip2 -d)",
    b"PK\x03\x04": "a zip file: save the image with docker save or skopeo copy",
}


class ImageArchive:
    """An opened archive. Close it, or leave its `with` block, when the blobs have been read."""

    def __init__(self, content: OciArchive | DockerArchive, resources: ExitStack) -> None:
        self._content = content
        self._resources = resources

    @property
    def references(self) -> list[tuple[str, ...]]:
        """What the archive calls each of its images; costs nothing."""
        return self._content.references

    @cached_property
    def images(self) -> list[ArchiveImage]:
        """The images, ready to be published. Of a docker-archive this compresses every layer, when first asked for."""
        return self._content.images()

    def close(self) -> None:
        """Free the temporary files; the archive's own file stays open."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_archive(
    file: BinaryIO,
    *,
    scratch: str | PathLike[str] | None = None,
    max_bytes: int = MAX_UNPACKED_BYTES,
    progress: Callable[[int], object] = lambda _: None,
) -> ImageArchive:
    """Open an archive, a seekable binary file, and check all of it but the content of its blobs.

    Raises ArchiveError with a sentence for the user. Temporary files go to the folder `scratch` (default: the system's),
    never named by anything in the archive; what is compressed may unpack to `max_bytes`. `progress` is called with
    numbers of bytes read while an archive is unpacked and while layers are compressed, and may raise to stop.

    An archive in both formats (newer `docker save`) is published as it is, by the digests of its index, unless layers
    in it are plain tars: then they are compressed as those of a docker-archive.
    """
    with ExitStack() as on_error:
        resources = on_error.enter_context(ExitStack())
        temporary = partial(_temporary_file, resources, scratch)
        tar = TarIndex(_plain(file, temporary, max_bytes, progress))
        content: OciArchive | DockerArchive
        oci = OciArchive(tar) if INDEX_FILE in tar else None
        if MANIFEST_FILE in tar and (oci is None or oci.has_plain_layers):
            content = DockerArchive(tar, scratch=temporary, max_bytes=max_bytes, progress=progress)
        elif oci is not None:
            content = oci
        else:
            raise ArchiveError(_unknown(tar))
        if not content.references:
            raise ArchiveError("The archive holds no image.")
        on_error.pop_all()
        return ImageArchive(content, resources)


def write_oci_archive(file: BinaryIO, blobs: Iterable[ArchiveBlob | ArchiveManifest], index: bytes) -> None:
    """Write an oci-archive: `blobs`, manifests among them, in their order, under `index`, the content of index.json.

    `file` need not be seekable. The same content gives the same bytes. Raises ArchiveError for a blob that does not
    match its digest; the archive is then not complete.
    """
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        layout = ArchiveBlob.of(b'{"imageLayoutVersion":"1.0.0"}', "application/json")
        members = [(LAYOUT_FILE, layout), (INDEX_FILE, ArchiveBlob.of(index, "application/json"))]
        for name, content in (*members, *((blob_member(blob.digest), blob) for blob in blobs)):
            member = tarfile.TarInfo(name)  # as of 1970, of root, mode 0644
            member.size = content.size
            with content.open() as stream:
                tar.addfile(member, stream)


def _plain(
    file: BinaryIO, temporary: Callable[[], BinaryIO], max_bytes: int, progress: Callable[[int], object]
) -> BinaryIO:
    """`file` itself if it is not compressed, else what it unpacks to."""
    file.seek(0)
    start = file.read(6)
    file.seek(0)
    if not start:
        raise ArchiveError("The file is empty.")
    for magic, what in _OTHER_FORMATS.items():
        if start.startswith(magic):
            raise ArchiveError(f"The file is {what}.")
    if not start.startswith(gzips.MAGIC):
        return file
    plain, size = temporary(), 0
    try:
        with gzip.GzipFile(fileobj=file) as unpacked:
            while block := unpacked.read(MIB):
                size += plain.write(block)
                progress(len(block))
                if size > max_bytes:
                    raise ArchiveError(f"The archive unpacks to more than {max_bytes // MIB} MiB, the limit.")
                if size > RATIO_FREE_BYTES and size > MAX_RATIO * file.tell():
                    raise ArchiveError(f"The archive unpacks to more than {MAX_RATIO} times its size: no image does.")
    except (gzip.BadGzipFile, EOFError, zlib.error) as problem:
        raise ArchiveError("The archive is damaged or ends early: its gzip does not unpack.") from problem
    return plain


def _temporary_file(resources: ExitStack, folder: str | PathLike[str] | None) -> BinaryIO:
    return resources.enter_context(tempfile.TemporaryFile(prefix="archive-", dir=folder))


def _unknown(tar: TarIndex) -> str:
    if "repositories" in tar:
        return "The archive was written by Docker before 1.10: load it with a newer Docker and save it again."
    if any(name.endswith(f"/{INDEX_FILE}") for name in tar):
        return f"The archive holds an image in a folder: pack the folder's content, so that {INDEX_FILE} is at the top."
    return f"This is a tar, but no image archive: it has neither {INDEX_FILE} nor {MANIFEST_FILE}."
