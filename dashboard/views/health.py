"""Probes for supervisors and load balancers: no sign-in, no versions, no figures."""

from __future__ import annotations

from celery import current_app
from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

BROKER_TIMEOUT_SECONDS = 2


@login_not_required
@never_cache
@require_safe
def live(request: HttpRequest) -> HttpResponse:
    """Say that this process answers."""
    return HttpResponse("ok", content_type="text/plain")


@login_not_required
@never_cache
@require_safe
def ready(request: HttpRequest) -> HttpResponse:
    """Say whether the database and the broker answer: 200, or 503 with the one that does not."""
    answers = {"database": database_answers(), "broker": broker_answers()}
    words = {name: "ok" if answer else "down" for name, answer in answers.items()}
    return JsonResponse(words, status=200 if all(answers.values()) else 503)


def database_answers() -> bool:
    """Ask the database for the smallest thing."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return False
    return True


def broker_answers() -> bool:
    """Connect to the broker."""
    try:
        with current_app.connection_for_write(connect_timeout=BROKER_TIMEOUT_SECONDS) as broker:
            broker.ensure_connection(max_retries=1, interval_start=0, timeout=BROKER_TIMEOUT_SECONDS)
    except Exception:  # noqa: BLE001 - every transport has errors of its own, and all mean no
        return False
    return True
