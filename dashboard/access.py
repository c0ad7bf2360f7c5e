"""Fetching with permission: a view or a service reaches a row only through these, so none forgets to ask.

What a user may not see answers 404, what a user sees but may not do answers 403.
"""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.shortcuts import get_object_or_404

from dashboard.models import Job, Registry, Repository, Role


def registry_for(user: Any, slug: str, role: Role = Role.VIEWER) -> Registry:
    """Return the registry. Raises Http404 for strangers and PermissionDenied for members below `role`."""
    registry: Registry = get_object_or_404(Registry.objects.visible_to(user), slug=slug)
    require(user, registry, role)
    return registry


def repository_for(user: Any, registry: Registry, name: str) -> Repository:
    """Return a repository of the registry's catalog, by the same rule."""
    repository: Repository = get_object_or_404(Repository.objects.visible_to(user), registry=registry, name=name)
    return repository


def job_for(user: Any, pk: int, role: Role = Role.VIEWER) -> Job:
    """Return the job with its registry, by the same rule."""
    job: Job = get_object_or_404(Job.objects.visible_to(user).select_related("registry", "requested_by"), pk=pk)
    require(user, job.registry, role)
    return job


def require(user: Any, registry: Registry, role: Role) -> None:
    """Raise PermissionDenied, with what is missing, unless the user has at least `role` on the registry."""
    if not registry.allows(user, role):
        raise PermissionDenied(f"This needs the role {role.label.lower()} on {registry.name}. Ask its administrator.")
