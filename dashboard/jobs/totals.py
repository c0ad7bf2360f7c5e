"""Adds up what the catalog's rows say: sizes, counts and the ledger of a scan or of one repository."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Count, Max, QuerySet
from django.utils import timezone

from dashboard.jobs.catalog import batches
from dashboard.models import Blob, Job, Manifest, Reference, Registry, Repository, Revision, Scan, Tag, UploadSession
from storagedriver.layout import marking


def publish_scan(
    job: Job,
    *,
    keys: int,
    listed: Counter[str],
    problems: list[str],
    requests: dict[str, int],
    pulse: Callable[[], None],
) -> None:
    """Add up what a scan found and make it the registry's current one, in one transaction; a second call does nothing.

    `listed` is bytes by class with all blobs as one class, which the ledger splits by who needs them.
    """
    registry = job.registry
    if Scan.objects.filter(registry=registry, generation=job.pk).exists():
        return
    blobs = dict(Blob.objects.filter(registry=registry, seen=job.pk).values_list("digest", "size").iterator())
    pulse()
    manifests, sizes = _references(Manifest.objects.filter(registry=registry))
    pulse()
    names = dict(Repository.objects.filter(registry=registry, seen=job.pk).values_list("pk", "name"))
    revisions, tags = _links(registry, job.pk)
    links = {
        name: marking.RepositoryLinks(
            tags={tag: digest for tag, digest in tags.get(pk, {}).items() if digest},
            revisions=frozenset(revisions.get(pk, ())),
            incomplete=not all(tags.get(pk, {}).values()),
        )
        for pk, name in names.items()
    }
    marks = marking.mark(links, manifests, blobs)
    pulse()
    ledger = {name: listed[name] for name in ("links", "uploads", "multipart", "unknown")}
    for name, digests in (
        ("reachable", marks.reachable),
        ("untagged", marks.untagged),
        ("unreferenced", marks.unreferenced),
    ):
        ledger[name] = sum(blobs[digest] for digest in digests)
    known = {**sizes, **blobs}
    totals = {digest: _total(digest, manifests, known) for digest in manifests}
    pulse()
    with transaction.atomic():
        for model in (Tag, Revision):
            model.objects.filter(repository__registry=registry, seen__lt=job.pk).delete()
        for catalog in (Repository, UploadSession, Blob):
            catalog.objects.filter(registry=registry, seen__lt=job.pk).delete()
        Manifest.objects.filter(registry=registry, revisions=None).delete()
        _write_totals(Manifest.objects.filter(registry=registry), totals)
        _write_repositories(
            Repository.objects.filter(registry=registry),
            {pk: _needs(revisions.get(pk, ()), manifests) for pk in names},
            known,
        )
        Scan.objects.create(
            registry=registry,
            generation=job.pk,
            started=job.started or job.created,
            finished=timezone.now(),
            keys=keys,
            bytes=sum(ledger.values()),
            repositories=len(names),
            tags=sum(map(len, tags.values())),
            manifests=len({digest for found in revisions.values() for digest in found}),
            blobs=len(blobs),
            ledger=ledger,
            requests=requests,
            problems=problems,
        )
        Registry.objects.filter(pk=registry.pk).update(generation=job.pk)


def refresh_repository(repository: Repository) -> None:
    """Bring one repository's counts and size up to date, and the totals of its manifests."""
    registry = repository.registry
    found = Manifest.objects.filter(revisions__repository=repository)
    digests = list(found.values_list("digest", flat=True))
    manifests, sizes = _references(found)
    stored = Blob.objects.filter(registry=registry)
    for batch in batches(sizes.keys() | set(digests)):
        sizes.update(stored.filter(digest__in=batch).values_list("digest", "size"))
    with transaction.atomic():
        _write_totals(found, {digest: _total(digest, manifests, sizes) for digest in manifests})
        _write_repositories(
            Repository.objects.filter(pk=repository.pk), {repository.pk: _needs(digests, manifests)}, sizes
        )


