"""Runs jobs: claims shards under leases, moves jobs through their phases, ends each exactly once.

Every change of state is one guarded update whose row count decides, so a message may come twice, late or never.
SQLite and PostgreSQL behave alike because no row is locked and no filter of such an update joins.
"""

from __future__ import annotations

import logging
import random
import socket
import time
import uuid
from collections.abc import Callable
from datetime import timedelta

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone

from dashboard import dispatch, jobs
from dashboard.jobs.base import RECONFIGURED, Cancelled, JobError, LeaseLost, ShardRun, lease
from dashboard.jobs.ending import end, fail, settle_cancel
from dashboard.jobs.keeper import kept
from dashboard.models import Archive, Job, JobEvent, Shard
from storagedriver import ParameterErrors
from storagedriver.errors import Kind, StorageDriverError, classify

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 5
BACKOFF = timedelta(seconds=5)
MAX_BACKOFF = timedelta(minutes=5)
RESEND_AFTER = timedelta(seconds=30)
RESEND_AT_ONCE = 200  # messages of one tick: the embedded broker slows down with thousands waiting
KEEP_ARCHIVES = timedelta(hours=24)  # of jobs that did not succeed, for a retry


def advance(job_id: int) -> None:
    """Begin a pending job, plan the next phase of one whose shards are done, or end it. Safe to repeat."""
    now = timezone.now()
    Job.objects.filter(pk=job_id, state=Job.State.PENDING).update(state=Job.State.RUNNING, started=now, touched=now)
    job = Job.objects.select_related("registry", "requested_by").filter(pk=job_id, state=Job.State.RUNNING).first()
    if job is None or job.remaining:
        return
    if job.cancel_requested:
        settle_cancel(job.pk)
        return
    kind = jobs.KINDS[job.kind]
    if job.phase == len(kind.phases):
        result = job.shards.get(phase=job.phase).result
        end(job.pk, Job.State.SUCCEEDED, result=result)
        return
    try:
        check_allowed(job)
        phase, shards = _plan(job)
    except Exception as error:  # noqa: BLE001 - whatever stops the planning is told on the job's page
        fail(job.pk, describe(error, job))
        return
    with transaction.atomic():
        mine = Job.objects.filter(pk=job.pk, state=Job.State.RUNNING, phase=job.phase, remaining=0)
        if not mine.update(phase=phase, remaining=len(shards), touched=now):
            return  # somebody else planned it
        for index, shard in enumerate(shards):
            shard.job, shard.phase, shard.index, shard.sent = job, phase, index, now
        Shard.objects.bulk_create(shards)
        for shard in shards[:RESEND_AT_ONCE]:
            dispatch.send("jobs.run_shard", shard.pk)
        Shard.objects.filter(pk__in=[shard.pk for shard in shards[RESEND_AT_ONCE:]]).update(sent=None)


def _plan(job: Job) -> tuple[int, list[Shard]]:
    """Return the next phase that has shards; after the last one comes the shard that runs `finish`."""
    kind = jobs.KINDS[job.kind]
    for phase in range(job.phase + 1, len(kind.phases)):
        if shards := kind.plan(job, phase):
            return phase, shards
    return len(kind.phases), [Shard(label="Finish")]


def run_shard(shard_id: int, observe: Callable[[Shard], None] | None = None) -> None:
    """Run the shard if it can be claimed; afterwards it is done, failed, cancelled or due again."""
    run = claim(shard_id, observe)
    if run is None:
        return
    kind = jobs.KINDS[run.job.kind]
    try:
        if run.shard.attempts > MAX_ATTEMPTS:
            raise JobError(
                f"A worker was lost {MAX_ATTEMPTS} times at this step. Look at the workers' memory and logs."
            )
        check_allowed(run.job)
        with kept(run, kind.patience):
            if run.shard.phase == len(kind.phases):
                run.result = kind.finish(run.job)
            else:
                kind.run(run)
        _complete(run)
    except LeaseLost:
        logger.info("%s was taken over or its job has ended", run.shard)
    except Cancelled:
        run.held().update(state=Shard.State.CANCELLED, lease_token=None)
        settle_cancel(run.job.pk)
    except Exception as error:  # noqa: BLE001 - whatever stops a shard is told on the job's page
        _retry_or_fail(run, error)


def claim(shard_id: int, observe: Callable[[Shard], None] | None = None) -> ShardRun | None:
    """Take the shard's lease: if it waits and is due, or if its holder gave no sign of life. None if not to be had."""
    now, token = timezone.now(), uuid.uuid4()
    due = Q(state=Shard.State.PENDING) & (Q(not_before=None) | Q(not_before__lte=now))
    abandoned = Q(state=Shard.State.RUNNING, lease_expires__lt=now)
    running = Job.objects.filter(pk=OuterRef("job_id"), state=Job.State.RUNNING, cancel_requested=None)
    # Exists, not a join: PostgreSQL checks the outer row again after waiting for a rival, a joined sub-query not.
    rows = Shard.objects.filter(due | abandoned, Exists(running), pk=shard_id).update(
        state=Shard.State.RUNNING,
        lease_token=token,
        lease_expires=now + lease(),
        attempts=F("attempts") + 1,
        worker=socket.gethostname()[:100],
        error="",
    )
    if not rows:
        return None
    shard = Shard.objects.select_related("job__registry", "job__requested_by").get(pk=shard_id)
    return ShardRun(shard, token, observe)


