"""The scan: one listing of the bucket brings the catalog and the ledger up to date.

Links cost no reads: the digest behind a tag is the known revision whose MD5 is the link's ETag. Only links whose ETag
says nothing (KMS, SSE-C, damaged) are read, and every manifest is read once in its life, because its name is its hash.
The generation of a scan is its job's number. Rows that it did not see go at its end, so a scan that fails loses nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.db import models

from dashboard.jobs import catalog, totals
from dashboard.jobs.base import JobKind, ShardRun
from dashboard.models import Job, JobEvent, Manifest, Role, Shard
from dashboard.models import Scan as ScanRow
from storagedriver import PathNotFoundError, S3Driver
from storagedriver.layout import paths
from storagedriver.layout.errors import LinkError

LIST, READ, RECKON = range(3)
MANIFESTS_PER_SHARD = 500
READERS = 16  # requests in flight while reading manifests and links
MAX_PROBLEMS = 200


class Scan(JobKind):
    """Lists the bucket, reads the manifests it has not seen, adds everything up."""

    name = "scan"
    title = "Scan"
    summary = "Lists the bucket and brings repositories, tags, manifests and sizes up to date."
    role = Role.OPERATOR
    phases = ("List the bucket", "Read manifests", "Add up")

    def plan(self, job: Job, phase: int) -> list[Shard]:
        if phase == LIST:
            return [Shard(label="All objects")]
        if phase == READ:
            unread = Manifest.objects.filter(registry=job.registry, kind="", revisions__seen=job.pk)
            keys = list(unread.order_by("pk").values_list("pk", flat=True).distinct())
            chunks = [keys[at : at + MANIFESTS_PER_SHARD] for at in range(0, len(keys), MANIFESTS_PER_SHARD)]
            return [
                Shard(label=f"{len(chunk)} manifests", parameters={"manifests": chunk}, total=len(chunk))
                for chunk in chunks
            ]
        return [Shard(label="Sizes and ledger")]

    def run(self, run: ShardRun) -> None:
        run.restart()
        {LIST: list_bucket, READ: read_manifests, RECKON: reckon}[run.shard.phase](run)

    def finish(self, job: Job) -> dict[str, Any]:
        scan = ScanRow.objects.get(registry=job.registry, generation=job.pk)
        return {
            "generation": scan.generation,
            "keys": scan.keys,
            "bytes": scan.bytes,
            "repositories": scan.repositories,
            "tags": scan.tags,
            "manifests": scan.manifests,
            "blobs": scan.blobs,
            "ledger": scan.ledger,
            "problems": len(scan.problems),
        }


class Listing:
    """What the listing showed, gathered while it passes: blobs go to the database in batches, the rest waits here."""

    def __init__(self) -> None:
        self.keys = 0
        self.bytes: Counter[str] = Counter()  # ledger class -> bytes, blobs as one class
        self.blobs: list[Any] = []
        self.repositories: dict[str, catalog.RepositoryListing] = {}
        self.sessions: dict[str, catalog.Session] = {}
        self.problems: list[str] = []

    def add(self, entry: Any) -> None:
        """Sort one listed object into its place."""
        self.keys += 1
        found = paths.parse(entry.path)
        match found.kind:
            case paths.Kind.BLOB:
                self.blobs.append((found.digest, entry))
                self.bytes["blobs"] += entry.size
            case paths.Kind.REVISION_LINK:
                self._repository(found).revisions[found.digest] = entry.modified  # type: ignore[index]
                self._link(entry)
            case paths.Kind.TAG_CURRENT:
                self._repository(found).tags[found.tag] = entry  # type: ignore[index]
                self._link(entry)
            case paths.Kind.TAG_INDEX:
                self._repository(found)
                self._link(entry)
            case paths.Kind.LAYER_LINK | paths.Kind.SIGNATURE_LINK:
                self._link(entry)
            case paths.Kind.UPLOAD_DATA | paths.Kind.UPLOAD_STARTED_AT | paths.Kind.UPLOAD_HASH_STATE:
                self.bytes["uploads"] += entry.size
                self._session(found).add_object(entry, started=found.kind == paths.Kind.UPLOAD_STARTED_AT)
            case _:
                self.bytes["unknown"] += entry.size

    def add_multipart(self, upload: Any) -> None:
        """Sort one pending multipart upload; its parts are bytes that no object listing shows."""
        self.bytes["multipart"] += upload.size
        found = paths.parse(upload.path)
        if found.kind == paths.Kind.UPLOAD_DATA:
            self._session(found).add_multipart(upload)

    def problem(self, text: str) -> None:
        """Keep a sentence for the scan's page, up to the limit."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(text)

    def _repository(self, found: paths.LayoutEntry) -> catalog.RepositoryListing:
        return self.repositories.setdefault(found.repository or "", catalog.RepositoryListing())

    def _session(self, found: paths.LayoutEntry) -> catalog.Session:
        path = paths.upload_data(found.repository or "", found.upload_id or "")
        return self.sessions.setdefault(path, catalog.Session(found.repository or "", found.upload_id or ""))

    def _link(self, entry: Any) -> None:
        self.bytes["links"] += entry.size
        if not entry.size:
            self.problem(f"{entry.path} is empty: its write was interrupted. Push the image again.")


