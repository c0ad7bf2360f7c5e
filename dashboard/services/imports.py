"""Taking image archives in: into the spool, then a job that uploads them."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.files.base import File
from django.template.defaultfilters import filesizeformat

from dashboard.access import require
from dashboard.jobs import KINDS
from dashboard.models import Archive, Job, Registry
from dashboard.services import jobs
from storagedriver.layout.archives import open_archive
from storagedriver.layout.errors import LayoutError
from storagedriver.layout.references import Reference


def receive_archive(*, registry: Registry, actor: User | None, upload: File[bytes], reference: str = "") -> Job:
    """Spool the archive and start its import. `reference` is `repository:tag`; empty keeps the archive's own names.

    Raises PermissionDenied, and ValidationError by field: `reference`, or `archive` when the file is too large or
    plainly not an image archive. Nothing stays in the spool then.
    """
    if actor is not None:
        require(actor, registry, KINDS["import"].role)
    target = check_reference(reference)
    if upload.size > settings.ARCHIVE_MAX_BYTES:
        limit = filesizeformat(settings.ARCHIVE_MAX_BYTES)
        raise ValidationError({"archive": f"The archive is larger than {limit}, the limit of ARCHIVE_MAX_BYTES."})
    check_names(upload, target)
    archive = Archive(registry=registry, uploaded_by=actor, name=(upload.name or "archive")[:255], size=upload.size)
    archive.file.save("archive", upload, save=False)
    archive.save()
    subject = f"{archive.name} → {target}" if target else archive.name
    return jobs.start(
        kind="import",
        registry=registry,
        actor=actor,
        parameters={"archive": str(archive.pk), "reference": str(target or "")},
        subject=subject,
    )
