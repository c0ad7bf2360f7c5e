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
        # At most one membership a user and registry, so the join repeats no row.
        path = f"{self.registry_path}__memberships__user" if self.registry_path else "memberships__user"
        return self.filter(**{path: user.pk})


class RegistryQuerySet(VisibleQuerySet):
    """Registries."""

    registry_path = ""


class RepositoryRowQuerySet(VisibleQuerySet):
    """Rows that belong to a repository: tags and revisions."""

    registry_path = "repository__registry"
