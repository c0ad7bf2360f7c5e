"""Jobs: the list, one job with its progress, cancel and retry."""

from __future__ import annotations

from typing import Any, cast

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from dashboard.access import job_for
from dashboard.forms.filters import JobFilter
from dashboard.jobs import KINDS
from dashboard.models import Job, Role
from dashboard.selectors import jobs as selectors
from dashboard.selectors.shell import Shell
from dashboard.services import jobs

STOP_POLLING = 286  # htmx ends its polling at this status


@require_safe
def job_list(request: HttpRequest) -> HttpResponse:
    """The jobs of the visitor's registries, newest first."""
    values = JobFilter(request.GET).values
    context = {
        "page": selectors.job_page(request.user, **values),
        "states": Job.State.choices,
        "kinds": [(name, kind.title) for name, kind in KINDS.items()],
        **values,
    }
    return render(request, "dashboard/job_list.html", context)


@require_safe
def job_detail(request: HttpRequest, pk: int) -> HttpResponse:
    """One job; while it is active the progress part renews itself."""
    return render(request, "dashboard/job_detail.html", job_context(request, pk))


@never_cache
@require_safe
def job_progress(request: HttpRequest, pk: int) -> HttpResponse:
    """The part of a job's page that changes, for htmx; its status ends the polling once the job has ended."""
    context = job_context(request, pk)
    ended = not context["job"].is_active
    context["replace_head"] = True
    return render(request, "dashboard/_job_progress.html", context, status=STOP_POLLING if ended else 200)


def job_context(request: HttpRequest, pk: int) -> dict[str, Any]:
    """Return what the templates of a job show."""
    job = job_for(request.user, pk)
    kind = KINDS.get(job.kind)
    return {
        "job": job,
        "kind": kind,
        "registry": job.registry,
        "shell": Shell(request, job.registry.slug),
        "report": selectors.job_report(job),
        "events": selectors.job_events(job),
        "run_time": selectors.run_time(job),
        "may_control": kind is not None
        and jobs.may_run(registry=job.registry, kind=job.kind, actor=cast("User", request.user)),
        "needed_role": Role(kind.role).label.lower() if kind else "",
        # A kind without a panel of its own shows its result as names and values.
        "result_templates": [f"dashboard/results/_{job.kind}.html", "dashboard/results/_plain.html"],
    }


@require_POST
def job_cancel(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask a job to stop."""
    job = job_for(request.user, pk)
    try:
        jobs.cancel(job=job, actor=cast("User", request.user))
    except jobs.JobRefused as refusal:
        messages.warning(request, str(refusal))
    return redirect(job)


@require_POST
def job_retry(request: HttpRequest, pk: int) -> HttpResponse:
    """Take a failed or cancelled job up where it stopped."""
    job = job_for(request.user, pk)
    try:
        jobs.retry(job=job, actor=cast("User", request.user))
    except jobs.JobRefused as refusal:
        messages.warning(request, str(refusal))
    return redirect(job)
