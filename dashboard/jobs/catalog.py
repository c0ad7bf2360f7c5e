"""Reads manifests from the bucket and writes the catalog's rows in bulk; shared by scans and imports."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from django.db import transaction
from django.utils.dateparse import parse_datetime

from dashboard.models import Blob, Manifest, Reference, Registry, Repository, Revision, Tag, UploadSession
from storagedriver import Entry, MultipartUpload, PathNotFoundError, S3Driver
from storagedriver.errors import ContentTooLargeError
from storagedriver.layout import paths
from storagedriver.layout.configs import parse_config
from storagedriver.layout.digests import Digest, link_etag, parse_link
from storagedriver.layout.documents import MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES
from storagedriver.layout.errors import ConfigError, LinkError, ManifestError
from storagedriver.layout.manifests import (
    OCI_CONFIG,
    SCHEMA2_CONFIG,
    Descriptor,
    ParsedManifest,
    parse_manifest,
    recognise,
)

BATCH = 2000  # rows of one statement
LONG_AGO = datetime.min.replace(tzinfo=UTC)
MAX_LINK_BYTES = 1024  # a link has at most 135 bytes; more is read only to say that it is no link


def natural_order(name: str) -> str:
    """Return a sort key under which 1.10 follows 1.9: each number is led by its length, of three digits."""
    return re.sub(r"\d+", lambda found: f"{len(found[0].lstrip('0')):03d}{found[0].lstrip('0')}", name)


def batches(rows: Iterable[Any], size: int = BATCH) -> Iterator[list[Any]]:
    """Cut an iterable into lists of at most `size`."""
    iterator = iter(rows)
    while batch := list(islice(iterator, size)):
        yield batch


@dataclass
class RepositoryListing:
    """A repository as the listing shows it; `read_tag` and `resolve_tags` fill `digests` and `errors` by tag."""

    revisions: dict[str, datetime] = field(default_factory=dict)
    tags: dict[str, Entry] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    def read_tag(self, tag: str, content: bytes | None) -> None:
        """Take the content of a tag's link, None when it has gone since it was listed. Raises LinkError."""
        if content is None:
            del self.tags[tag]
            return
        try:
            digest = parse_link(content)
            if digest not in self.revisions:
                raise LinkError(
                    f"The tag points at {digest}, which this repository does not hold. Push the image again."
                )
        except LinkError as error:
            self.errors[tag] = str(error)
            raise
        self.digests[tag] = digest


@dataclass
class Session:
    """An unfinished upload as the listing shows it."""

    repository: str
    upload_id: str
    started: datetime | None = None
    last_activity: datetime = LONG_AGO
    size: int = 0
    parts: int = 0
    multipart_ids: list[str] = field(default_factory=list)

    def add_object(self, entry: Entry, *, started: bool) -> None:
        """Add an object of the session's folder; `startedat` is written once, when the upload begins."""
        if started:
            self.started = entry.modified
        self.size += entry.size
        self.last_activity = max(self.last_activity, entry.modified)

    def add_multipart(self, upload: MultipartUpload) -> None:
        """Add a pending multipart upload of the session's data."""
        self.multipart_ids.append(upload.upload_id)
        self.size += upload.size
        self.parts += upload.parts
        self.last_activity = max(self.last_activity, upload.newest_part or upload.initiated)


def resolve_tags(repositories: dict[str, RepositoryListing]) -> list[tuple[str, str]]:
    """Find the digest of each tag by its link's ETag; return (repository, tag) of those whose link must be read."""
    unclear: list[tuple[str, str]] = []
    for name, listing in repositories.items():
        by_etag = {link_etag(digest): digest for digest in listing.revisions}
        for tag, entry in listing.tags.items():
            if digest := by_etag.get(entry.etag):
                listing.digests[tag] = digest
            else:
                unclear.append((name, tag))
    return unclear


