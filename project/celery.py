"""The Celery application. Messages carry row ids only; the Job and Shard rows are the truth (docs/architecture.md)."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

app = Celery("wharfinger")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
