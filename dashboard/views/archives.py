"""Importing an image archive."""

from __future__ import annotations

from typing import Any, cast

from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_http_methods

from dashboard.access import registry_for
from dashboard.forms.archives import ArchiveForm
from dashboard.models import Registry, Role
from dashboard.services import imports, jobs

FORM_BYTES = 2**20  # what a form takes beside its file


@csrf_exempt  # and protected below: the token stands in the body, which nobody without the role may make us spool
@require_http_methods(["GET", "HEAD", "POST"])
def archive_upload(request: HttpRequest, slug: str) -> HttpResponse:
    """Take in an archive and show the job that imports it. Role and size are checked before the body is read."""
    registry = registry_for(request.user, slug, Role.OPERATOR)
    if int(request.META.get("CONTENT_LENGTH") or 0) > settings.ARCHIVE_MAX_BYTES + FORM_BYTES:
        form = ArchiveForm({})
        form.errors.clear()
        form.add_error("archive", f"This file is too large: the limit is {settings.ARCHIVE_MAX_BYTES:,} bytes.")
        return show(request, registry, form, status=413)
    response: HttpResponse = receive(request, registry)
    return response


@csrf_protect
def receive(request: HttpRequest, registry: Registry) -> HttpResponse:
    """Read the form; what the service finds wrong is shown beside its field."""
    if request.method != "POST":
        return show(request, registry, ArchiveForm(initial={"reference": request.GET.get("reference", "")}))
    form = ArchiveForm(request.POST, request.FILES)
    if not form.is_valid():
        return show(request, registry, form, status=422)
    try:
        job = imports.receive_archive(
            registry=registry,
            actor=cast("User", request.user),
            upload=cast("UploadedFile[Any]", form.cleaned_data["archive"]),
            reference=form.cleaned_data["reference"],
        )
    except ValidationError as error:
        form.add_error(None, error)
        return show(request, registry, form, status=422)
    except jobs.JobRefused as refusal:
        form.add_error(None, str(refusal))
        return show(request, registry, form, status=409)
    return redirect(job)


def show(request: HttpRequest, registry: Registry, form: ArchiveForm, status: int = 200) -> HttpResponse:
    """Render the form."""
    context = {"registry": registry, "form": form, "limit": settings.ARCHIVE_MAX_BYTES}
    return render(request, "dashboard/archive_upload.html", context, status=status)
