"""Reads the docker-archive: manifest.json, which names a config and layer tars, and makes schema 2 manifests of it."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO

from . import gzips
from .blobs import ArchiveBlob, ArchiveImage, ArchiveManifest
from .configs import parse_config
from .digests import digest_of
from .documents import MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES, storable
from .errors import ArchiveError, ConfigError, shown
from .manifests import MAX_DESCRIPTORS, SCHEMA2, SCHEMA2_CONFIG, SCHEMA2_LAYER
from .tarindex import SharedFile, TarIndex

MANIFEST_FILE = "manifest.json"
_REFUSED_COMPRESSIONS = {b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ": "xz"}


@dataclass(frozen=True, slots=True)
class _Entry:
    """One image of manifest.json."""

    references: tuple[str, ...]
    config: bytes
    layers: tuple[str, ...]  # members, base first
    diff_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Layer:
    diff_id: str
    blob: ArchiveBlob


class DockerArchive:
    """A docker-archive in a tar. Its layers are compressed when `images` is called, into the file `scratch` makes.

    `progress` is called with each number of bytes so worked through. Layers that are compressed already may unpack to
    `max_bytes` in all.
    """

    def __init__(
        self,
        tar: TarIndex,
        *,
        scratch: Callable[[], BinaryIO],
        max_bytes: int,
        progress: Callable[[int], object],
    ) -> None:
        self._tar = tar
        self._scratch = scratch
        self._max_bytes = max_bytes
        self._progress = progress
        self._entries = [_entry(tar, item) for item in _items(tar.read(MANIFEST_FILE, MAX_MANIFEST_BYTES))]
        self.references = [entry.references for entry in self._entries]

    def images(self) -> list[ArchiveImage]:
        publisher = _LayerPublisher(self._tar, SharedFile(self._scratch()), self._max_bytes, self._progress)
        return [_image(entry, publisher) for entry in self._entries]


def _items(content: bytes) -> list[dict[str, Any]]:
    try:
        items = json.loads(content)
    except (ValueError, RecursionError):
        raise ArchiveError(f"{MANIFEST_FILE} in the archive is not JSON: the archive is damaged.") from None
    if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
        raise ArchiveError(f"{MANIFEST_FILE} in the archive names no image.")
    return items


def _entry(tar: TarIndex, item: dict[str, Any]) -> _Entry:
    config_member, layers, names = item.get("Config"), item.get("Layers") or [], item.get("RepoTags") or []
    if not isinstance(config_member, str) or not _are_texts(layers) or not _are_texts(names):
        raise ArchiveError(f"{MANIFEST_FILE} in the archive does not name a config and layers.")
    if len(layers) > MAX_DESCRIPTORS:
        raise ArchiveError(
            f"{MANIFEST_FILE} in the archive names {len(layers)} layers; at most {MAX_DESCRIPTORS} may be."
        )
    config = tar.read(config_member, MAX_CONFIG_BYTES)
    try:
        diff_ids = parse_config(config).diff_ids
    except ConfigError as problem:
        raise ArchiveError(f"The config {shown(config_member)} in the archive is not sound. {problem}") from problem
    if len(diff_ids) != len(layers):
        raise ArchiveError(
            f"The config {shown(config_member)} names {len(diff_ids)} layers, {MANIFEST_FILE} {len(layers)}: "
            "the archive is damaged."
        )
    for member in layers:
        tar.size(member)  # raises if it is not there
    return _Entry(tuple(map(storable, names)), config, tuple(layers), diff_ids)


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _image(entry: _Entry, publisher: _LayerPublisher) -> ArchiveImage:
    config = ArchiveBlob.of(entry.config, SCHEMA2_CONFIG)
    layers = []
    for member, diff_id in zip(entry.layers, entry.diff_ids, strict=True):
        layer = publisher.layer(member)
        if layer.diff_id != diff_id:
            raise ArchiveError(
                f"The layer {shown(member)} does not match {shown(diff_id)} of the config: the archive is damaged."
            )
        layers.append(layer.blob)
    manifest = {
        "schemaVersion": 2,
        "mediaType": SCHEMA2,
        "config": _descriptor(config),
        "layers": [_descriptor(layer) for layer in layers],
    }
    content = json.dumps(manifest, indent=2).encode()
    if len(content) > MAX_MANIFEST_BYTES:
        raise ArchiveError("The image has so many layers that its manifest would be over 4 MiB.")
    root = digest_of(content)
    blobs = {blob.digest: blob for blob in (*layers, config)}
    return ArchiveImage(root, entry.references, tuple(blobs.values()), (ArchiveManifest(root, content, SCHEMA2),))


def _descriptor(blob: ArchiveBlob) -> dict[str, object]:
    return {"mediaType": blob.media_type, "size": blob.size, "digest": blob.digest}


class _LayerPublisher:
    """Turns layers as they are saved into blobs as they are published: gzip, the same for the same layer every time."""

    def __init__(self, tar: TarIndex, scratch: SharedFile, max_bytes: int, progress: Callable[[int], object]) -> None:
        self._tar = tar
        self._scratch = scratch
        self._left = max_bytes
        self._progress = progress
        self._layers: dict[object, _Layer] = {}

    def layer(self, member: str) -> _Layer:
        identity = self._tar.identity(member)  # docker save links equal layers, and several images share some
        if identity not in self._layers:
            self._layers[identity] = self._publish(member)
        return self._layers[identity]

    def _publish(self, member: str) -> _Layer:
        with self._tar.open(member) as stream:
            start = stream.read(6)
        for magic, name in _REFUSED_COMPRESSIONS.items():
            if start.startswith(magic):
                raise ArchiveError(f"The layer {shown(member)} is compressed with {name}: only gzip can be taken.")
        return self._as_it_is(member) if start.startswith(gzips.MAGIC) else self._compressed(member)

    def _compressed(self, member: str) -> _Layer:
        raw, packed = hashlib.sha256(), hashlib.sha256()
        offset, size = self._scratch.append(b""), 0
        with self._tar.open(member) as stream:
            for piece in gzips.compress(self._blocks(stream, raw.update)):
                packed.update(piece)
                self._scratch.append(piece)
                size += len(piece)
        return _layer(raw, packed, size, partial(self._scratch.window, offset, size))

    def _as_it_is(self, member: str) -> _Layer:
        raw, packed = hashlib.sha256(), hashlib.sha256()
        with self._tar.open(member) as stream:
            for _ in self._blocks(stream, packed.update):
                pass
        try:
            with self._tar.open(member) as stream, gzip.GzipFile(fileobj=stream) as unpacked:
                while block := unpacked.read(gzips.BLOCK_BYTES):
                    raw.update(block)
                    self._left -= len(block)
                    self._progress(0)
                    if self._left < 0:
                        raise ArchiveError("The layers of the archive unpack to more than is allowed.")
        except (gzip.BadGzipFile, EOFError, zlib.error) as problem:
            raise ArchiveError(f"The layer {shown(member)} is not sound gzip: the archive is damaged.") from problem
        return _layer(raw, packed, self._tar.size(member), partial(self._tar.open, member))

    def _blocks(self, stream: BinaryIO, seen: Callable[[bytes], object]) -> Iterator[bytes]:
        while block := stream.read(gzips.BLOCK_BYTES):
            seen(block)
            self._progress(len(block))
            yield block


def _layer(raw: hashlib._Hash, packed: hashlib._Hash, size: int, source: Callable[[], BinaryIO]) -> _Layer:
    blob = ArchiveBlob(f"sha256:{packed.hexdigest()}", size, SCHEMA2_LAYER, source)
    return _Layer(f"sha256:{raw.hexdigest()}", blob)
