"""Background jobs. A kind of job is one file here: what to plan, how to run a shard, what to report."""

from __future__ import annotations

from dashboard.jobs.abort_uploads import AbortUploads
from dashboard.jobs.base import JobKind
from dashboard.jobs.check import Check
from dashboard.jobs.import_archive import ImportArchive
from dashboard.jobs.scan import Scan

KINDS: dict[str, JobKind] = {kind.name: kind for kind in (Scan(), ImportArchive(), AbortUploads(), Check())}

__all__ = ["KINDS", "JobKind"]
