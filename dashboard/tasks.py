"""Celery tasks: doorways to the engine. Each takes one row id and may be delivered any number of times."""

from __future__ import annotations

from celery import shared_task

from dashboard.jobs import engine


@shared_task(name="jobs.advance")
def advance(job_id: int) -> None:
    """Begin the job, or its next phase, or end it."""
    engine.advance(job_id)


@shared_task(name="jobs.run_shard")
def run_shard(shard_id: int) -> None:
    """Run one shard, unless somebody else holds it."""
    engine.run_shard(shard_id)


@shared_task(name="jobs.tick")
def tick() -> None:
    """Repair what lost messages and killed workers left, and clear the spool."""
    engine.tick()
