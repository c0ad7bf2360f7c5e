"""Plain builders of rows for tests: each gives the least that is valid, and takes any field by name."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from django.contrib.auth.models import User

from dashboard.models import (
    Blob,
    Job,
    JobEvent,
    Manifest,
    Membership,
    Reference,
    Registry,
    Repository,
    Revision,
    Role,
    Scan,
    Shard,
    Tag,
    UploadSession,
)

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
PASSWORD = "correct horse battery"
_numbers = count(1)


def digest_of(text: str) -> str:
    """Return the digest of some text: any two texts give two digests, the same text the same."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def natural_order(name: str) -> str:
    """Return a tag's sort key, its numbers padded."""
    return re.sub(r"\d+", lambda found: found[0].zfill(12), name)


def make_user(username: str = "", **fields: Any) -> User:
    """An active user whose password is PASSWORD."""
    return User.objects.create_user(username or f"user{next(_numbers)}", password=PASSWORD, **fields)


def make_superuser(username: str = "root") -> User:
    return User.objects.create_superuser(username, password=PASSWORD)


def make_registry(slug: str = "", **fields: Any) -> Registry:
    """A registry with valid, made-up storage parameters. Nothing answers at its endpoint."""
    slug = slug or f"registry{next(_numbers)}"
    values = {
        "name": slug.capitalize(),
        "bucket": f"{slug}-images",
        "region": "us-east-1",
        "region_endpoint": "http://127.0.0.1:9",
        "access_key": "AKIDEXAMPLE",
        "secret_key": "not-a-real-secret",
    }
    return Registry.objects.create(slug=slug, **(values | fields))


def make_member(registry: Registry, role: Role, username: str = "", **fields: Any) -> User:
    """A new user with a role in the registry."""
    user = make_user(username, **fields)
    Membership.objects.create(registry=registry, user=user, role=role)
    return user


def make_repository(registry: Registry, name: str = "team/api", **fields: Any) -> Repository:
    return Repository.objects.create(registry=registry, name=name, **({"seen": 1, "updated": NOW} | fields))


def make_manifest(registry: Registry, name: str = "", **fields: Any) -> Manifest:
    """An image manifest; `name` decides its digest. Give `content` for another document than a made-up one."""
    name = name or f"manifest{next(_numbers)}"
    content = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "annotations": {"name": name}}).encode()
    values = {
        "digest": digest_of(name),
        "kind": Manifest.Kind.IMAGE,
        "label": "image",
        "media_type": OCI_MANIFEST,
        "size": len(content),
        "total_size": 4 * 2**20,
        "os": "linux",
        "architecture": "amd64",
        "content": content,
    }
    return Manifest.objects.create(registry=registry, **(values | fields))


def make_revision(repository: Repository, manifest: Manifest, **fields: Any) -> Revision:
    return Revision.objects.create(repository=repository, manifest=manifest, **({"linked": NOW, "seen": 1} | fields))


def make_tag(repository: Repository, name: str = "latest", manifest: Manifest | None = None, **fields: Any) -> Tag:
    """A tag on a manifest, a new image if none is given; the revision that it needs is made too."""
    manifest = manifest or make_manifest(repository.registry)
    Revision.objects.get_or_create(repository=repository, manifest=manifest, defaults={"linked": NOW, "seen": 1})
    values = {"order": natural_order(name), "digest": manifest.digest, "updated": NOW, "seen": 1}
    return Tag.objects.create(repository=repository, name=name, manifest=manifest, **(values | fields))


def make_reference(
    manifest: Manifest, kind: Reference.Kind, digest: str, position: int = 0, **fields: Any
) -> Reference:
    return Reference.objects.create(manifest=manifest, kind=kind, digest=digest, position=position, **fields)


def make_blob(registry: Registry, digest: str, size: int = 2**20, **fields: Any) -> Blob:
    values = {"modified": NOW, "storage_class": "STANDARD", "seen": 1}
    return Blob.objects.create(registry=registry, digest=digest, size=size, **(values | fields))


def make_upload(registry: Registry, repository_name: str = "team/api", **fields: Any) -> UploadSession:
    """A stale upload: last touched ten days before NOW."""
    upload_id = f"00000000-0000-4000-8000-{next(_numbers):012}"
    values = {
        "upload_id": upload_id,
        "path": f"/docker/registry/v2/repositories/{repository_name}/_uploads/{upload_id}/data",
        "started": NOW - timedelta(days=11),
        "last_activity": NOW - timedelta(days=10),
        "size": 5 * 2**20,
        "parts": 1,
        "seen": 1,
    }
    return UploadSession.objects.create(registry=registry, repository_name=repository_name, **(values | fields))


def make_scan(registry: Registry, **fields: Any) -> Scan:
    """A complete scan, and the registry's generation moved to it."""
    generation = fields.pop("generation", registry.generation + 1)
    values = {
        "started": NOW - timedelta(minutes=2),
        "finished": NOW,
        "keys": 40,
        "bytes": 12 * 2**20,
        "repositories": 1,
        "tags": 1,
        "manifests": 1,
        "blobs": 3,
        "ledger": {"reachable": 10 * 2**20, "untagged": 2**20, "unreferenced": 2**20},
        "requests": {"ListObjectsV2": 3, "GetObject": 1},
    }
    scan = Scan.objects.create(registry=registry, generation=generation, **(values | fields))
    Registry.objects.filter(pk=registry.pk).update(generation=generation)
    registry.generation = generation
    return scan


def make_job(registry: Registry, kind: str = "scan", **fields: Any) -> Job:
    """A job that waits; give `state` and dates for another."""
    return Job.objects.create(registry=registry, kind=kind, **({"revision": registry.revision} | fields))


def make_shard(job: Job, phase: int = 0, index: int = 0, **fields: Any) -> Shard:
    return Shard.objects.create(job=job, phase=phase, index=index, **fields)


def make_event(job: Job, message: str, level: str = "info") -> JobEvent:
    return JobEvent.objects.create(job=job, message=message, level=level)


OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