def write_blobs(registry: Registry, blobs: Iterable[tuple[str, Entry]], seen: int) -> None:
    """Insert or update blob rows."""
    rows = (
        Blob(
            registry=registry,
            digest=digest,
            size=entry.size,
            modified=entry.modified,
            storage_class=entry.storage_class,
            seen=seen,
        )
        for digest, entry in blobs
    )
    for batch in batches(rows):
        Blob.objects.bulk_create(
            batch,
            update_conflicts=True,
            unique_fields=["registry", "digest"],
            update_fields=["size", "modified", "storage_class", "seen"],
        )


def write_repositories(registry: Registry, listings: dict[str, RepositoryListing], seen: int) -> Iterator[None]:
    """Insert or update repositories, revisions and tags, with empty rows for new manifests; yields between batches."""
    for names in batches(listings, 500):
        Repository.objects.bulk_create(
            [Repository(registry=registry, name=name, seen=seen) for name in names],
            update_conflicts=True,
            unique_fields=["registry", "name"],
            update_fields=["seen"],
        )
        yield
    repositories = dict(Repository.objects.filter(registry=registry, seen=seen).values_list("name", "pk"))
    listed = {digest for listing in listings.values() for digest in listing.revisions}
    manifests = Manifest.objects.filter(registry=registry)
    if len(listed) < BATCH:  # an import, or a small registry: ask for these only
        manifests = manifests.filter(digest__in=listed)
    known = dict(manifests.values_list("digest", "pk").iterator())
    new = {digest: None for listing in listings.values() for digest in listing.revisions if digest not in known}
    for digests in batches(new):
        Manifest.objects.bulk_create(
            [Manifest(registry=registry, digest=digest) for digest in digests], ignore_conflicts=True
        )
        known.update(Manifest.objects.filter(registry=registry, digest__in=digests).values_list("digest", "pk"))
        yield
    revisions = (
        Revision(repository_id=repositories[name], manifest_id=known[digest], linked=linked, seen=seen)
        for name, listing in listings.items()
        for digest, linked in listing.revisions.items()
    )
    for batch in batches(revisions):
        Revision.objects.bulk_create(
            batch,
            update_conflicts=True,
            unique_fields=["repository", "manifest"],
            update_fields=["linked", "seen"],
        )
        yield
    tags = (
        Tag(
            repository_id=repositories[name],
            name=tag,
            order=natural_order(tag),
            digest=listing.digests.get(tag, ""),
            manifest_id=known.get(listing.digests.get(tag, "")),
            updated=entry.modified,
            error=listing.errors.get(tag, ""),
            seen=seen,
        )
        for name, listing in listings.items()
        for tag, entry in listing.tags.items()
    )
    for batch in batches(tags):
        Tag.objects.bulk_create(
            batch,
            update_conflicts=True,
            unique_fields=["repository", "name"],
            update_fields=["order", "digest", "manifest", "updated", "error", "seen"],
        )
        yield


def write_sessions(registry: Registry, sessions: dict[str, Session], seen: int) -> None:
    """Insert or update upload sessions."""
    rows = (
        UploadSession(
            registry=registry,
            repository_name=session.repository,
            upload_id=session.upload_id,
            path=path,
            started=session.started,
            last_activity=session.last_activity,
            size=session.size,
            parts=session.parts,
            multipart_ids=session.multipart_ids,
            seen=seen,
        )
        for path, session in sessions.items()
    )
    for batch in batches(rows):
        UploadSession.objects.bulk_create(
            batch,
            update_conflicts=True,
            unique_fields=["registry", "path"],
            update_fields=["started", "last_activity", "size", "parts", "multipart_ids", "seen"],
        )


@dataclass
class Reading:
    """What came of reading one manifest: its parse, or the error that its page shows."""

    pk: int
    digest: str
    content: bytes = b""
    manifest: ParsedManifest | None = None
    config: dict[str, Any] = field(default_factory=dict)
    error: str = ""


