"""The admin: registries and their members. Users, groups and schedules come with their own packages."""

from __future__ import annotations

from dashboard.admin.registries import RegistryAdmin

__all__ = ["RegistryAdmin"]
