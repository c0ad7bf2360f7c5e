"""Imports an image archive: checked whole first, then published in the order that keeps the registry valid.

Blobs go straight to their final keys, then layer links, then manifests with their revision links (children before their
index), then the tag's index entry, and the tag itself last. Stopped anywhere, it has published a whole image or nothing.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.conf import settings
from django.utils import timezone

from dashboard.jobs import catalog, totals
from dashboard.jobs.base import JobError, JobKind, ShardRun
from dashboard.models import Archive, Job, JobEvent, Manifest, Registry, Repository, Role, Shard
from storagedriver import Entry, PathNotFoundError, S3Driver
from storagedriver.layout import paths
from storagedriver.layout.archives import ArchiveBlob, ArchiveImage, ImageArchive, open_archive
from storagedriver.layout.errors import LayoutError
from storagedriver.layout.manifests import parse_manifest
from storagedriver.layout.references import Reference, without_host

READ_BYTES = 2**20


class ImportArchive(JobKind):
    """Uploads a docker-archive or oci-archive from the spool in chunks."""

    name = "import"
    title = "Import"
    summary = "Checks an image archive and uploads it in chunks: blobs, links, manifests, tag."
    role = Role.OPERATOR
    phases = ("Check and upload",)
    exclusive = False
    unit = "blobs"

    def plan(self, job: Job, phase: int) -> list[Shard]:
        return [Shard(label=job.subject[:300])]

    def run(self, run: ShardRun) -> None:
        run.restart()
        drop_lost_upload(run)
        with spooled(run) as archive:
            targets = choose_targets(archive.references, run.job.parameters["reference"])
            images = archive.images
            check(run, images)
            sent: dict[str, int] = {}
            for image in images:
                upload_blobs(run, image, sent)
            published = [(image, name) for image, names in zip(images, targets, strict=True) for name in names]
            for image, name in published:
                publish(run, image, name)
        run.result.update(
            repository=published[0][1].repository,
            tag=published[0][1].tag,
            digest=images[0].root,
            images=[{"reference": str(name), "digest": image.root} for image, name in published],
            blobs_sent=len(sent),
            blobs_skipped=len({blob.digest for image in images for blob in image.blobs}) - len(sent),
            bytes_sent=sum(sent.values()),
        )

    def finish(self, job: Job) -> dict[str, Any]:
        if archive := Archive.objects.filter(pk=job.parameters["archive"], registry=job.registry).first():
            archive.delete()
        return dict(job.shards.get(phase=0).result)


@contextmanager
def spooled(run: ShardRun) -> Iterator[ImageArchive]:
    """Open the job's archive; what is wrong with it becomes the job's error."""
    archive = Archive.objects.filter(pk=run.job.parameters["archive"], registry=run.registry).first()
    if archive is None:
        raise JobError("The archive is no longer in the spool. Upload it again.")
    try:
        with (
            archive.file.open("rb") as file,
            open_archive(
                file,
                scratch=settings.SCRATCH_DIR,
                max_bytes=settings.ARCHIVE_MAX_BYTES * 2,
                progress=lambda count: run.advance(),
            ) as opened,
        ):
            yield opened
    except FileNotFoundError:
        raise JobError("The archive's file is not in this worker's spool: all hosts must share SPOOL_DIR.") from None
    except LayoutError as error:
        raise JobError(f"{archive.name}: {error}") from error
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise JobError(
            "The worker's disk is full while it unpacks the archive. Free space or set SCRATCH_DIR."
        ) from error


def choose_targets(references: list[tuple[str, ...]], reference: str) -> list[tuple[Reference, ...]]:
    """Return what to publish each image of an archive as: the given reference, or all of the archive's own names.

    Raises JobError when that leaves an image without a repository and a tag, or a name for several images.
    """
    if reference:
        if len(references) > 1:
            names = ", ".join(name for own in references for name in own) or "without names"
            raise JobError(
                f"The archive holds {len(references)} images ({names}). Leave the name empty to keep theirs."
            )
        return [(Reference.parse(reference),)]
    targets = []
    for own in references:
        named = [name for name in own if ":" in name.rpartition("/")[2]]
        if not named:
            raise JobError("The archive does not name its image. Give it a name: repository:tag.")
        targets.append(tuple(dict.fromkeys(Reference.parse(without_host(name)) for name in named)))
    return targets


def check(run: ShardRun, images: list[ArchiveImage]) -> None:
    """Read every blob once: its stream raises when the content is not what its digest promises."""
    blobs = {blob.digest: blob for image in images for blob in image.blobs}
    total = sum(blob.size for blob in blobs.values())
    run.expect(total=len(blobs), bytes_total=2 * total)  # read to check, read to upload
    for blob in blobs.values():
        with blob.open() as stream:
            while content := stream.read(READ_BYTES):
                run.advance(bytes_done=len(content))
    run.log(f"Checked {len(blobs)} blobs, {total:,} bytes: every digest is right.")
    for platform in (name for image in images for name in image.left_out):
        run.log(f"The archive's index names {platform}, but the archive does not hold it.", JobEvent.Level.WARNING)


def upload_blobs(run: ShardRun, image: ArchiveImage, sent: dict[str, int]) -> None:
    """Upload the blobs that the bucket lacks, each to its final key; add what was sent to `sent`, digest to bytes."""
    for blob in image.blobs:
        if blob.digest in sent:
            continue
        if stored_size(run.driver, blob.digest) == blob.size:
            run.advance(done=1, bytes_done=blob.size)
            continue
        upload_blob(run, blob)
        sent[blob.digest] = blob.size
        run.advance(done=1)


def stored_size(driver: S3Driver, digest: str) -> int | None:
    """Return the size of a stored blob, None when it is not there."""
    try:
        return driver.stat(paths.blob_data(digest)).size
    except PathNotFoundError:
        return None


def upload_blob(run: ShardRun, blob: ArchiveBlob) -> None:
    """Upload one blob in chunks. The upload's id is kept first, so that a lost worker's parts can be dropped."""
    path = paths.blob_data(blob.digest)
    run.log(f"Uploading {blob.digest}, {blob.size:,} bytes.")
    with blob.open() as stream, run.driver.writer(path, digest=blob.digest) as writer:
        run.save({"path": path, "upload_id": writer.upload_id})
        while content := stream.read(READ_BYTES):
            writer.write(content)
            run.advance(bytes_done=len(content))
        run.pulse()  # the last look whether we may: after this the blob is there
        writer.commit()
    run.save({})


def drop_lost_upload(run: ShardRun) -> None:
    """Abort the multipart upload that an earlier, lost run of this shard left."""
    if lost := run.shard.cursor:
        with suppress(PathNotFoundError):  # committed, or aborted already
            run.driver.abort_multipart_upload(lost["path"], lost["upload_id"])
        run.save({})


def publish(run: ShardRun, image: ArchiveImage, target: Reference) -> None:
    """Write links, manifests and the tag of an image whose blobs are all there, then enter it into the catalog."""
    driver, repository, tag = run.driver, target.repository, target.tag or ""
    run.pulse()
    for blob in image.blobs:
        driver.put_content(paths.layer_link(repository, blob.digest), blob.digest.encode())
        run.advance()
    for manifest in image.manifests:
        parse_manifest(manifest.content)  # what we could not read back is not published
        driver.put_content(paths.blob_data(manifest.digest), manifest.content)
        driver.put_content(paths.revision_link(repository, manifest.digest), manifest.digest.encode())
        run.advance()
    driver.put_content(paths.tag_index_link(repository, tag, image.root), image.root.encode())
    driver.put_content(paths.tag_current_link(repository, tag), image.root.encode())
    run.log(f"{target} is now {image.root}.")
    sizes = {blob.digest: blob.size for blob in image.blobs} | {item.digest: item.size for item in image.manifests}
    record_push(
        run.registry, driver, repository, tag, image.root, [manifest.digest for manifest in image.manifests], sizes
    )


def record_push(
    registry: Registry,
    driver: S3Driver,
    repository: str,
    tag: str,
    root: str,
    manifests: list[str],
    sizes: dict[str, int],
) -> None:
    """Enter a tag that was just published, with its manifests and blobs (digest to bytes), before the next scan does."""
    now = timezone.now()
    scan = Job.objects.active().filter(registry=registry, kind="scan").values_list("pk", flat=True).first()
    seen = max(registry.generation, scan or 0)  # a scan that has passed here already must not drop these rows
    entries = {digest: Entry("", size, "", now, registry.storage_class) for digest, size in sizes.items()}
    catalog.write_blobs(registry, entries.items(), seen)
    listing = catalog.RepositoryListing(dict.fromkeys(manifests, now), {tag: Entry("", 0, "", now, "")}, {tag: root})
    for _ in catalog.write_repositories(registry, {repository: listing}, seen):
        continue
    unread = Manifest.objects.filter(registry=registry, digest__in=manifests, kind="").values_list("pk", "digest")
    catalog.write_manifests([catalog.read_manifest(driver, pk, digest) for pk, digest in unread])
    totals.refresh_repository(Repository.objects.get(registry=registry, name=repository))
