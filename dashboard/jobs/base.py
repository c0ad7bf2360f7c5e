"""What a kind of job provides, and what it is handed while a shard runs."""

from __future__ import annotations

import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import timedelta
from functools import cached_property
from typing import Any, ClassVar

from django.conf import settings
from django.utils import timezone

from dashboard.models import Job, JobEvent, Registry, Role, Shard
from storagedriver import S3Driver, clients

PULSE_SECONDS = 1.0
MAX_EVENTS = 1000  # lines kept of one job's log
RECONFIGURED = "The registry's configuration changed after this job was made. Start it again."


class JobError(Exception):
    """The job cannot go on; the message is for the user and says what to do."""


class Cancelled(Exception):  # noqa: N818 - a signal, not an error
    """Somebody asked the job to stop."""


class LeaseLost(Exception):  # noqa: N818 - a signal, not an error
    """Another worker holds the shard now, or the job has ended: stop without side effects."""


def lease() -> timedelta:
    """Return how long a shard belongs to a worker that gives no sign of life."""
    return timedelta(seconds=settings.JOB_LEASE_SECONDS)


class ShardRun:
    """One run of a shard under its lease. Use it from one thread only: its pulse writes to the database."""

    def __init__(self, shard: Shard, token: uuid.UUID, observe: Callable[[Shard], None] | None = None) -> None:
        self.shard = shard
        self.job: Job = shard.job
        self.registry: Registry = shard.job.registry
        self.parameters: dict[str, Any] = shard.parameters
        self.result: dict[str, Any] = shard.result
        self._token = token
        self._observe = observe
        self._earlier_requests: dict[str, int] = dict(shard.requests)
        self._pulsed = time.monotonic()

    @cached_property
    def driver(self) -> S3Driver:
        """The registry's driver, with a request count of its own."""
        return self.registry.open_driver()

    def expect(self, total: int | None = None, bytes_total: int | None = None) -> None:
        """Say how much there is to do, once it is known."""
        self.shard.total = total if total is not None else self.shard.total
        self.shard.bytes_total = bytes_total if bytes_total is not None else self.shard.bytes_total

    def restart(self) -> None:
        """Count from zero: an earlier run of this shard was lost and this one begins anew."""
        self.shard.done = self.shard.bytes_done = 0

    def advance(self, done: int = 0, bytes_done: int = 0) -> None:
        """Count work done; at most once a second write it, extend the lease and look whether to stop.

        Raises Cancelled or LeaseLost.
        """
        self.shard.done += done
        self.shard.bytes_done += bytes_done
        if time.monotonic() - self._pulsed >= PULSE_SECONDS:
            self.pulse()

    def save(self, cursor: dict[str, Any]) -> None:
        """Keep the place from which a later run goes on."""
        self.shard.cursor = cursor
        self.pulse()

    def pulse(self) -> None:
        """Write progress and extend the lease now.

        Raises Cancelled, LeaseLost, or JobError when the registry was changed: what goes on would go to the old place.
        """
        self._pulsed = time.monotonic()
        rows = self.held().update(lease_expires=timezone.now() + lease(), **self.progress())
        if not rows:
            raise LeaseLost
        columns = ("state", "cancel_requested", "registry__revision")
        state, cancel_requested, revision = Job.objects.values_list(*columns).get(pk=self.job.pk)
        if cancel_requested:
            raise Cancelled
        if state != Job.State.RUNNING:
            raise LeaseLost
        if revision != self.job.revision:
            raise JobError(RECONFIGURED)
        if self._observe:
            self._observe(self.shard)

    def held(self) -> Any:
        """Return the query set of this shard's row, empty once the lease is lost: every write goes through it."""
        return Shard.objects.filter(pk=self.shard.pk, state=Shard.State.RUNNING, lease_token=self._token)

    def progress(self) -> dict[str, Any]:
        """Return the columns that a pulse writes."""
        return {
            "done": self.shard.done,
            "total": self.shard.total,
            "bytes_done": self.shard.bytes_done,
            "bytes_total": self.shard.bytes_total,
            "cursor": self.shard.cursor,
            "requests": self.requests(),
            "result": self.result,
        }

    def requests(self) -> dict[str, int]:
        """Return the S3 requests of this shard by operation, those of lost runs included."""
        counts = dict(self._earlier_requests)
        if "driver" in self.__dict__:
            for operation, number in self.driver.requests.items():
                counts[operation] = counts.get(operation, 0) + number
        return counts

    def silence(self) -> float:
        """Return the seconds since the last pulse: how long this run may have been waiting for S3."""
        return time.monotonic() - self._pulsed

    def sever(self) -> None:
        """Cut the connections that this run waits on. The only method that another thread may call, with `silence`."""
        if driver := self.__dict__.get("driver"):
            clients.sever(driver.client)

    def log(self, message: str, level: JobEvent.Level = JobEvent.Level.INFO) -> None:
        """Add a line to the job's log, up to its limit."""
        if JobEvent.objects.filter(job=self.job).count() < MAX_EVENTS:
            JobEvent.objects.create(job=self.job, level=level, message=message)


class JobKind(ABC):
    """A kind of job. Its methods may be called again after a worker was lost, so each must be safe to repeat.

    Shards are planned phase by phase: those of a phase once all of the phase before are done.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    summary: ClassVar[str]
    role: ClassVar[Role]
    phases: ClassVar[tuple[str, ...]]
    exclusive: ClassVar[bool] = True
    unit: ClassVar[str] = "objects"
    patience: ClassVar[float] = 600  # seconds without progress after which a shard is given up

    @abstractmethod
    def plan(self, job: Job, phase: int) -> list[Shard]:
        """Return the unsaved shards of a phase (label, parameters, total); none skips the phase. Writes nothing."""

    @abstractmethod
    def run(self, run: ShardRun) -> None:
        """Do one shard, from its cursor on. Raise JobError to end the job with a message."""

    def finish(self, job: Job) -> dict[str, Any]:
        """Return what the job found, as JSON, once all phases are done."""
        return {}
