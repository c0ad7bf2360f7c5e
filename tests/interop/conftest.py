"""A bucket that a real registry and our own code share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dashboard.jobs import engine
from dashboard.models import Job, Registry
from dashboard.services import jobs
from tests.components import DockerRegistry, OciLayout, S3Process
from tests.components.images import layer
from tests.components.s3 import ACCESS_KEY, REGION, SECRET_KEY

MIB = 2**20


@pytest.fixture
def docker(s3: S3Process, bucket: str, tmp_path: Path) -> Iterator[DockerRegistry]:
    """A real registry on the test's bucket."""
    registry = DockerRegistry(tmp_path, s3.endpoint, bucket)
    yield registry
    registry.stop()


@pytest.fixture
def registry(db: None, s3: S3Process, bucket: str) -> Registry:
    """Our row of the same bucket."""
    return make_registry(s3.endpoint, bucket)


@pytest.fixture(scope="session")
def layout(tmp_path_factory: pytest.TempPathFactory) -> OciLayout:
    """Images with shared layers, one of 22 MiB that no compressor shrinks, and an index of two platforms."""
    images = OciLayout(tmp_path_factory.mktemp("images") / "layout")
    base = layer("base", 300_000)
    images.image("api-1", base, layer("api 1"), env=("VERSION=1",))
    images.image("api-2", base, layer("api 2"), env=("VERSION=2",))
    images.image("worker", base, layer("model", 22 * MIB))
    platforms = [images.image("", base, layer(f"web {name}"), architecture=name) for name in ("amd64", "arm64")]
    images.index("web", *platforms)
    return images


def make_registry(endpoint: str, bucket: str, **fields: object) -> Registry:
    """A registry row that reaches the bucket, with the chunk size of the real registry."""
    values: dict[str, object] = {
        "slug": "wharf",
        "name": "Wharf",
        "version": "2.8",
        "bucket": bucket,
        "region": REGION,
        "region_endpoint": endpoint,
        "access_key": ACCESS_KEY,
        "secret_key": SECRET_KEY,
        "chunk_size": 5 * MIB,
    }
    return Registry.objects.create(**(values | fields))


def run_job(kind: str, registry: Registry, **parameters: object) -> Job:
    """Run a job to its end in this process."""
    return engine.run_here(jobs.start(kind=kind, registry=registry, actor=None, parameters=parameters))


def scan(registry: Registry) -> Job:
    """Scan, and insist that it succeeds."""
    job = run_job("scan", registry)
    assert job.state == Job.State.SUCCEEDED, job.error
    return job
