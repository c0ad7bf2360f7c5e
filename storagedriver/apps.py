"""Makes the driver an installable Django application."""

from __future__ import annotations

from django.apps import AppConfig


class StorageDriverConfig(AppConfig):
    """The driver has no models; being installed gives its storage backend a place in `settings.STORAGES`."""

    name = "storagedriver"
    verbose_name = "Registry storage driver"
