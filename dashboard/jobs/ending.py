"""Ends jobs: each once, by a guarded update, whoever asks for it."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from dashboard.models import Job, JobEvent, Shard


def fail(job_id: int, message: str) -> None:
    """End the job as failed; shards that have not begun will not."""
    if end(job_id, Job.State.FAILED, error=message):
        JobEvent.objects.create(job_id=job_id, level=JobEvent.Level.ERROR, message=message)


def settle_cancel(job_id: int) -> None:
    """End a job that somebody cancelled, once no shard of it runs any more."""
    if not Shard.objects.filter(job_id=job_id, state=Shard.State.RUNNING).exists():
        end(job_id, Job.State.CANCELLED)


def end(job_id: int, state: Job.State, **columns: Any) -> bool:
    """Move an active job to an end state, once; say whether it was this call that did."""
    now = timezone.now()
    rows = Job.objects.filter(pk=job_id, state__in=Job.ACTIVE).update(state=state, finished=now, touched=now, **columns)
    if rows and state != Job.State.SUCCEEDED:
        Shard.objects.filter(job_id=job_id, state=Shard.State.PENDING).update(state=Shard.State.CANCELLED)
    return bool(rows)
