"""Image archives that wait in the spool for a worker."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.core.files.storage import Storage, storages
from django.db import models

from dashboard.querysets import VisibleQuerySet


def spool() -> Storage:
    """Return the spool's storage; a callable, so that no migration holds its settings."""
    return storages["spool"]


def spool_name(archive: Archive, filename: str) -> str:
    """Name the spooled file by the row's random id: the uploader's file name never reaches the disk."""
    return f"{archive.pk}.tar"


class Archive(models.Model):
    """An uploaded docker-archive or oci-archive; the import job deletes the row and its file when it is done."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    registry = models.ForeignKey("dashboard.Registry", models.CASCADE, related_name="archives")
    uploaded_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True)
    file: models.FileField = models.FileField(storage=spool, upload_to=spool_name)
    name = models.CharField(max_length=255)
    size = models.PositiveBigIntegerField()
    created = models.DateTimeField(auto_now_add=True)

    objects = VisibleQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        self.file.delete(save=False)
        return super().delete(*args, **kwargs)
