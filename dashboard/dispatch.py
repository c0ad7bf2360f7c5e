"""The only producer of messages. A message is a task's name and one row id; losing it costs time, never work.

Messages leave after the transaction commits. When the broker is away the row stays as it is and the tick sends again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial

from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError

logger = logging.getLogger(__name__)
_held: ContextVar[bool] = ContextVar("held", default=False)


def send(task: str, row_id: int) -> None:
    """Send `task(row_id)` once the present transaction has committed; inside `held` nothing is sent."""
    if not _held.get():
        transaction.on_commit(partial(_publish, task, row_id))


@contextmanager
def held() -> Iterator[None]:
    """Keep messages back: a job that runs in the foreground needs no broker."""
    token = _held.set(True)
    try:
        yield
    finally:
        _held.reset(token)


def _publish(task: str, row_id: int) -> None:
    try:
        current_app.send_task(task, args=[row_id])
    except (OperationalError, OSError) as error:
        logger.warning("The broker did not take %s(%d): %s. The next tick sends it.", task, row_id, error)
