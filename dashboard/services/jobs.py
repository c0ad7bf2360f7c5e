"""Starting, cancelling and retrying jobs."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from django.utils import timezone

from dashboard import dispatch
from dashboard.access import require
from dashboard.jobs import KINDS, engine
from dashboard.jobs.ending import settle_cancel
from dashboard.models import Job, JobEvent, Registry, Shard


class JobRefused(Exception):  # noqa: N818 - the field's word is refused
    """A job cannot be started or changed now; the message says why. `job` is the one in the way, if any."""

    def __init__(self, message: str, job: Job | None = None) -> None:
        super().__init__(message)
        self.job = job


def start(
    *,
    kind: str,
    registry: Registry,
    actor: User | None,
    parameters: dict[str, Any] | None = None,
    subject: str = "",
) -> Job:
    """Make a job and wake a worker. `actor` None is the system itself (commands, schedules).

    Raises PermissionDenied below the kind's role and JobRefused while another job of an exclusive kind is active.
    """
    described = KINDS[kind]
    if actor is not None:
        require(actor, registry, described.role)
    try:
        with transaction.atomic():
            job = Job.objects.create(
                registry=registry,
                kind=kind,
                subject=subject[:400],
                parameters=parameters or {},
                requested_by=actor,
                revision=registry.revision,
                exclusive=kind if described.exclusive else "",
            )
            dispatch.send("jobs.advance", job.pk)
    except IntegrityError:
        raise _refused(registry, kind) from None
    return job


def cancel(*, job: Job, actor: User) -> None:
    """Ask an active job to stop: what has not begun will not, what runs stops within seconds and cleans up.

    Raises PermissionDenied, and JobRefused when the job has ended.
    """
    require(actor, job.registry, KINDS[job.kind].role)
    if not Job.objects.filter(pk=job.pk, state__in=Job.ACTIVE).update(cancel_requested=timezone.now()):
        raise JobRefused("This job has already ended.", job)
    JobEvent.objects.create(job=job, message=f"Cancelled by {actor}.")
    Shard.objects.filter(job=job, state=Shard.State.PENDING).update(state=Shard.State.CANCELLED)
    settle_cancel(job.pk)


def retry(*, job: Job, actor: User) -> None:
    """Take up a failed or cancelled job where it stopped, under the registry's present configuration.

    Raises PermissionDenied, and JobRefused when the job did not fail or another one is active.
    """
    require(actor, job.registry, KINDS[job.kind].role)
    if job.state not in (Job.State.FAILED, Job.State.CANCELLED):
        raise JobRefused("Only a failed or cancelled job can be tried again.", job)
    again = Shard.objects.filter(job=job, phase=job.phase).exclude(state=Shard.State.SUCCEEDED)
    now = timezone.now()
    try:
        with transaction.atomic():
            rows = Job.objects.filter(pk=job.pk, state=job.state).update(
                state=Job.State.RUNNING if job.started else Job.State.PENDING,
                remaining=again.count(),
                revision=job.registry.revision,
                requested_by=actor,
                cancel_requested=None,
                finished=None,
                touched=now,
                error="",
            )
            if not rows:
                raise JobRefused("Somebody else has just changed this job.", job)
            again.update(state=Shard.State.PENDING, attempts=0, not_before=None, sent=None, error="", lease_token=None)
            JobEvent.objects.create(job=job, message=f"Tried again by {actor}.")
            for shard_id in again.values_list("pk", flat=True)[: engine.RESEND_AT_ONCE]:
                dispatch.send("jobs.run_shard", shard_id)
            dispatch.send("jobs.advance", job.pk)
    except IntegrityError:
        raise _refused(job.registry, job.kind) from None


def may_run(*, registry: Registry, kind: str, actor: User) -> bool:
    """Say whether the actor may start, cancel and retry jobs of this kind."""
    try:
        require(actor, registry, KINDS[kind].role)
    except PermissionDenied:
        return False
    return True


def _refused(registry: Registry, kind: str) -> JobRefused:
    active = Job.objects.active().filter(registry=registry, exclusive=kind).first()
    where = f" (job {active.pk})" if active else ""
    return JobRefused(
        f"{KINDS[kind].title} is already running for {registry}{where}. Wait for it or cancel it.", active
    )
