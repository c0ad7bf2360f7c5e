"""A run that waits for S3 without end: its lease is kept, a cancel reaches it, and in the end its thread is freed."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from dashboard import jobs
from dashboard.jobs import engine, keeper
from dashboard.jobs.base import JobKind, ShardRun
from dashboard.models import Job, Registry, Role, Shard
from dashboard.services import jobs as services
from tests.dashboard.factories import make_registry

pytestmark = pytest.mark.django_db(transaction=True)


class Drip(socketserver.BaseRequestHandler):
    """Answers 200 and then one byte at a time, for ever; no single read ever times out."""

    def handle(self) -> None:
        self.server.asked.set()  # type: ignore[attr-defined]
        self.request.recv(65536)
        self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: 1000000\r\n\r\n")
        try:
            while True:
                self.request.sendall(b" ")
                time.sleep(0.05)
        except OSError:
            return


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Drip) as server:
        server.asked = threading.Event()  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def registry(server: Server) -> Registry:
    return make_registry("drip", region_endpoint=f"http://127.0.0.1:{server.server_address[1]}")


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "LOOK_SECONDS", 0.1)


@contextmanager
def meanwhile(act: Any) -> Iterator[None]:
    """Run something beside the block, with a database connection of its own."""

    def run() -> None:
        try:
            act()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join()


@pytest.mark.parametrize("kind", ["check", "scan"])
def test_a_dripping_endpoint_ends_the_job_and_frees_its_thread(
    registry: Registry, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(jobs.KINDS[kind]), "patience", 0.5)
    job = engine.run_here(services.start(kind=kind, registry=registry, actor=None))
    assert job.state == Job.State.FAILED
    assert "answers never end" in job.error


def test_a_cancel_reaches_a_run_that_waits(registry: Registry, server: Server) -> None:
    job = services.start(kind="scan", registry=registry, actor=None)

    def cancel() -> None:
        server.asked.wait(30)  # type: ignore[attr-defined]
        Job.objects.filter(pk=job.pk).update(cancel_requested=timezone.now())

    with meanwhile(cancel):
        job = engine.run_here(job)
    assert job.state == Job.State.CANCELLED


class Silent(JobKind):
    """Waits, without a pulse, until its lease was extended."""

    name = "silent"
    title = "Silent"
    summary = "Says nothing."
    role = Role.OPERATOR
    phases = ("Wait",)

    def plan(self, job: Job, phase: int) -> list[Shard]:
        return [Shard()]

    def run(self, run: ShardRun) -> None:
        first = Shard.objects.get(pk=run.shard.pk).lease_expires
        assert first
        give_up = time.monotonic() + 30
        while Shard.objects.get(pk=run.shard.pk).lease_expires == first:
            assert time.monotonic() < give_up
            time.sleep(0.05)
        run.result["second_claim"] = engine.claim(run.shard.pk) is not None


def test_a_silent_run_keeps_its_lease(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(jobs.KINDS, "silent", Silent())
    job = engine.run_here(services.start(kind="silent", registry=registry, actor=None))
    assert job.state == Job.State.SUCCEEDED, job.error
    assert job.shards.get(phase=0).result == {"second_claim": False}