def read_manifest(driver: S3Driver, pk: int, digest: str) -> Reading:
    """Read and parse a manifest and, of an image, its config. Damage is told in the result; trouble with S3 raises."""
    reading = Reading(pk, digest)
    try:
        reading.content = _read_blob(driver, digest, MAX_MANIFEST_BYTES)
        reading.manifest = parse_manifest(reading.content)
    except ManifestError as error:
        reading.content, reading.error = b"", str(error)
    except ContentTooLargeError as error:
        reading.error = f"The manifest has {error.size:,} bytes; registries serve none over 4 MiB. Delete it."
    except PathNotFoundError:
        reading.error = "The repository links this manifest but its blob is missing. Push the image again."
    config = reading.manifest.config if reading.manifest else None
    if config and config.media_type in (OCI_CONFIG, SCHEMA2_CONFIG):
        try:
            reading.config = asdict(parse_config(_read_blob(driver, config.digest, MAX_CONFIG_BYTES)))
        except (ManifestError, ConfigError, ContentTooLargeError) as error:
            reading.config = {"error": str(error)}
        except PathNotFoundError:
            reading.config = {"error": "The config's blob is missing. Push the image again."}
    return reading


def _read_blob(driver: S3Driver, digest: str, limit: int) -> bytes:
    """Return a blob's bytes, checked against its digest. Raises ManifestError when they are others."""
    content = driver.get_content(paths.blob_data(digest), limit=limit)
    wanted = Digest.parse(digest)
    if hashlib.new(wanted.algorithm, content).hexdigest() != wanted.hex:
        raise ManifestError(f"The stored bytes are not those of {digest}: the object is damaged. Push the image again.")
    return content


def write_manifests(readings: list[Reading]) -> None:
    """Fill manifest rows and their references, all or none."""
    rows: list[Manifest] = []
    references: list[Reference] = []
    for reading in readings:
        rows.append(_manifest_row(reading))
        if reading.manifest:
            references += _reference_rows(reading.pk, reading.manifest)
    fields = [
        "kind", "label", "media_type", "artifact_type", "size", "config_digest", "subject_digest",
        "os", "architecture", "variant", "created", "annotations", "config", "content", "error",
    ]  # fmt: skip
    with transaction.atomic():
        Manifest.objects.bulk_update(rows, fields, batch_size=50)
        Reference.objects.bulk_create(references, batch_size=BATCH, ignore_conflicts=True)


def _manifest_row(reading: Reading) -> Manifest:
    parsed, config = reading.manifest, reading.config
    if parsed is None:
        return Manifest(pk=reading.pk, error=reading.error)
    return Manifest(
        pk=reading.pk,
        kind=str(parsed.kind),
        label=recognise(parsed),
        media_type=parsed.media_type,
        artifact_type=parsed.artifact_type,
        size=len(reading.content),
        config_digest=parsed.config.digest if parsed.config else "",
        subject_digest=parsed.subject.digest if parsed.subject else "",
        os=config.get("os", "")[:64],
        architecture=config.get("architecture", "")[:64],
        variant=config.get("variant", "")[:64],
        created=build_time(config.get("created", "")),
        annotations=dict(parsed.annotations),
        config=config,
        content=reading.content,
    )


def _reference_rows(manifest_id: int, parsed: ParsedManifest) -> Iterator[Reference]:
    groups: list[tuple[Reference.Kind, Iterable[Descriptor]]] = [
        (Reference.Kind.CONFIG, [parsed.config] if parsed.config else []),
        (Reference.Kind.LAYER, parsed.layers),
        (Reference.Kind.CHILD, parsed.children),
        (Reference.Kind.SUBJECT, [parsed.subject] if parsed.subject else []),
    ]
    for kind, descriptors in groups:
        for position, descriptor in enumerate(descriptors):
            yield Reference(
                manifest_id=manifest_id,
                kind=kind,
                position=position,
                digest=descriptor.digest,
                media_type=descriptor.media_type,
                size=descriptor.size,
                platform=str(descriptor.platform or "")[:200],
                annotations=dict(descriptor.annotations),
            )


def build_time(text: str) -> datetime | None:
    """Read the time an image states for its build; None for whatever is not a time with a zone, or lies off the scale."""
    try:
        found = parse_datetime(text)
        return found.astimezone(UTC) if found and found.tzinfo else None
    except (ValueError, OverflowError):
        return None
