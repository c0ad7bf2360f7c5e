"""A repository's tags, its manifests that no tag reaches, and what refers to its manifests."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db.models import Exists, F, OuterRef, QuerySet, Value
from django.db.models.functions import Coalesce

from dashboard.models import Manifest, Reference, Repository, Revision, Tag
from dashboard.selectors.paging import KeysetPage, keyset_page

COUNT_LIMIT = 10_000  # what a search found is counted up to here
SHOWN_PLATFORMS = 4
SORTS = {"name": ("order", "name"), "updated": ("updated", "id"), "size": ("bytes", "id")}
# What a list needs of a manifest: never its content or config, which may be megabytes.
LIST_FIELDS = [
    f"manifest__{name}"
    for name in ("digest", "kind", "label", "os", "architecture", "variant", "total_size", "subject_digest", "error")
]


@dataclass(frozen=True)
class ManifestRow:
    """A line of the tags, untagged or referrers table. `name` is the tag, empty where there is none."""

    name: str
    digest: str
    label: str
    platforms: list[str]
    more_platforms: int
    bytes: int | None
    updated: datetime
    error: str
    subject: str


@dataclass(frozen=True)
class Matches:
    """How many rows there are; `capped` when counting stopped at COUNT_LIMIT."""

    number: int
    capped: bool = False

    def __str__(self) -> str:
        return f"{self.number:,}{'+' if self.capped else ''}"


def tag_page(repository: Repository, *, q: str = "", sort: str = "name", at: str = "") -> tuple[KeysetPage, Matches]:
    """Return a page of ManifestRow for the tags whose name holds `q`, and how many there are."""
    rows: QuerySet[Tag] = Tag.objects.filter(repository=repository)
    matches = Matches(repository.tag_count)
    if q:
        rows = rows.filter(name__icontains=q)
        number = rows.order_by()[: COUNT_LIMIT + 1].count()
        matches = Matches(min(number, COUNT_LIMIT), number > COUNT_LIMIT)
    sign = "-" if sort.startswith("-") else ""
    fields = ["name", "order", "digest", "updated", "error", "repository", "manifest", *LIST_FIELDS]
    rows = rows.annotate(bytes=Coalesce("manifest__total_size", Value(0))).select_related("manifest").only(*fields)
    page = keyset_page(rows, [f"{sign}{name}" for name in SORTS[sort.lstrip("-")]], at)
    platforms = index_platforms(row.manifest for row in page.rows if row.manifest)
    return _with_rows(
        page, [_row(row.manifest, platforms, row.name, row.digest, row.updated, row.error) for row in page.rows]
    ), matches


def untagged_page(repository: Repository, at: str = "") -> KeysetPage:
    """Return a page of the repository's manifests without a tag, a parent index or a subject, newest first."""
    # "+ 0" keeps SQLite from looking through all tags of the repository for each manifest: without statistics it
    # takes the repository's index for as good as the manifest's.
    tagged = Tag.objects.alias(holder=F("repository") + 0).filter(manifest=OuterRef("manifest"), holder=repository.pk)
    # Nested, not joined: the database then begins at the reference's digest, never at all revisions again per row.
    holder = Revision.objects.filter(repository=repository, manifest=OuterRef("manifest"))
    inside = Reference.objects.filter(Exists(holder), kind=Reference.Kind.CHILD, digest=OuterRef("manifest__digest"))
    rows = Revision.objects.filter(~Exists(tagged), ~Exists(inside), repository=repository, manifest__subject_digest="")
    return _revision_page(rows, at)


def referrer_page(repository: Repository, at: str = "") -> KeysetPage:
    """Return a page of the repository's manifests that name a subject (signatures, SBOMs, attestations), newest first."""
    return _revision_page(Revision.objects.filter(repository=repository).exclude(manifest__subject_digest=""), at)


def index_platforms(manifests: Iterable[Manifest]) -> dict[int, list[str]]:
    """Return the platforms of the indexes among the manifests, by key; attestations name none."""
    indexes = [manifest.pk for manifest in manifests if manifest.kind == Manifest.Kind.INDEX]
    platforms: dict[int, list[str]] = defaultdict(list)
    if indexes:
        rows = Reference.objects.filter(manifest__in=indexes, kind=Reference.Kind.CHILD).order_by("position")
        for pk, platform in rows.values_list("manifest", "platform"):
            if platform and platform != "unknown/unknown" and platform not in platforms[pk]:
                platforms[pk].append(platform)
    return platforms


def _revision_page(rows: QuerySet[Any], at: str) -> KeysetPage:
    rows = rows.select_related("manifest").only("linked", "repository", "manifest", *LIST_FIELDS)
    page = keyset_page(rows, ["-linked", "-id"], at)
    platforms = index_platforms(row.manifest for row in page.rows)
    return _with_rows(
        page, [_row(row.manifest, platforms, "", row.manifest.digest, row.linked, "") for row in page.rows]
    )


def _row(
    manifest: Manifest | None, platforms: dict[int, list[str]], name: str, digest: str, updated: datetime, error: str
) -> ManifestRow:
    if manifest is None:
        return ManifestRow(name, digest, "", [], 0, None, updated, error, "")
    own = platforms.get(manifest.pk) or [manifest.platform] * bool(manifest.platform)
    return ManifestRow(
        name=name,
        digest=digest,
        label=manifest.label,
        platforms=own[:SHOWN_PLATFORMS],
        more_platforms=max(0, len(own) - SHOWN_PLATFORMS),
        bytes=manifest.total_size if manifest.kind else None,
        updated=updated,
        error=error or manifest.error,
        subject=manifest.subject_digest,
    )


def _with_rows(page: KeysetPage, rows: list[ManifestRow]) -> KeysetPage:
    return replace(page, rows=rows)
