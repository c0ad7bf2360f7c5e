"""manage.py uploads <registry>: list unfinished uploads, as of the last scan, and abort the stale ones."""

from __future__ import annotations

import re
from argparse import ArgumentParser, ArgumentTypeError
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError
from django.template.defaultfilters import filesizeformat
from django.utils import timezone

from dashboard.management.commands._job import FAILED, JobCommand
from dashboard.models import UploadSession
from dashboard.services import jobs

UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def age(text: str) -> timedelta:
    """Read an age such as 90m, 168h or 7d."""
    found = re.fullmatch(r"(\d{1,6})([mhd])", text)
    if not found:
        raise ArgumentTypeError(f"'{text}' is not an age: write a number and m, h or d, for example 168h.")
    return timedelta(**{UNITS[found[2]]: int(found[1])})


class Command(JobCommand):
    """Lists, or with --abort aborts, the uploads without activity for the given time."""

    help = "List a registry's unfinished uploads as of its last scan, or abort the stale ones."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--older-than", type=age, default=age("168h"), help="Time without activity (168h).")
        parser.add_argument("--abort", action="store_true", help="Abort them; each is looked at once more before.")

    def handle(self, *args: Any, **options: Any) -> None:
        registry = self.registry(options["registry"])
        before = timezone.now() - options["older_than"]
        stale = list(UploadSession.objects.filter(registry=registry, last_activity__lt=before))
        if not options["abort"]:
            figures: dict[str, Any] = {
                "registry": registry.slug,
                "generation": registry.generation,
                "uploads": [
                    {
                        "repository": session.repository_name,
                        "id": session.upload_id,
                        "last_activity": session.last_activity.isoformat(),
                        "bytes": session.size,
                        "parts": session.parts,
                    }
                    for session in stale
                ],
            }
            lines = [
                f"{session.repository_name}  {session.upload_id}  {session.last_activity:%Y-%m-%d %H:%M}  "
                f"{filesizeformat(session.size)}"
                for session in stale
            ]
            self.report(figures, "\n".join([*lines, f"{len(stale)} stale uploads."]), as_json=options["json"])
            return
        try:
            job = jobs.start(
                kind="abort_uploads",
                registry=registry,
                actor=None,
                parameters={"sessions": [session.pk for session in stale]},
                subject=f"{len(stale)} uploads",
            )
        except jobs.JobRefused as error:
            raise CommandError(str(error), returncode=FAILED) from error
        figures = self.run(job)
        sentence = (
            f"{figures['aborted']} aborted, {filesizeformat(figures['bytes'])} freed; "
            f"{figures['already_gone']} already gone, {figures['active_again']} active again."
        )
        self.report(figures, sentence, as_json=options["json"])
