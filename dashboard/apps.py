"""The dashboard application."""

from __future__ import annotations

from django.apps import AppConfig


class DashboardConfig(AppConfig):
    """Hands the endpoint policy of the settings to the driver's clients."""

    name = "dashboard"
    verbose_name = "Wharfinger"

    def ready(self) -> None:
        from django.conf import settings

        from storagedriver import clients

        clients.configure(
            policy=clients.EndpointPolicy(
                allow_private=settings.ENDPOINT_ALLOW_PRIVATE, allowed_hosts=tuple(settings.ENDPOINT_ALLOWLIST)
            )
        )