def list_bucket(run: ShardRun) -> None:
    """List every object below the root directory and every pending upload, and write the catalog's rows."""
    listing = Listing()
    for page in run.driver.scan("/"):
        for entry in page:
            listing.add(entry)
        if len(listing.blobs) >= catalog.BATCH:
            catalog.write_blobs(run.registry, listing.blobs, run.job.pk)
            listing.blobs.clear()
        run.advance(done=len(page), bytes_done=sum(entry.size for entry in page))
    catalog.write_blobs(run.registry, listing.blobs, run.job.pk)
    for upload in run.driver.multipart_uploads("/"):
        listing.add_multipart(upload)
        run.advance()
    unclear = catalog.resolve_tags(listing.repositories)
    read_links(run, listing, unclear)
    for _ in catalog.write_repositories(run.registry, listing.repositories, run.job.pk):
        run.advance()
    catalog.write_sessions(run.registry, listing.sessions, run.job.pk)
    run.result.update(keys=listing.keys, bytes=dict(listing.bytes), problems=listing.problems)
    run.log(f"Listed {listing.keys:,} objects in {len(listing.repositories):,} repositories.")


def read_links(run: ShardRun, listing: Listing, unclear: list[tuple[str, str]]) -> None:
    """Read the tag links whose ETag did not tell their digest; what is wrong with one becomes the tag's error."""
    if not unclear:
        return
    run.log(f"Reading {len(unclear):,} tag links whose ETag is not the MD5 of a known manifest's digest.")

    driver = run.driver

    def read(name: str, tag: str) -> tuple[str, str, bytes | None]:
        try:
            return name, tag, driver.get_content(paths.tag_current_link(name, tag), limit=catalog.MAX_LINK_BYTES)
        except PathNotFoundError:
            return name, tag, None

    with ThreadPoolExecutor(READERS) as pool:
        for future in [pool.submit(read, name, tag) for name, tag in unclear]:
            name, tag, content = future.result()
            try:
                listing.repositories[name].read_tag(tag, content)
            except LinkError as error:
                listing.problem(f"Tag {name}:{tag}: {error}")
            run.advance()


def read_manifests(run: ShardRun) -> None:
    """Read and parse the shard's manifests, and the configs of its images."""
    rows = list(Manifest.objects.filter(pk__in=run.parameters["manifests"], kind="").only("pk", "digest"))
    run.advance(done=len(run.parameters["manifests"]) - len(rows))
    with ThreadPoolExecutor(READERS) as pool:
        batch: list[catalog.Reading] = []
        for reading in _read_all(pool, run.driver, rows):
            batch.append(reading)
            if reading.error:
                run.log(f"Manifest {reading.digest}: {reading.error}", JobEvent.Level.WARNING)
            if len(batch) >= 100:
                catalog.write_manifests(batch)
                batch.clear()
            run.advance(done=1, bytes_done=len(reading.content))
        catalog.write_manifests(batch)


def _read_all(pool: ThreadPoolExecutor, driver: S3Driver, rows: list[Manifest]) -> Iterator[catalog.Reading]:
    yield from pool.map(lambda row: catalog.read_manifest(driver, row.pk, row.digest), rows)


def reckon(run: ShardRun) -> None:
    """Add up sizes and the ledger, drop the rows that this scan did not see, and make the scan the current one."""
    listed = run.job.shards.get(phase=LIST).result
    unreadable = models.Q(kind="") & ~models.Q(error="")
    bad = Manifest.objects.filter(unreadable, registry=run.registry, revisions__seen=run.job.pk).distinct()
    problems = [*listed["problems"], *(f"Manifest {row.digest}: {row.error}" for row in bad[:MAX_PROBLEMS])]
    requests: Counter[str] = Counter()
    for counts in run.job.shards.values_list("requests", flat=True):
        requests.update(counts)
    totals.publish_scan(
        run.job,
        keys=listed["keys"],
        listed=Counter(listed["bytes"]),
        problems=problems[:MAX_PROBLEMS],
        requests=dict(requests),
        pulse=run.advance,
    )