def check_allowed(job: Job) -> None:
    """Raise JobError when the registry changed since the job was made or the requester lost the role for it."""
    if job.revision != job.registry.revision:
        raise JobError(RECONFIGURED)
    role = jobs.KINDS[job.kind].role
    if job.requested_by and not job.registry.allows(job.requested_by, role):
        raise JobError(f"{job.requested_by} is no longer {role.label.lower()} of {job.registry}.")


def _complete(run: ShardRun) -> None:
    """Mark the shard done and count it off its job, both or neither. Raises LeaseLost."""
    with transaction.atomic():
        progress = run.progress()
        if not run.held().update(state=Shard.State.SUCCEEDED, lease_token=None, lease_expires=None, **progress):
            raise LeaseLost
        Job.objects.filter(pk=run.job.pk, state=Job.State.RUNNING).update(remaining=F("remaining") - 1)
        if Job.objects.filter(pk=run.job.pk, state=Job.State.RUNNING, remaining=0).exists():
            dispatch.send("jobs.advance", run.job.pk)


def _retry_or_fail(run: ShardRun, error: Exception) -> None:
    message = describe(error, run.job)
    if classify(error) == Kind.TRANSIENT and run.shard.attempts < MAX_ATTEMPTS:
        wait = min(BACKOFF * 2 ** (run.shard.attempts - 1), MAX_BACKOFF) * random.uniform(0.5, 1)  # noqa: S311 - jitter
        due = timezone.now() + wait
        if run.held().update(
            state=Shard.State.PENDING,
            lease_token=None,
            not_before=due,
            sent=None,
            error=message,
            requests=run.requests(),
        ):
            run.log(f"{message} Trying again in {wait.total_seconds():.0f} s.", JobEvent.Level.WARNING)
        return
    if run.held().update(state=Shard.State.FAILED, lease_token=None, error=message, requests=run.requests()):
        fail(run.job.pk, message)


def describe(error: Exception, job: Job) -> str:
    """Return the sentence a user reads. What nobody foresaw goes to the log in full and is named by the job only."""
    if isinstance(error, ParameterErrors):
        return f"The settings of {job.registry} are refused: {error.detail}. Edit the registry."
    if isinstance(error, StorageDriverError):
        return error.detail
    if isinstance(error, JobError):
        return str(error)
    logger.error("job %d (%s) failed", job.pk, job.kind, exc_info=error)
    return f"Unexpected {type(error).__name__}. The worker's log has the details under job {job.pk}."


def tick() -> None:
    """Send again what nobody works on, settle what was abandoned, drop old archives. Any number of beats may call it."""
    now = timezone.now()
    lost = now - RESEND_AFTER
    for job_id in Job.objects.filter(state=Job.State.PENDING, touched__lt=lost).values_list("pk", flat=True):
        dispatch.send("jobs.advance", job_id)
    idle = Job.objects.filter(state=Job.State.RUNNING, remaining=0, touched__lt=lost)
    for job_id in idle.values_list("pk", flat=True):
        dispatch.send("jobs.advance", job_id)
    for job_id in Job.objects.active().exclude(cancel_requested=None).values_list("pk", flat=True):
        Shard.objects.filter(job_id=job_id, state=Shard.State.RUNNING, lease_expires__lt=now).update(
            state=Shard.State.CANCELLED, lease_token=None
        )
        settle_cancel(job_id)
    due = Q(state=Shard.State.PENDING) & (Q(not_before=None) | Q(not_before__lte=now))
    abandoned = Q(state=Shard.State.RUNNING, lease_expires__lt=now)
    unsent = Q(sent=None) | Q(sent__lt=lost)
    waiting = Shard.objects.filter(due & unsent | abandoned, job__state=Job.State.RUNNING, job__cancel_requested=None)
    for shard_id in list(waiting.order_by("pk").values_list("pk", flat=True)[:RESEND_AT_ONCE]):
        Shard.objects.filter(pk=shard_id).update(sent=now)
        dispatch.send("jobs.run_shard", shard_id)
    in_use = [
        str(key) for key in Job.objects.active().filter(kind="import").values_list("parameters__archive", flat=True)
    ]
    for archive in Archive.objects.filter(created__lt=now - KEEP_ARCHIVES).exclude(pk__in=in_use):
        archive.delete()


def run_here(job: Job, observe: Callable[[Shard], None] | None = None) -> Job:
    """Run the job to its end in this process, without a broker; return it refreshed. An interrupt cancels it cleanly."""
    with dispatch.held():
        try:
            while True:
                advance(job.pk)
                job.refresh_from_db()
                if not job.is_active:
                    return job
                waiting = job.shards.filter(state__in=[Shard.State.PENDING, Shard.State.RUNNING])
                for shard_id in list(waiting.values_list("pk", flat=True)):
                    run_shard(shard_id, observe)
                if waiting.exists():  # backing off, or in the hands of a worker
                    time.sleep(0.5)
        except KeyboardInterrupt:
            Job.objects.filter(pk=job.pk).update(cancel_requested=timezone.now())
            job.shards.filter(state=Shard.State.RUNNING).update(state=Shard.State.CANCELLED, lease_token=None)
            settle_cancel(job.pk)
            raise
