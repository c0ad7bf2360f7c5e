"""Builds images, indexes, charts and other artifacts byte for byte the same each time, without any tool.

Everything is a pure function of its arguments. Layers are real gzipped tar archives; their gzip holds stored blocks,
because compressors differ between builds of zlib and a digest must not. What has to look like a program is
`noise`: bytes that do not compress.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tarfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from storagedriver.layout.digests import digest_of

FILE_TIME: Final = 1_767_225_600  # 2026-01-01, the date of every file in every layer

DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_EMPTY: Final = "application/vnd.oci.empty.v1+json"
HELM_CONFIG: Final = "application/vnd.cncf.helm.config.v1+json"
HELM_CHART: Final = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
IN_TOTO: Final = "application/vnd.in-toto+json"
COSIGN_PAYLOAD: Final = "application/vnd.dev.cosign.simplesigning.v1+json"


@dataclass(frozen=True)
class Blob:
    """Bytes with the media type and the annotations that a manifest gives them."""

    media_type: str
    content: bytes
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return digest_of(self.content)

    def descriptor(self, **more: Any) -> dict[str, Any]:
        """Return the descriptor of the OCI image specification."""
        described = {"mediaType": self.media_type, "digest": self.digest, "size": len(self.content), **more}
        return described | ({"annotations": dict(self.annotations)} if self.annotations else {})


@dataclass(frozen=True)
class Manifest(Blob):
    """A manifest with all that it names: `blobs` (config and layers) and, of an index, `children`."""

    blobs: tuple[Blob, ...] = ()
    children: tuple[Manifest, ...] = ()


@dataclass(frozen=True)
class Layer:
    """A gzipped tar archive. `diff_id` is the digest of the tar, as configs name it."""

    content: bytes
    diff_id: str


Step = tuple[str, Layer | None]  # a line of a Dockerfile, and the layer it made, if any


@cache
def noise(seed: str, size: int) -> bytes:
    """Return `size` bytes that look random and follow from the seed."""
    return hashlib.shake_256(seed.encode()).digest(size)


def program(seed: str, size: int) -> bytes:
    """Return what the beginning of a file tells to be an ELF executable."""
    return b"\x7fELF\x02\x01\x01" + noise(seed, size - 7)


def to_json(document: object, indent: int | None = None) -> bytes:
    """Return JSON as clients write it: in the order given, compact unless indented."""
    separators = (",", ":") if indent is None else (",", ": ")
    return json.dumps(document, indent=indent, separators=separators, ensure_ascii=False).encode()


def archive(files: Mapping[str, bytes | str]) -> bytes:
    """Return a tar archive of the files, with their folders; programs and scripts are executable."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        folders = {folder for path in files for folder in _parents(path)}
        for path in sorted(folders | files.keys()):
            member = tarfile.TarInfo(path)
            member.mtime = FILE_TIME
            if path in files:
                text = files[path]
                content = text.encode() if isinstance(text, str) else text
                executable = content.startswith((b"\x7fELF", b"#!"))
                member.size, member.mode = len(content), 0o755 if executable else 0o644
                tar.addfile(member, io.BytesIO(content))
            else:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(member)
    return buffer.getvalue()


def _parents(path: str) -> Iterable[str]:
    parts = path.split("/")[:-1]
    return ("/".join(parts[: end + 1]) for end in range(len(parts)))


def gzipped(data: bytes) -> bytes:
    """Return a gzip file of stored blocks (RFC 1951 section 3.2.4, RFC 1952), the same with every zlib."""
    chunks = [data[start : start + 0xFFFF] for start in range(0, len(data), 0xFFFF)] or [b""]
    blocks = [
        struct.pack("<BHH", number == len(chunks), len(chunk), len(chunk) ^ 0xFFFF) + chunk
        for number, chunk in enumerate(chunks, start=1)
    ]
    header = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    return b"".join([header, *blocks, struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)])


def layer(files: Mapping[str, bytes | str]) -> Layer:
    """Return the layer that adds these files."""
    tar = archive(files)
    return Layer(gzipped(tar), digest_of(tar))


def image(
    steps: Sequence[Step],
    *,
    created: str,
    config: Mapping[str, Any],
    platform: str = "linux/amd64",
    docker: bool = False,
    annotations: Mapping[str, str] | None = None,
) -> Manifest:
    """Return an image: of Docker's schema 2 where `docker`, else of the OCI specification.

    `created` is RFC 3339; `config` what goes below the config's key of that name (Env, Entrypoint, Labels ...).
    """
    system, architecture, *variant = platform.split("/")
    layers = [made for _, made in steps if made]
    document: dict[str, Any] = {"architecture": architecture} | ({"variant": variant[0]} if variant else {})
    document |= {
        "os": system,
        "created": created,
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": [made.diff_id for made in layers]},
        "history": [
            {"created": created, "created_by": line} | ({} if made else {"empty_layer": True}) for line, made in steps
        ],
    }
    blobs = [Blob(DOCKER_LAYER if docker else OCI_LAYER, made.content) for made in layers]
    settings = Blob(DOCKER_CONFIG if docker else OCI_CONFIG, to_json(document))
    if docker:
        return _manifest(DOCKER_MANIFEST, settings, blobs, indent=3)
    return _manifest(OCI_MANIFEST, settings, blobs, annotations=annotations)


