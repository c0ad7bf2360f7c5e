"""Real images, made here: real tar layers, true digests, the same bytes for the same seed."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OCI = "application/vnd.oci.image"
CONFIG, MANIFEST, INDEX, LAYER = (
    f"{OCI}.config.v1+json",
    f"{OCI}.manifest.v1+json",
    f"{OCI}.index.v1+json",
    f"{OCI}.layer.v1.tar+gzip",
)


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def layer(seed: str, size: int = 4096) -> bytes:
    """Return an uncompressed tar with one file of `size` bytes that no compressor shrinks."""
    content = random.Random(seed).randbytes(size)
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.GNU_FORMAT) as tar:
        member = tarfile.TarInfo(f"opt/{seed}")
        member.size, member.mode, member.mtime = size, 0o644, 1_700_000_000
        tar.addfile(member, io.BytesIO(content))
    return output.getvalue()


@dataclass(frozen=True)
class Image:
    """A manifest in a layout: its descriptor, as an index names it."""

    digest: str
    size: int
    media_type: str
    platform: dict[str, str]

    def descriptor(self) -> dict[str, Any]:
        found: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        return found | ({"platform": self.platform} if self.platform else {})


class OciLayout:
    """An OCI image layout in a folder; `blobs` maps every digest in it, manifests included, to its file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blobs: dict[str, Path] = {}
        self._index: list[dict[str, Any]] = []

    @classmethod
    def of_directory(cls, folder: Path) -> OciLayout:
        """Read what skopeo's `dir:` transport wrote."""
        found = cls(folder)
        for path in folder.iterdir():
            if path.name != "version":
                found.blobs[digest_of(path.read_bytes())] = path
        return found

    def image(self, tag: str, *layers: bytes, architecture: str = "amd64", env: tuple[str, ...] = ()) -> Image:
        """Add an image of these uncompressed layers. An empty tag leaves it to an index to name it."""
        packed = [gzip.compress(content, compresslevel=1, mtime=0) for content in layers]
        config = {
            "architecture": architecture,
            "os": "linux",
            "created": "2026-01-02T03:04:05Z",
            "config": {"Env": ["PATH=/usr/bin", *env], "Cmd": ["/bin/true"]},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(content) for content in layers]},
            "history": [
                {"created": "2026-01-02T03:04:05Z", "created_by": f"COPY layer {n}"} for n in range(len(layers))
            ],
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self._add(json.dumps(config).encode(), CONFIG),
            "layers": [self._add(content, LAYER) for content in packed],
        }
        return self._manifest(tag, manifest, {"os": "linux", "architecture": architecture})

    def index(self, tag: str, *images: Image) -> Image:
        """Add an index of images that are in the layout."""
        return self._manifest(
            tag, {"schemaVersion": 2, "mediaType": INDEX, "manifests": [image.descriptor() for image in images]}, {}
        )

    def source(self, tag: str) -> str:
        """Return the tag as skopeo names it."""
        return f"oci:{self.folder}:{tag}"

    def manifest(self, tag: str) -> bytes:
        """Return the manifest or index of a tag."""
        names = "org.opencontainers.image.ref.name"
        digest = next(entry["digest"] for entry in self._index if entry["annotations"][names] == tag)
        return self.blobs[digest].read_bytes()

    def closure(self, tag: str) -> dict[str, bytes]:
        """Return the manifest of a tag and everything it needs, by digest."""
        found: dict[str, bytes] = {}
        waiting = [self.manifest(tag)]
        while waiting:
            content = waiting.pop()
            found[digest_of(content)] = content
            document = json.loads(content)
            waiting += [self.blobs[child["digest"]].read_bytes() for child in document.get("manifests", [])]
            for blob in [*document.get("layers", []), *filter(None, [document.get("config")])]:
                found[blob["digest"]] = self.blobs[blob["digest"]].read_bytes()
        return found

    def contents(self) -> dict[str, bytes]:
        """Return every blob by digest."""
        return {digest: path.read_bytes() for digest, path in self.blobs.items()}

    def _manifest(self, tag: str, document: dict[str, Any], platform: dict[str, str]) -> Image:
        added = self._add(json.dumps(document, indent=2).encode(), document["mediaType"])
        image = Image(added["digest"], added["size"], added["mediaType"], platform)
        if tag:
            self._index.append(added | {"annotations": {"org.opencontainers.image.ref.name": tag}})
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
            (self.folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": self._index}))
        return image

    def _add(self, content: bytes, media_type: str) -> dict[str, Any]:
        digest = digest_of(content)
        path = self.folder / "blobs" / "sha256" / digest.removeprefix("sha256:")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.blobs[digest] = path
        return {"mediaType": media_type, "digest": digest, "size": len(content)}
