"""Real workers on PostgreSQL and Redis: what one leaves behind when it is killed, the next takes up."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.components import (
    DockerRegistry,
    OciLayout,
    Postgres,
    Process,
    Proxy,
    Redis,
    S3Process,
    copy_image,
    pull,
    wait_for,
)
from tests.components.images import digest_of, layer
from tests.components.installation import Installation
from tests.components.proxy import Answer

IMAGES = 250  # more than one page of keys, so that the listing goes in shards
TIMEOUT = 120  # seconds until a job must have ended, a killed worker's lease and the next tick included
STEPS = "tests.workers.steps"


class Gate:
    """Lets `free` requests of a kind through and holds the others until it is opened."""

    def __init__(self, wanted: Callable[[str, str], bool], free: int) -> None:
        self.reached = threading.Event()
        self._wanted = wanted
        self._free = free
        self._opened = threading.Event()
        self._lock = threading.Lock()

    def __call__(self, method: str, path: str) -> Answer | None:
        if self._wanted(method, path):
            with self._lock:
                self._free -= 1
                held = self._free < 0
            if held:
                self.reached.set()
                self._opened.wait()
        return None

    def open(self) -> None:
        self._opened.set()


@pytest.fixture(scope="module")
def installation(postgres: Postgres, redis: Redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation with a beat and without a worker; short leases, so that a lost worker is noticed soon."""
    production = Installation(
        tmp_path_factory.mktemp("installation"),
        database_url=postgres.url,
        redis_url=redis.url,
        JOB_LEASE_SECONDS="5",
        VISIBILITY_TIMEOUT="10",
    )
    production.start_beat()
    yield production
    production.stop()


@pytest.fixture
def worker(installation: Installation) -> Iterator[Process]:
    process = installation.start_worker()
    yield process
    process.kill()


@pytest.fixture(scope="module")
def corpus(s3: S3Process) -> str:
    """A bucket of many small images, laid out as a registry does."""
    bucket = s3.make_bucket("corpus")
    root = "docker/registry/v2"

    def push(number: int) -> None:
        config = json.dumps({"architecture": "amd64", "os": "linux", "number": number}).encode()
        media_type = "application/vnd.oci.image"
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": f"{media_type}.manifest.v1+json",
                "config": {
                    "mediaType": f"{media_type}.config.v1+json",
                    "digest": digest_of(config),
                    "size": len(config),
                },
                "layers": [],
            }
        ).encode()
        repository = f"{root}/repositories/team/app-{number % 10}"
        for content in (config, manifest):
            name = digest_of(content).removeprefix("sha256:")
            s3.client.put_object(Bucket=bucket, Key=f"{root}/blobs/sha256/{name[:2]}/{name}/data", Body=content)
        for link in (f"revisions/sha256/{name}", f"tags/{number}/current", f"tags/{number}/index/sha256/{name}"):
            key = f"{repository}/_manifests/{link}/link"
            s3.client.put_object(Bucket=bucket, Key=key, Body=digest_of(manifest).encode())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(push, range(IMAGES)))
    return bucket


def wait_for_end(installation: Installation, job_id: int) -> dict[str, Any]:
    """Wait until the job has ended and return it."""
    with psycopg.connect(installation.env["DATABASE_URL"], autocommit=True) as connection:

        def state() -> str:
            row = connection.execute("SELECT state FROM dashboard_job WHERE id = %s", [job_id]).fetchone()
            assert row
            return str(row[0])

        wait_for(lambda: state() not in ("pending", "running"), f"the end of job {job_id}", TIMEOUT, interval=0.2)
    ended: dict[str, Any] = installation.step(STEPS, "job", job_id=job_id)
    return ended


def kill_at(gate: Gate, worker: Process, installation: Installation, job_id: int) -> None:
    """Kill the worker when the gate holds its requests: in the middle of the work, by no clock."""
    assert gate.reached.wait(60), f"the worker never came to the gate:\n{worker.output()[-3000:]}"
    worker.kill()
    assert installation.step(STEPS, "job", job_id=job_id)["state"] == "running"
    gate.open()


@pytest.fixture(scope="module")
def undisturbed(installation: Installation, corpus: str, s3: S3Process) -> dict[str, Any]:
    """The catalog of the corpus, scanned by a worker that nobody killed."""
    installation.step(STEPS, "add_registry", slug="undisturbed", endpoint=s3.endpoint, bucket=corpus)
    process = installation.start_worker()
    job = wait_for_end(installation, installation.step(STEPS, "start_scan", slug="undisturbed"))
    process.stop()
    assert job["state"] == "succeeded", job["error"]
    found: dict[str, Any] = installation.step(STEPS, "catalog", slug="undisturbed")
    return found


def test_a_worker_scans_on_postgres_and_redis(undisturbed: dict[str, Any]) -> None:
    scan = undisturbed["scan"]

    assert (scan["repositories"], scan["tags"], scan["manifests"]) == (10, IMAGES, IMAGES)
    assert len(undisturbed["blobs"]) == 2 * IMAGES
    assert scan["problems"] == []


@pytest.mark.parametrize(
    ("slug", "wanted", "free"),
    [
        pytest.param("listing", lambda method, path: "list-type=2" in path, 12, id="while it lists"),
        pytest.param("reading", lambda method, path: path.endswith("/data"), 240, id="while it reads manifests"),
    ],
)
def test_a_scan_whose_worker_was_killed_ends_as_if_nothing_had_been(
    installation: Installation,
    undisturbed: dict[str, Any],
    worker: Process,
    corpus: str,
    s3: S3Process,
    slug: str,
    wanted: Callable[[str, str], bool],
    free: int,
) -> None:
    gate = Gate(wanted, free)
    with Proxy(s3.endpoint, answer=gate) as proxy:
        installation.step(STEPS, "add_registry", slug=slug, endpoint=proxy.endpoint, bucket=corpus)
        job_id = installation.step(STEPS, "start_scan", slug=slug)
        kill_at(gate, worker, installation, job_id)

        second = installation.start_worker()
        job = wait_for_end(installation, job_id)
        second.stop()

    assert job["state"] == "succeeded", job["error"]
    assert max(shard["attempts"] for shard in job["shards"]) >= 2
    assert installation.step(STEPS, "catalog", slug=slug) == undisturbed


def test_an_import_whose_worker_was_killed_publishes_the_whole_image_and_leaves_no_upload(
    installation: Installation, worker: Process, s3: S3Process, bucket: str, tmp_path: Path
) -> None:
    layout = OciLayout(tmp_path / "layout")
    layout.image("app", layer("big", 22 * 2**20))
    archive = tmp_path / "app.tar"
    copy_image(layout.source("app"), f"oci-archive:{archive}:app")
    gate = Gate(lambda method, path: method == "PUT" and "partNumber=" in path, 2)
    with Proxy(s3.endpoint, answer=gate) as proxy:
        installation.step(STEPS, "add_registry", slug="import", endpoint=proxy.endpoint, bucket=bucket)
        arguments = {"slug": "import", "archive": str(archive), "reference": "team/app:1"}
        job_id = installation.step(STEPS, "start_import", **arguments)
        kill_at(gate, worker, installation, job_id)
        assert len(s3.uploads(bucket)) == 1

        second = installation.start_worker()
        job = wait_for_end(installation, job_id)
        second.stop()

    assert job["state"] == "succeeded", job["error"]
    assert s3.uploads(bucket) == {}
    docker = DockerRegistry(tmp_path, s3.endpoint, bucket)
    pulled = pull(docker.host, "team/app", "1", tmp_path / "pulled")
    docker.stop()
    assert pulled.contents() == layout.closure("app")
