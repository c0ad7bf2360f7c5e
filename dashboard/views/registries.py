"""The overview, and the registries."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from dashboard.access import registry_for
from dashboard.jobs import KINDS
from dashboard.models import Job, Role
from dashboard.selectors import ledger
from dashboard.selectors import overview as selectors
from dashboard.selectors.jobs import latest_jobs
from dashboard.selectors.shell import Shell
from dashboard.services import jobs

LATEST_JOBS = 8
SHOWN_ALERTS = 5


@require_safe
def overview(request: HttpRequest) -> HttpResponse:
    """All that the visitor may see, in figures, and what wants attention."""
    shell = Shell(request)
    cards = selectors.registry_cards(request.user, shell.registries)
    alerts = selectors.alerts(cards)
    own = [card for card in cards if not card.registry.is_demo]
    context = {
        "cards": cards,
        "totals": selectors.totals(cards),
        "alerts": alerts[:SHOWN_ALERTS],
        "more_alerts": max(0, len(alerts) - SHOWN_ALERTS),
        "jobs": latest_jobs(Job.objects.visible_to(request.user), LATEST_JOBS),
        "first": own[0] if own else None,
        "is_first_run": not any(card.scan for card in own),
        "shell": shell,
    }
    return render(request, "dashboard/overview.html", context)


@require_safe
def registry_list(request: HttpRequest) -> HttpResponse:
    """The registries with their storage and their last results."""
    shell = Shell(request)
    cards = selectors.registry_cards(request.user, shell.registries)
    return render(request, "dashboard/registry_list.html", {"cards": cards, "shell": shell})


@require_safe
def registry_detail(request: HttpRequest, slug: str) -> HttpResponse:
    """One registry: figures, ledger, last checks, problems."""
    registry = registry_for(request.user, slug)
    shell = Shell(request)
    card = selectors.registry_card(registry, shell.registry.role if shell.registry else 0)
    context = {
        "registry": registry,
        "card": card,
        "segments": ledger.segments(card.scan.ledger) if card.scan else [],
        "jobs": latest_jobs(Job.objects.filter(registry=registry), LATEST_JOBS),
        "shell": shell,
    }
    return render(request, "dashboard/registry_detail.html", context)


@require_POST
def scan_start(request: HttpRequest, slug: str) -> HttpResponse:
    """Start a scan and go to its page."""
    return start_and_show(request, slug, "scan")


@require_POST
def check_start(request: HttpRequest, slug: str) -> HttpResponse:
    """Start a connection test and go to its page."""
    return start_and_show(request, slug, "check")


def start_and_show(request: HttpRequest, slug: str, kind: str) -> HttpResponse:
    """Start a job of a kind; where one runs already, go to that one and say so."""
    registry = registry_for(request.user, slug, Role(KINDS[kind].role))
    try:
        job = jobs.start(kind=kind, registry=registry, actor=request.user)  # type: ignore[arg-type]
    except jobs.JobRefused as refusal:
        messages.warning(request, str(refusal))
        return redirect(refusal.job or registry)
    return redirect(job)
