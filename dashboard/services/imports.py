"""Taking image archives in: into the spool, then a job that uploads them."""

from __future__ import annotations

from typing import BinaryIO, cast

from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.files.base import File
from django.template.defaultfilters import filesizeformat

from dashboard.access import require
from dashboard.jobs import KINDS
from dashboard.jobs.base import JobError
from dashboard.jobs.import_archive import choose_targets
from dashboard.models import Archive, Job, Registry
from dashboard.services import jobs
from storagedriver.layout import gzips
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
    check_archive(upload, target)
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


def check_reference(text: str) -> Reference | None:
    """Return the parsed `repository:tag`, None for an empty text. Raises ValidationError for the field `reference`."""
    if not text:
        return None
    try:
        reference = Reference.parse(text)
    except LayoutError as error:
        raise ValidationError({"reference": str(error)}) from error
    if not reference.tag or reference.digest:
        raise ValidationError({"reference": "Give a repository and a tag, for example team/api:1.0."})
    return reference


def check_archive(upload: File[bytes], target: Reference | None) -> None:
    """Look at the archive's table of contents; the job checks every digest. Raises ValidationError by field.

    An archive compressed as a whole is left to the job: unpacking it would keep the browser waiting.
    """
    if upload.read(2) == gzips.MAGIC[:2]:
        return
    try:
        with open_archive(cast(BinaryIO, upload)) as archive:
            choose_targets(archive.references, str(target or ""))
    except JobError as error:
        raise ValidationError({"reference": str(error)}) from error
    except LayoutError as error:
        raise ValidationError({"archive": str(error)}) from error
    finally:
        upload.seek(0)
