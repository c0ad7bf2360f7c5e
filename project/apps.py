"""The project as an application: it registers the system checks."""

from __future__ import annotations

from django.apps import AppConfig


class ProjectConfig(AppConfig):
    """Makes `manage.py check`, and every command and worker that runs checks first, refuse an unsafe production."""

    name = "project"

    def ready(self) -> None:
        from project import checks  # noqa: F401 - registers them
