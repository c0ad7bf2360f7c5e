"""Runs a job in the foreground for a management command: progress bar on stderr, --json on stdout, exit status."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from dashboard.jobs import KINDS, engine
from dashboard.models import Job, Registry, Shard

DONE, FINDINGS, FAILED = 0, 1, 2


class JobCommand(BaseCommand):
    """A command that runs one job to its end in this process, without a broker.

    Exit status: 0 done, 1 done with findings, 2 failed. Ctrl-C cancels the job cleanly.
    """

    requires_migrations_checks = True

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("registry", help="The registry's short name (slug).")
        parser.add_argument("--json", action="store_true", help="Write the figures as one JSON object to stdout.")

    def registry(self, slug: str) -> Registry:
        """Return the registry of this slug. Raises CommandError that lists the ones there are."""
        found: Registry | None = Registry.objects.filter(slug=slug).first()
        if found is None:
            known = ", ".join(Registry.objects.values_list("slug", flat=True)) or "none yet: add one in the admin"
            raise CommandError(f"There is no registry '{slug}'. Known: {known}.", returncode=FAILED)
        return found

    def run(self, job: Job) -> dict[str, Any]:
        """Run the job with a progress bar and return its figures. Raises CommandError when it does not succeed."""
        bar: tqdm[Any] = tqdm(
            file=sys.stderr, unit=f" {KINDS[job.kind].unit}", leave=False, disable=not sys.stderr.isatty()
        )

        def observe(shard: Shard) -> None:
            bar.set_description(KINDS[job.kind].phases[shard.phase])
            bar.total, bar.n = shard.total, shard.done
            bar.refresh()

        try:
            job = engine.run_here(job, observe)
        except KeyboardInterrupt:
            raise CommandError("Cancelled.", returncode=FAILED) from None
        finally:
            bar.close()
        if job.state != Job.State.SUCCEEDED:
            raise CommandError(job.error or f"The job is {job.get_state_display().lower()}.", returncode=FAILED)
        assert job.started, "a finished job has begun"  # noqa: S101 - for the type checker
        assert job.finished  # noqa: S101
        requests: Counter[str] = Counter()
        for counts in job.shards.values_list("requests", flat=True):
            requests.update(counts)
        seconds = round((job.finished - job.started).total_seconds(), 3)
        return {"registry": job.registry.slug, **job.result, "requests": dict(requests), "seconds": seconds}

    def report(self, figures: dict[str, Any], sentence: str, *, as_json: bool) -> None:
        """Write the figures as JSON, or one sentence."""
        self.stdout.write(json.dumps(figures) if as_json else sentence)
