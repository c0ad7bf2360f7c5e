"""Unfinished uploads."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from django.db.models import Count, Sum
from django.utils import timezone

from dashboard.models import Registry, UploadSession
from dashboard.selectors.paging import KeysetPage, keyset_page

MAX_CHOSEN = 1000  # sessions of one job that a page starts


def upload_page(registry: Registry, older_than_hours: int, at: str = "") -> tuple[KeysetPage, int, int]:
    """Return a page of the sessions untouched for that long, oldest first, and the number and bytes of all of them."""
    limit = timezone.now() - timedelta(hours=older_than_hours)
    rows = UploadSession.objects.filter(registry=registry, last_activity__lte=limit)
    totals = rows.order_by().aggregate(number=Count("pk"), bytes=Sum("size"))
    return keyset_page(rows, ["last_activity", "id"], at), totals["number"], totals["bytes"] or 0


def chosen_uploads(registry: Registry, keys: Iterable[str]) -> list[UploadSession]:
    """Return the registry's sessions among the chosen keys, oldest first; strange and foreign keys are none of them."""
    numbers = [int(key) for key in keys if key.isascii() and key.isdigit() and len(key) < 19][:MAX_CHOSEN]
    return list(UploadSession.objects.filter(registry=registry, pk__in=numbers).order_by("last_activity", "pk"))
