"""manage.py scan <registry>: list the bucket and bring the catalog up to date, in the foreground."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import CommandError
from django.template.defaultfilters import filesizeformat

from dashboard.management.commands._job import FAILED, FINDINGS, JobCommand
from dashboard.services import jobs


class Command(JobCommand):
    """Exit status 1 when something in the bucket could not be read."""

    help = "List a registry's bucket and bring its catalog up to date."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            job = jobs.start(kind="scan", registry=self.registry(options["registry"]), actor=None)
        except jobs.JobRefused as error:
            raise CommandError(str(error), returncode=FAILED) from error
        figures = self.run(job)
        sentence = (
            f"{figures['registry']}: {figures['repositories']:,} repositories, {figures['tags']:,} tags, "
            f"{figures['manifests']:,} manifests, {figures['blobs']:,} blobs; "
            f"{figures['keys']:,} objects, {filesizeformat(figures['bytes'])} in {figures['seconds']} s."
        )
        self.report(figures, sentence, as_json=options["json"])
        if figures["problems"]:
            self.stderr.write(f"{figures['problems']} problems: see the registry's page.")
            sys.exit(FINDINGS)
