"""What the tests do inside an installation: `python -m tests.workers.steps NAME ARGUMENTS`, both ways in JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import django

django.setup()

from django.core.files.base import File  # noqa: E402 - models need the setup

from dashboard.models import Job, Registry  # noqa: E402
from dashboard.services import imports, jobs  # noqa: E402


def add_registry(slug: str, endpoint: str, bucket: str) -> int:
    """Add a registry row; return its id."""
    registry = Registry.objects.create(
        slug=slug,
        name=slug,
        bucket=bucket,
        region="us-east-1",
        region_endpoint=endpoint,
        access_key="AKIATESTS",
        secret_key="not-a-secret",
        chunk_size=5 * 2**20,
    )
    return registry.pk


def start_scan(slug: str) -> int:
    """Start a scan; return the job's id."""
    return jobs.start(kind="scan", registry=Registry.objects.get(slug=slug), actor=None).pk


def start_import(slug: str, archive: str, reference: str) -> int:
    """Spool an archive and start its import; return the job's id."""
    with Path(archive).open("rb") as file:
        upload = File(file, name="image.tar")
        registry = Registry.objects.get(slug=slug)
        return imports.receive_archive(registry=registry, actor=None, upload=upload, reference=reference).pk


def job(job_id: int) -> dict[str, Any]:
    """Return how a job stands, with its shards."""
    row = Job.objects.get(pk=job_id)
    shards = row.shards.order_by("phase", "index").values("phase", "state", "attempts", "error")
    return {"state": row.state, "error": row.error, "result": row.result, "shards": list(shards)}


def catalog(slug: str) -> dict[str, Any]:
    """Return everything that a scan found out, without the numbers that differ from row to row."""
    registry = Registry.objects.get(slug=slug)
    scan = registry.scans.get(generation=registry.generation)
    figures = ("keys", "bytes", "repositories", "tags", "manifests", "blobs", "ledger", "problems")
    return {
        "scan": {name: getattr(scan, name) for name in figures},
        "repositories": rows(registry.repositories, "name", "tag_count", "revision_count", "size"),
        "tags": rows(
            registry.repositories, "name", "tags__name", "tags__digest", "tags__manifest__digest", "tags__error"
        ),
        "revisions": rows(registry.repositories, "name", "revisions__manifest__digest"),
        "manifests": rows(registry.manifests, "digest", "kind", "size", "total_size", "os", "architecture", "error"),
        "references": rows(
            registry.manifests, "digest", "references__kind", "references__position", "references__digest"
        ),
        "blobs": rows(registry.blobs, "digest", "size"),
    }


def rows(manager: Any, *columns: str) -> list[list[Any]]:
    return sorted(map(list, manager.values_list(*columns)), key=str)


STEPS = {step.__name__: step for step in (add_registry, start_scan, start_import, job, catalog)}

if __name__ == "__main__":
    print(json.dumps(STEPS[sys.argv[1]](**json.loads(sys.argv[2]))))  # noqa: T201 - the answer
