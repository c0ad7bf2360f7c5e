"""Lays pushes out as the registry does (its storage layout, version 2), with the dates they would have had."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dashboard.demo.images import Manifest
from storagedriver.layout import paths
from storagedriver.layout.digests import digest_of


@dataclass(frozen=True)
class StoredObject:
    """An object: its path is a driver path ("/docker/registry/v2/..."), its key the same without the first slash."""

    path: str
    content: bytes
    modified: datetime.datetime

    @property
    def key(self) -> str:
        return self.path[1:]


@dataclass(frozen=True)
class PendingUpload:
    """A multipart upload that nobody finished."""

    path: str
    id: str
    initiated: datetime.datetime
    parts: Sequence[bytes]

    @property
    def key(self) -> str:
        return self.path[1:]


@dataclass(frozen=True)
class DemoRegistry:
    """What to put into a bucket."""

    objects: tuple[StoredObject, ...]
    uploads: tuple[PendingUpload, ...]


class RegistryBuilder:
    """Collects pushes. `now` is the moment that ages count back from; push in the order of time."""

    def __init__(self, now: datetime.datetime) -> None:
        self._now = now.replace(microsecond=0)
        self._objects: dict[str, StoredObject] = {}
        self._uploads: list[PendingUpload] = []

    def push(self, repository: str, manifest: Manifest, tags: Iterable[str] = (), *, days_ago: float) -> None:
        """Push a manifest with everything it names, then tag it. A tag that exists moves and remembers where it was."""
        for child in manifest.children:
            self.push(repository, child, days_ago=days_ago)
        for blob in manifest.blobs:
            self._put_blob(blob.content, days_ago)
            link = paths.layer_link(repository, blob.digest)
            if link not in self._objects:  # a client does not send again what the repository has
                self._put(link, blob.digest.encode(), days_ago)
        self._put_blob(manifest.content, days_ago)
        digest = manifest.digest
        self._put(paths.revision_link(repository, digest), digest.encode(), days_ago)
        for tag in tags:
            self._put(paths.tag_index_link(repository, tag, digest), digest.encode(), days_ago)
            self._put(paths.tag_current_link(repository, tag), digest.encode(), days_ago)

    def leave_orphan(self, content: bytes, *, days_ago: float) -> None:
        """Put a blob that nothing refers to, as a crashed deletion leaves it."""
        self._put_blob(content, days_ago)

    def leave_upload(
        self,
        repository: str,
        upload_id: str,
        multipart_id: str,
        parts: Sequence[bytes],
        states: dict[int, bytes],
        *,
        days_ago: float,
    ) -> None:
        """Begin an upload and never finish it. `states` maps offsets to the hash's state there, as the registry keeps it."""
        started = self._at(days_ago)
        self._put(
            paths.upload_started_at(repository, upload_id), started.strftime("%Y-%m-%dT%H:%M:%SZ").encode(), days_ago
        )
        for offset, state in states.items():
            self._put(paths.upload_hash_state(repository, upload_id, "sha256", offset), state, days_ago)
        self._uploads.append(PendingUpload(paths.upload_data(repository, upload_id), multipart_id, started, parts))

    def build(self) -> DemoRegistry:
        """Return everything pushed so far, in the order of paths."""
        return DemoRegistry(tuple(self._objects[path] for path in sorted(self._objects)), tuple(self._uploads))

    def _put_blob(self, content: bytes, days_ago: float) -> None:
        path = paths.blob_data(digest_of(content))
        if path not in self._objects:
            self._put(path, content, days_ago)

    def _put(self, path: str, content: bytes, days_ago: float) -> None:
        self._objects[path] = StoredObject(path, content, self._at(days_ago))

    def _at(self, days_ago: float) -> datetime.datetime:
        return self._now - datetime.timedelta(days=days_ago)