def _references(manifests: QuerySet[Manifest]) -> tuple[dict[str, marking.References], dict[str, int]]:
    """Return what each readable one of the manifests names, by digest, and the sizes that descriptors state."""
    content: dict[str, list[str]] = defaultdict(list)
    children: dict[str, list[str]] = defaultdict(list)
    sizes: dict[str, int] = {}
    rows = Reference.objects.filter(manifest__in=manifests).exclude(kind=Reference.Kind.SUBJECT).order_by()
    for owner, kind, digest, size in rows.values_list("manifest__digest", "kind", "digest", "size").iterator():
        (children if kind == Reference.Kind.CHILD else content)[owner].append(digest)
        sizes[digest] = size
    readable = manifests.exclude(kind="")
    return {
        digest: marking.References(tuple(content[digest]), tuple(children[digest]), subject or None)
        for digest, subject in readable.values_list("digest", "subject_digest").iterator()
    }, sizes


def _links(registry: Registry, seen: int) -> tuple[dict[int, set[str]], dict[int, dict[str, str]]]:
    """Return the revisions, and the tags with their digests, of each repository by its key."""
    revisions: dict[int, set[str]] = defaultdict(set)
    rows = Revision.objects.filter(repository__registry=registry, seen=seen)
    for pk, digest in rows.values_list("repository", "manifest__digest").iterator():
        revisions[pk].add(digest)
    tags: dict[int, dict[str, str]] = defaultdict(dict)
    found = Tag.objects.filter(repository__registry=registry, seen=seen).order_by()
    for pk, name, digest in found.values_list("repository", "name", "digest").iterator():
        tags[pk][name] = digest
    return revisions, tags


def _needs(digests: Iterable[str], manifests: dict[str, marking.References]) -> set[str]:
    """Return every digest that the given manifests need, themselves included, through indexes to any depth."""
    visited: set[str] = set()
    content: set[str] = set()
    pending = list(digests)
    while pending:
        digest = pending.pop()
        if digest not in visited:
            visited.add(digest)
            if references := manifests.get(digest):
                content.update(references.content)
                pending.extend(references.children)
    return visited | content


def _total(digest: str, manifests: dict[str, marking.References], sizes: dict[str, int]) -> int:
    return sum(sizes.get(needed, 0) for needed in _needs([digest], manifests))


def _write_totals(manifests: QuerySet[Manifest], totals: dict[str, int]) -> None:
    """Update those of the manifests whose total changed."""
    rows = manifests.only("pk", "digest", "total_size").iterator()
    changed = (row for row in rows if totals.get(row.digest, 0) != row.total_size)
    for batch in batches(changed, 500):
        for row in batch:
            row.total_size = totals.get(row.digest, 0)
        Manifest.objects.bulk_update(batch, ["total_size"])


def _write_repositories(repositories: QuerySet[Repository], needs: dict[int, set[str]], sizes: dict[str, int]) -> None:
    """Update counts, size (what `needs` has, by key) and last push of the repositories."""
    tags = dict(_grouped(Tag.objects.filter(repository__in=repositories), "updated"))
    revisions = dict(_grouped(Revision.objects.filter(repository__in=repositories), "linked"))
    for rows in batches(repositories.order_by().iterator(), 500):
        for row in rows:
            row.tag_count, tagged = tags.get(row.pk, (0, None))
            row.revision_count, linked = revisions.get(row.pk, (0, None))
            row.size = sum(sizes.get(digest, 0) for digest in needs[row.pk])
            row.updated = max(filter(None, (tagged, linked)), default=None)
        Repository.objects.bulk_update(rows, ["tag_count", "revision_count", "size", "updated"])


def _grouped(rows: Any, date: str) -> Iterator[tuple[int, tuple[int, datetime | None]]]:
    """Yield each repository's key with its number of rows and the newest date among them."""
    found = rows.order_by().values("repository").annotate(number=Count("pk"), newest=Max(date))
    for row in found.iterator():
        yield row["repository"], (row["number"], row["newest"])
