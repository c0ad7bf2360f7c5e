"""The job behind "Test connection": one run of the driver's connection probe. It succeeds whenever it has an answer."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import asdict
from typing import Any

from dashboard.jobs.base import JobKind, ShardRun
from dashboard.models import Job, Registry, Role, Shard
from storagedriver import ParameterErrors, S3Driver
from storagedriver.probe import TIMEOUTS, CheckResult, Outcome, check_connection


class Check(JobKind):
    """Tests a registry's connection. Result: `{"checks": [CheckResult as a dictionary, ...], "ok": bool}`.

    While it runs, the shard's result holds the checks so far.
    """

    name = "check"
    title = "Connection test"
    summary = "Tries, once each, what a registry asks of its bucket."
    role = Role.OPERATOR
    phases = ("Test",)
    unit = "checks"
    patience = 20

    def plan(self, job: Job, phase: int) -> list[Shard]:
        return [Shard(label="Connection test")]

    def run(self, run: ShardRun) -> None:
        """Test from the beginning: it takes seconds, and half a test of an earlier time proves nothing."""
        run.restart()
        checks = run.result["checks"] = []
        with closing(self.results(run)) as results:
            for result in results:
                checks.append(asdict(result))
                run.shard.done += 1
                run.pulse()

    def results(self, run: ShardRun) -> Generator[CheckResult]:
        """Yield the results; settings that the driver refuses are the first and only one."""
        registry: Registry = run.registry
        try:
            driver = S3Driver(registry.parameters(), middleware=registry.cloudfront(), timeouts=TIMEOUTS)
        except ParameterErrors as refused:
            yield CheckResult("settings", "Read the settings", Outcome.FAILED, refused.detail, "Edit the registry.")
            return
        run.driver = driver  # so that its requests are counted
        with closing(check_connection(driver)) as results:
            yield from results

    def finish(self, job: Job) -> dict[str, Any]:
        checks = job.shards.get(phase=0).result["checks"]
        return {"checks": checks, "ok": all(check["outcome"] != Outcome.FAILED for check in checks)}
