"""Reads the OCI image layout: index.json, and below blobs/ everything by its digest."""

from __future__ import annotations

from functools import partial

from .blobs import ArchiveBlob, ArchiveImage, ArchiveManifest
from .digests import Digest, digest_of
from .documents import MAX_MANIFEST_BYTES
from .errors import ArchiveError, ManifestError
from .manifests import Descriptor, ManifestKind, ParsedManifest, parse_manifest
from .tarindex import TarIndex

INDEX_FILE = "index.json"
LAYOUT_FILE = "oci-layout"
MAX_NESTING = 8  # of indexes within indexes


def blob_member(digest: str) -> str:
    return "/".join(("blobs", *Digest.parse(digest)))


class OciArchive:
    """An OCI layout in a tar. Manifests are read and verified at once, blobs when they are opened."""

    def __init__(self, tar: TarIndex) -> None:
        self._tar = tar
        index = _parse(tar.read(INDEX_FILE, MAX_MANIFEST_BYTES), INDEX_FILE)
        if index.kind is not ManifestKind.INDEX:
            raise ArchiveError(f"{INDEX_FILE} in the archive is not an OCI image index.")
        roots: dict[str, Descriptor] = {}
        references: dict[str, list[str]] = {}
        for descriptor in index.children:
            roots.setdefault(descriptor.digest, descriptor)
            references.setdefault(descriptor.digest, []).extend(_names(descriptor))
        self._images = [
            _ImageReader(tar).read(root, tuple(dict.fromkeys(references[digest]))) for digest, root in roots.items()
        ]
        self.references = [image.references for image in self._images]

    @property
    def has_plain_layers(self) -> bool:
        """Whether any layer is an uncompressed tar."""
        return any(blob.media_type.endswith(".tar") for image in self._images for blob in image.blobs)

    def images(self) -> list[ArchiveImage]:
        return self._images


class _ImageReader:
    """Collects one image: its manifests, children first, and each of its blobs once."""

    def __init__(self, tar: TarIndex) -> None:
        self._tar = tar
        self._blobs: dict[str, ArchiveBlob] = {}
        self._manifests: dict[str, ArchiveManifest] = {}

    def read(self, root: Descriptor, references: tuple[str, ...]) -> ArchiveImage:
        _, parsed = self._manifest(root)
        left_out = [child for child in parsed.children if blob_member(child.digest) not in self._tar]
        if left_out:
            root = self._only_image(parsed, left_out)
        self._visit(root, 0)
        return ArchiveImage(
            root=root.digest,
            references=references,
            blobs=tuple(self._blobs.values()),
            manifests=tuple(self._manifests.values()),
            left_out=tuple(str(child.platform or child.digest) for child in left_out if child.attested is None),
        )

    def _only_image(self, index: ParsedManifest, left_out: list[Descriptor]) -> Descriptor:
        """Tools save an index as it is although they hold the image of one platform only. That image is whole."""
        present = [child for child in index.children if child not in left_out and child.attested is None]
        if len(present) == 1:
            return present[0]
        names = ", ".join(str(child.platform or child.digest) for child in left_out[:10])
        raise ArchiveError(
            f"The archive lacks some of the images that its index names: {names}. "
            "Save the image with all its platforms, or with one of them."
        )

    def _visit(self, descriptor: Descriptor, nesting: int) -> None:
        if descriptor.digest in self._manifests:
            return
        if nesting > MAX_NESTING:
            raise ArchiveError(f"The archive has indexes nested more than {MAX_NESTING} deep.")
        content, parsed = self._manifest(descriptor)
        if parsed.kind is ManifestKind.SCHEMA1:
            raise ArchiveError("The archive holds an image of schema 1, which registries no longer take.")
        for child in parsed.children:
            self._visit(child, nesting + 1)
        for blob in (*parsed.layers, *filter(None, [parsed.config])):
            self._add_blob(blob)
        self._manifests[descriptor.digest] = ArchiveManifest(descriptor.digest, content, parsed.media_type)

    def _add_blob(self, descriptor: Descriptor) -> None:
        member = blob_member(descriptor.digest)
        if descriptor.digest in self._blobs or (descriptor.urls and member not in self._tar):
            return  # a foreign layer stays where its URLs say
        self._check_size(descriptor, member)
        self._blobs[descriptor.digest] = ArchiveBlob(
            descriptor.digest, descriptor.size, descriptor.media_type, partial(self._tar.open, member)
        )

    def _manifest(self, descriptor: Descriptor) -> tuple[bytes, ParsedManifest]:
        member = blob_member(descriptor.digest)
        content = self._tar.read(member, MAX_MANIFEST_BYTES)
        self._check_size(descriptor, member)
        if digest_of(content, Digest.parse(descriptor.digest).algorithm) != descriptor.digest:
            raise ArchiveError(f"The manifest {descriptor.digest} does not match its digest: the archive is damaged.")
        return content, _parse(content, f"The manifest {descriptor.digest}", descriptor.media_type)

    def _check_size(self, descriptor: Descriptor, member: str) -> None:
        if (size := self._tar.size(member)) != descriptor.size:
            raise ArchiveError(
                f"{descriptor.digest} has {size} bytes in the archive and should have {descriptor.size}: "
                "the archive is damaged."
            )


def _parse(content: bytes, what: str, media_type: str = "") -> ParsedManifest:
    try:
        return parse_manifest(content, media_type)
    except ManifestError as problem:
        raise ArchiveError(f"{what} in the archive is not sound. {problem}") from problem


def _names(descriptor: Descriptor) -> list[str]:
    """containerd and Docker write the full name beside the tag, others the one text that they were given."""
    annotations = descriptor.annotations
    name = annotations.get("io.containerd.image.name") or annotations.get("org.opencontainers.image.ref.name")
    return [name] if name else []
