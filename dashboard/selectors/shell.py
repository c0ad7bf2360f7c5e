"""What the frame around every page shows: the registries of the switcher and how many jobs are active."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.contrib.auth.models import User
from django.db.models import OuterRef, Subquery, Value
from django.http import HttpRequest

from dashboard.models import Job, Membership, Registry, Role

MAX_SWITCHER = 200


@dataclass(frozen=True)
class ShellRegistry:
    """A registry in the switcher, with the visitor's role there."""

    slug: str
    name: str
    is_demo: bool
    role: int

    @property
    def is_operated(self) -> bool:
        """Whether the visitor may start jobs here."""
        return self.role >= Role.OPERATOR


class Shell:
    """Asks the database only for what a page shows: a fragment that has no frame costs nothing."""

    def __init__(self, request: HttpRequest, slug: str = "") -> None:
        """`slug` names the registry of a page whose address does not."""
        self._user = getattr(request, "user", None)
        match = request.resolver_match
        self._slug = slug or (match.kwargs.get("slug") if match else None) or ""
        self.page = match.view_name if match else ""

    @property
    def is_signed_in(self) -> bool:
        """Whether there is anything but the bare page to show."""
        return bool(self._user and self._user.is_authenticated)

    @cached_property
    def registries(self) -> list[ShellRegistry]:
        """The registries that the visitor sees, by name."""
        if not self.is_signed_in or self._user is None:
            return []
        return shell_registries(self._user)

    @cached_property
    def registry(self) -> ShellRegistry | None:
        """The registry of this page, else the first one: the navigation keeps its place on every page."""
        rows = [row for row in self.registries if row.slug == self._slug]
        if not rows and self._slug and len(self.registries) == MAX_SWITCHER:
            rows = shell_registries(self._user, self._slug)
        return next(iter(rows or self.registries), None)

    @property
    def is_registry_page(self) -> bool:
        """Whether the page is about one registry, and not about the lack of it."""
        return self.registry is not None and self.registry.slug == self._slug

    @cached_property
    def active_jobs(self) -> int:
        """How many jobs of the visitor's registries are waiting or running."""
        return Job.objects.visible_to(self._user).active().count() if self.is_signed_in else 0

    @cached_property
    def may_add_registry(self) -> bool:
        """Whether the admin lets the visitor add a registry."""
        return isinstance(self._user, User) and self._user.is_staff and self._user.has_perm("dashboard.add_registry")


def shell_registries(user: Any, slug: str = "") -> list[ShellRegistry]:
    """Return the visible registries (or the one) with the user's role in each, in one query, without their secrets."""
    own: Any = Subquery(Membership.objects.filter(registry=OuterRef("pk"), user_id=user.pk).values("role")[:1])
    rows = (
        Registry.objects.visible_to(user)
        .filter(**({"slug": slug} if slug else {}))
        .annotate(own_role=Value(int(Role.ADMINISTRATOR)) if user.is_superuser else own)
        .order_by("name", "pk")
        .values_list("slug", "name", "is_demo", "own_role")[:MAX_SWITCHER]
    )
    return [ShellRegistry(slug, name, is_demo, role or 0) for slug, name, is_demo, role in rows]


def shell(request: HttpRequest) -> dict[str, Any]:
    """Context processor of every template."""
    return {"shell": Shell(request)}