def artifact(
    artifact_type: str, blobs: Sequence[Blob], *, subject: Manifest | None = None, annotations: Mapping[str, str]
) -> Manifest:
    """Return an OCI 1.1 artifact, which says by `subject` what it is about."""
    more: dict[str, Any] = {"subject": subject.descriptor()} if subject else {}
    return _manifest(OCI_MANIFEST, Blob(OCI_EMPTY, b"{}"), blobs, artifact_type, annotations, **more)


def index(children: Sequence[tuple[Manifest, Mapping[str, Any]]], *, docker: bool = False) -> Manifest:
    """Return an index (Docker's manifest list where `docker`): each child with what its descriptor says besides."""
    document = {
        "schemaVersion": 2,
        "mediaType": DOCKER_LIST if docker else OCI_INDEX,
        "manifests": [child.descriptor(**more) for child, more in children],
    }
    content = to_json(document, indent=3 if docker else 2)
    return Manifest(document["mediaType"], content, children=tuple(child for child, _ in children))  # type: ignore[arg-type]


def attestation(subject: Manifest, statements: Mapping[str, Mapping[str, Any]]) -> tuple[Manifest, Mapping[str, Any]]:
    """Return buildkit's attestation of an image, with what its descriptor says in an index.

    `statements` maps predicate types to predicates (in-toto attestation framework, Statement v0.1).
    """
    about = [{"name": "_", "digest": {"sha256": subject.digest.removeprefix("sha256:")}}]
    blobs = [
        Blob(
            IN_TOTO,
            to_json(
                {
                    "_type": "https://in-toto.io/Statement/v0.1",
                    "predicateType": predicate_type,
                    "subject": about,
                    "predicate": predicate,
                }
            ),
            {"in-toto.io/predicate-type": predicate_type},
        )
        for predicate_type, predicate in statements.items()
    ]
    unknown = {"architecture": "unknown", "os": "unknown"}
    rootfs = {"type": "layers", "diff_ids": [blob.digest for blob in blobs]}
    made = _manifest(OCI_MANIFEST, Blob(OCI_CONFIG, to_json(unknown | {"config": {}, "rootfs": rootfs})), blobs)
    marks = {
        "vnd.docker.reference.digest": subject.digest,
        "vnd.docker.reference.type": "attestation-manifest",
    }
    return made, {"annotations": marks, "platform": unknown}


def chart(name: str, version: str, created: str, files: Mapping[str, str], description: str) -> Manifest:
    """Return a Helm chart as `helm push` stores it."""
    about = {"apiVersion": "v2", "name": name, "version": version, "appVersion": version, "description": description}
    lines = "".join(f"{key}: {json.dumps(value)}\n" for key, value in about.items())
    packed = archive({f"{name}/{path}": text for path, text in {"Chart.yaml": lines, **files}.items()})
    annotations = {
        "org.opencontainers.image.title": name,
        "org.opencontainers.image.version": version,
        "org.opencontainers.image.description": description,
        "org.opencontainers.image.created": created,
    }
    content = Blob(HELM_CHART, gzipped(packed))
    return _manifest(OCI_MANIFEST, Blob(HELM_CONFIG, to_json(about)), [content], annotations=annotations)


def cosign_signature(subject: Manifest, repository: str) -> Manifest:
    """Return a signature as cosign stores it under the tag `sha256-<hex>.sig`; no key made it, so none verifies it."""
    payload = {
        "critical": {
            "identity": {"docker-reference": repository},
            "image": {"docker-manifest-digest": subject.digest},
            "type": "cosign container image signature",
        },
        "optional": None,
    }
    signature = {"dev.cosignproject.cosign/signature": noise(subject.digest, 72).hex()}
    blob = Blob(COSIGN_PAYLOAD, to_json(payload), signature)
    rootfs = {"type": "layers", "diff_ids": [blob.digest]}
    settings = {"architecture": "", "created": "0001-01-01T00:00:00Z", "os": "", "config": {}, "rootfs": rootfs}
    return _manifest(OCI_MANIFEST, Blob(OCI_CONFIG, to_json(settings)), [blob])


def _manifest(
    media_type: str,
    config: Blob,
    layers: Sequence[Blob],
    artifact_type: str = "",
    annotations: Mapping[str, str] | None = None,
    indent: int | None = None,
    **more: Any,
) -> Manifest:
    document: dict[str, Any] = {"schemaVersion": 2, "mediaType": media_type}
    document |= {"artifactType": artifact_type} if artifact_type else {}
    document |= {"config": config.descriptor(), "layers": [blob.descriptor() for blob in layers]} | more
    document |= {"annotations": dict(annotations)} if annotations else {}
    return Manifest(media_type, to_json(document, indent), blobs=(config, *layers))
