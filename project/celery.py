"""The Celery application. Messages carry row ids only; the Job and Shard rows are the truth (docs/architecture.md).

A worker refuses to start when a system check finds an error: Celery itself runs the checks and ignores their answer.
"""

from __future__ import annotations

import os

import django
from celery import Celery
from celery.signals import worker_init
from django.core.management import CommandError, call_command

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

app = Celery("wharfinger")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_init.connect
def refuse_what_is_unsafe(**_: object) -> None:
    """End the process with the checks' sentences; an ordinary exception would be logged and passed over."""
    django.setup()
    try:
        call_command("check", verbosity=0)
    except CommandError as error:
        raise SystemExit(str(error)) from None
