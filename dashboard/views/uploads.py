"""Unfinished uploads: choose, confirm, abort."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from dashboard.access import registry_for
from dashboard.forms.filters import STALE_HOURS, UploadFilter
from dashboard.models import Registry, Role
from dashboard.selectors import uploads as selectors
from dashboard.services import jobs

AGES = [(24, "a day"), (STALE_HOURS, "a week"), (720, "30 days"), (0, "any time")]


@require_http_methods(["GET", "HEAD", "POST"])
def upload_list(request: HttpRequest, slug: str) -> HttpResponse:
    """The sessions nobody wrote to for a while. A POST of chosen ones asks once more, then starts the job."""
    if request.method == "POST":
        return abort_chosen(request, registry_for(request.user, slug, Role.OPERATOR))
    registry = registry_for(request.user, slug)
    values = UploadFilter(request.GET).values
    page, number, size = selectors.upload_page(registry, values["older"], values["at"])
    context = {
        "registry": registry,
        "page": page,
        "number": number,
        "bytes": size,
        "older": values["older"],
        "ages": AGES if values["older"] in dict(AGES) else [(values["older"], f"{values['older']} hours"), *AGES],
        "stale_hours": STALE_HOURS,
    }
    return render(request, "dashboard/upload_list.html", context)


def abort_chosen(request: HttpRequest, registry: Registry) -> HttpResponse:
    """Show what was chosen; with `confirmed`, start the job that aborts it."""
    chosen = selectors.chosen_uploads(registry, request.POST.getlist("session"))
    if not chosen:
        messages.warning(request, "Choose at least one upload.")
        return redirect("upload_list", registry.slug)
    if "confirmed" not in request.POST:
        size = sum(session.size for session in chosen)
        context = {"registry": registry, "chosen": chosen, "bytes": size, "stale_hours": STALE_HOURS}
        return render(request, "dashboard/upload_confirm.html", context)
    things = "1 upload" if len(chosen) == 1 else f"{len(chosen)} uploads"
    try:
        job = jobs.start(
            kind="abort_uploads",
            registry=registry,
            actor=request.user,  # type: ignore[arg-type]
            parameters={"sessions": [session.pk for session in chosen]},
            subject=things,
        )
    except jobs.JobRefused as refusal:
        messages.warning(request, str(refusal))
        return redirect(refusal.job or registry)
    return redirect(job)
