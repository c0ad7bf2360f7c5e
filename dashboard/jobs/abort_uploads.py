"""Aborts stale uploads: the sessions that an operator chose, each looked at once more before it goes.

A session is planned with the activity that the operator saw. If the bucket now shows a later one, a client has come back
and the session stays.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from datetime import datetime
from typing import Any

from dashboard.jobs.base import JobKind, ShardRun
from dashboard.jobs.catalog import Session
from dashboard.models import Job, Role, Shard, UploadSession
from storagedriver import PathNotFoundError, S3Driver
from storagedriver.layout import paths

SESSIONS_PER_SHARD = 100


class AbortUploads(JobKind):
    """Aborts multipart uploads and removes the folders of chosen upload sessions."""

    name = "abort_uploads"
    title = "Abort uploads"
    summary = "Aborts the chosen stale uploads and frees the parts they hold."
    role = Role.OPERATOR
    phases = ("Abort",)
    unit = "uploads"

    def plan(self, job: Job, phase: int) -> list[Shard]:
        sessions = UploadSession.objects.filter(registry=job.registry, pk__in=job.parameters["sessions"]).order_by("pk")
        rows = [
            {
                "pk": session.pk,
                "repository": session.repository_name,
                "upload_id": session.upload_id,
                "last_activity": session.last_activity.isoformat(),
            }
            for session in sessions
        ]
        chunks = [rows[at : at + SESSIONS_PER_SHARD] for at in range(0, len(rows), SESSIONS_PER_SHARD)]
        return [
            Shard(label=f"{len(chunk)} uploads", parameters={"sessions": chunk}, total=len(chunk)) for chunk in chunks
        ]

    def run(self, run: ShardRun) -> None:
        sessions: list[dict[str, Any]] = run.parameters["sessions"]
        for position in range(run.shard.cursor.get("next", 0), len(sessions)):
            session = sessions[position]
            outcome, size = abort(run.driver, session)
            run.result[outcome] = run.result.get(outcome, 0) + 1
            if outcome == "aborted":
                run.result["bytes"] = run.result.get("bytes", 0) + size
            if outcome in ("aborted", "already_gone"):
                UploadSession.objects.filter(pk=session["pk"], registry=run.registry).delete()
            else:
                run.log(f"{session['repository']} {session['upload_id']} was written to again and stays.")
            run.shard.done = position + 1
            run.save({"next": position + 1})

    def finish(self, job: Job) -> dict[str, Any]:
        totals: Counter[str] = Counter()
        for result in job.shards.filter(phase=0).values_list("result", flat=True):
            totals.update(result)
        return {key: totals[key] for key in ("aborted", "already_gone", "active_again", "bytes")}


def abort(driver: S3Driver, planned: dict[str, Any]) -> tuple[str, int]:
    """Abort one session and say what came of it, with the bytes freed: aborted, already_gone or active_again."""
    root = paths.upload_root(planned["repository"], planned["upload_id"])
    now = look(driver, planned["repository"], planned["upload_id"])
    if now is None:
        return "already_gone", 0
    if now.last_activity > datetime.fromisoformat(planned["last_activity"]):
        return "active_again", 0
    data = paths.upload_data(planned["repository"], planned["upload_id"])
    for upload_id in now.multipart_ids:
        driver.abort_multipart_upload(data, upload_id)
    with suppress(PathNotFoundError):  # a session that is a multipart upload alone has no folder
        driver.delete(root)
    return "aborted", now.size


def look(driver: S3Driver, repository: str, upload_id: str) -> Session | None:
    """Return the session as the bucket shows it now, None when nothing of it is left."""
    session = Session(repository, upload_id)
    found = False
    for page in driver.scan(paths.upload_root(repository, upload_id)):
        for entry in page:
            session.add_object(entry, started=entry.path.endswith("/startedat"))
            found = True
    for upload in driver.multipart_uploads(paths.upload_data(repository, upload_id)):
        session.add_multipart(upload)
        found = True
    return session if found else None
