"""Looks after a shard while its thread waits for S3 and cannot pulse.

A read that hangs times out, but an endpoint that sends a byte now and then never lets it. So a second thread keeps the
lease of a run that is silent, obeys a cancel for it, and gives it up when it made no progress for too long. Then it cuts
the run's connections, which frees the thread; whatever that still writes is refused, because its lease is gone.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DatabaseError, connection
from django.utils import timezone

from dashboard.jobs.base import ShardRun, lease
from dashboard.jobs.ending import fail, settle_cancel
from dashboard.models import Job, Shard

logger = logging.getLogger(__name__)
LOOK_SECONDS = 4.0


@contextmanager
def kept(run: ShardRun, patience: float) -> Iterator[None]:
    """Look after the run inside the block; `patience` is how many seconds without progress it may take."""
    over = threading.Event()
    thread = threading.Thread(target=_keep, args=(run, patience, over), name=f"keeper-{run.shard.pk}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()


def _keep(run: ShardRun, patience: float, over: threading.Event) -> None:
    given_up = False
    try:
        while not over.wait(LOOK_SECONDS):
            if run.silence() < LOOK_SECONDS:
                continue
            try:
                given_up = given_up or not _look_after(run, patience)
            except DatabaseError:
                logger.warning("%s: the keeper could not reach the database", run.shard, exc_info=True)
            if given_up:
                run.sever()  # at each look: the client tries a failed request again
    finally:
        connection.close()


def _look_after(run: ShardRun, patience: float) -> bool:
    """Keep the lease of a silent run, or end it. Say whether it may go on."""
    state, cancel_requested = Job.objects.values_list("state", "cancel_requested").get(pk=run.job.pk)
    if cancel_requested:
        if run.held().update(state=Shard.State.CANCELLED, lease_token=None):
            settle_cancel(run.job.pk)
        return False
    if run.silence() > patience:
        message = (
            f"The storage sent too little for {run.silence():.0f} seconds: its answers never end. "
            "Check the endpoint, and what stands between it and this server."
        )
        if run.held().update(state=Shard.State.FAILED, lease_token=None, error=message):
            fail(run.job.pk, message)
        return False
    return state == Job.State.RUNNING and bool(run.held().update(lease_expires=timezone.now() + lease()))
