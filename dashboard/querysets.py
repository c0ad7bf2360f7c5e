"""Query sets that carry the permission rule: what a user may see hangs off one registry."""

from __future__ import annotations

from typing import Any, Self

from django.db import models


class VisibleQuerySet(models.QuerySet[Any]):
    """Rows of a registry; `registry_path` is the lookup from the row to it ("" for the registry itself)."""

    registry_path = "registry"

    def visible_to(self, user: Any) -> Self:
        """Return the rows whose registry the user may see: all for an active superuser, else by membership."""
        if not getattr(user, "is_active", False):
            return self.none()
        if user.is_superuser:
            return self
        # A sub-query, not a join: a join would repeat rows and hide behind later filters.
        from dashboard.models import Membership

        path = f"{self.registry_path}__in" if self.registry_path else "pk__in"
        return self.filter(**{path: Membership.objects.filter(user_id=user.pk).values("registry")})


class RegistryQuerySet(VisibleQuerySet):
    """Registries."""

    registry_path = ""


class RepositoryRowQuerySet(VisibleQuerySet):
    """Rows that belong to a repository: tags and revisions."""

    registry_path = "repository__registry"
