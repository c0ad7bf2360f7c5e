"""Repositories as the pages show them: a search through all, or one level of a namespace with its folders."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import Case, Count, F, Max, QuerySet, Sum, Value, When
from django.db.models.functions import StrIndex, Substr

from dashboard.models import Registry, Repository, Revision, Tag

PAGE_ROWS = 100
SORTS = {"name": "head", "tags": "tags", "size": "bytes", "updated": "latest"}


@dataclass(frozen=True)
class RepositoryRow:
    """A repository, or a folder: then `name` ends with "/" and the figures are sums over what it holds."""

    name: str
    label: str
    repositories: int
    tags: int
    manifests: int
    bytes: int
    updated: datetime | None

    @property
    def is_folder(self) -> bool:
        """Whether this is a namespace."""
        return self.name.endswith("/")

    @property
    def namespace(self) -> str:
        """The namespace that a folder opens."""
        return self.name.rstrip("/")


def repository_page(registry: Registry, *, q: str = "", namespace: str = "", sort: str = "name", page: int = 1) -> Any:
    """Return the page of RepositoryRow for the filter, as a django Page. A page past the end is the last one."""
    rows: QuerySet[Any] = Repository.objects.filter(registry=registry)
    prefix = ""
    if q:
        rows = rows.filter(name__icontains=q).annotate(head=F("name"))
    else:
        prefix = f"{namespace}/" if namespace else ""
        rows = _level(rows, prefix)
    grouped = rows.order_by().values("head").annotate(
        repositories=Count("pk"),
        tags=Sum("tag_count"),
        manifests=Sum("revision_count"),
        bytes=Sum("size"),
        latest=Max("updated"),
    )  # fmt: skip
    column, descending = SORTS[sort.lstrip("-")], sort.startswith("-")
    key = F(column).desc(nulls_last=True) if descending else F(column).asc(nulls_first=True)
    found: Page[Any] = Paginator(grouped.order_by(key, "head"), PAGE_ROWS).get_page(page)
    found.object_list = [
        RepositoryRow(
            name=f"{prefix}{row['head']}",
            label=row["head"],
            repositories=row["repositories"],
            tags=row["tags"],
            manifests=row["manifests"],
            bytes=row["bytes"],
            updated=row["latest"],
        )
        for row in found.object_list
    ]
    return found


def _level(rows: QuerySet[Any], prefix: str) -> QuerySet[Any]:
    """Annotate `head`: the part of the name below the prefix, up to and with the next slash if there is one."""
    if prefix:
        rows = rows.filter(name__startswith=prefix)
    rest = Substr("name", len(prefix) + 1)
    up_to_slash: Any = F("slash")
    head = Case(When(slash__gt=0, then=Substr("rest", 1, up_to_slash)), default=F("rest"))
    levelled: QuerySet[Any] = rows.annotate(rest=rest, slash=StrIndex(rest, Value("/"))).annotate(head=head)
    return levelled


def parents(name: str) -> list[tuple[str, str]]:
    """Return (label, namespace) of each folder on the way to a repository or a namespace, without itself."""
    parts = name.split("/")[:-1]
    return [(part, "/".join(parts[: position + 1])) for position, part in enumerate(parts)]


def jump(registry: Registry, q: str) -> tuple[str, str, str] | None:
    """Return (repository, tag, digest) of the one thing that a search names exactly, None when it names none.

    A tag by `repository:tag`, a manifest by its whole digest, alone or behind `repository@`. `digest` is empty for a
    tag whose manifest is not known.
    """
    repository, at, digest = q.rpartition("@")
    if ":" not in q:
        return None
    revisions = Revision.objects.filter(repository__registry=registry, manifest__digest=digest)
    if repository:
        revisions = revisions.filter(repository__name=repository)
    if found := revisions.order_by("repository__name").values_list("repository__name", flat=True).first():
        return found, "", digest
    repository, _, tag = q.rpartition(":")
    row = (
        Tag.objects.filter(repository__registry=registry, repository__name=repository, name=tag).first()
        if not at
        else None
    )
    return (repository, tag, row.digest) if row else None
