"""Jobs as the pages show them: phases with their counts, the rate and what is left, requests, results."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from dashboard.jobs import KINDS
from dashboard.models import Job, JobEvent, Shard
from dashboard.selectors.paging import KeysetPage, keyset_page

PAGE_ROWS = 50
MAX_EVENTS = 200  # newest log lines on the page
ETA_AFTER = timedelta(seconds=30)  # before that a rate says nothing


@dataclass
class Phase:
    """A phase with the sums over its shards. `total` is None while a shard does not know its own."""

    title: str
    state: str
    unit: str
    shards: int = 0
    shards_done: int = 0
    done: int = 0
    total: int | None = 0
    bytes_done: int = 0
    bytes_total: int | None = 0

    @property
    def fraction(self) -> tuple[int, int | None]:
        """The progress as (done, total): in bytes where they are known, else in units, else in shards."""
        if self.bytes_total:
            return self.bytes_done, self.bytes_total
        if self.total:
            return self.done, self.total
        if self.shards > 1:
            return self.shards_done, self.shards
        return 0, None


@dataclass
class JobReport:
    """All that a job's page shows beside the row itself."""

    phases: list[Phase]
    requests: list[tuple[str, int]] = field(default_factory=list)
    workers: list[str] = field(default_factory=list)
    errors: list[tuple[str, str]] = field(default_factory=list)
    retries: int = 0
    rate: float | None = None
    byte_rate: float | None = None
    left: timedelta | None = None

    @property
    def current(self) -> Phase | None:
        """The phase that runs."""
        return next((phase for phase in self.phases if phase.state == Job.State.RUNNING), None)

    @property
    def announcement(self) -> str:
        """What a screen reader should say, the same text for a whole tenth."""
        phase = self.current
        if phase is None:
            return ""
        done, total = phase.fraction
        return f"{phase.title}: {done * 10 // total * 10} %" if total else phase.title


def job_page(user: Any, *, state: str, kind: str, registry: str, at: str) -> KeysetPage:
    """Return a page of the jobs that the user sees, newest first."""
    rows = Job.objects.visible_to(user).select_related("requested_by", "registry").only(*LIST_FIELDS)
    for lookup, value in (("state", state), ("kind", kind), ("registry__slug", registry)):
        if value:
            rows = rows.filter(**{lookup: value})
    return keyset_page(rows, ["-id"], at, PAGE_ROWS)


# Never the registry's secrets: a list needs no decryption.
LIST_FIELDS = [
    "kind", "subject", "state", "created", "started", "finished", "cancel_requested",
    "requested_by__username", "registry__slug", "registry__name",
]  # fmt: skip


def latest_jobs(rows: QuerySet[Job], number: int) -> list[Job]:
    """Return the newest of the jobs, with what a list shows."""
    return list(rows.select_related("requested_by", "registry").only(*LIST_FIELDS).order_by("-id")[:number])


def job_report(job: Job) -> JobReport:
    """Add up the job's shards."""
    kind = KINDS.get(job.kind)
    titles = [*(kind.phases if kind else ()), "Finish"]
    unit = kind.unit if kind else "objects"
    report = JobReport([Phase(title, _phase_state(job, number), unit) for number, title in enumerate(titles)])
    requests: Counter[str] = Counter()
    rows = Shard.objects.filter(job=job).order_by("phase", "index")
    fields = (
        "phase",
        "state",
        "label",
        "done",
        "total",
        "bytes_done",
        "bytes_total",
        "requests",
        "worker",
        "attempts",
        "error",
    )
    for shard in rows.only(*fields):
        requests.update(shard.requests)
        report.retries += max(0, shard.attempts - 1)
        if shard.worker and shard.worker not in report.workers:
            report.workers.append(shard.worker)
        if shard.error:
            report.errors.append((shard.label, shard.error))
        if shard.phase < len(report.phases):
            _add(report.phases[shard.phase], shard)
    report.requests = sorted(requests.items(), key=lambda item: (-item[1], item[0]))
    _estimate(report, job)
    return report


def _phase_state(job: Job, number: int) -> str:
    if number < job.phase or job.state == Job.State.SUCCEEDED:
        return Job.State.SUCCEEDED
    return job.state if number == job.phase else Job.State.PENDING


def _add(phase: Phase, shard: Shard) -> None:
    phase.shards += 1
    phase.shards_done += shard.state == Shard.State.SUCCEEDED
    phase.done += shard.done
    phase.bytes_done += shard.bytes_done
    phase.total = None if phase.total is None or shard.total is None else phase.total + shard.total
    known = phase.bytes_total is not None and shard.bytes_total is not None
    phase.bytes_total = phase.bytes_total + shard.bytes_total if known else None  # type: ignore[operator]


def _estimate(report: JobReport, job: Job) -> None:
    """Fill in the running phase's rate since it began, and the time left once that means something."""
    phase = report.current
    if phase is None:
        return
    began: datetime = job.touched
    span = timezone.now() - began
    seconds = span.total_seconds()
    if seconds < 1:
        return
    report.rate = phase.done / seconds or None
    report.byte_rate = phase.bytes_done / seconds or None
    done, total = phase.fraction
    if span >= ETA_AFTER and total and 0 < done <= total:
        report.left = timedelta(seconds=(total - done) * seconds / done)


def job_events(job: Job) -> list[JobEvent]:
    """Return the newest lines of the log, oldest first."""
    return list(JobEvent.objects.filter(job=job).order_by("-id")[:MAX_EVENTS])[::-1]


def run_time(job: Job) -> timedelta | None:
    """Return how long the job has run, up to its end or now; None before it began."""
    return (job.finished or timezone.now()) - job.started if job.started else None
