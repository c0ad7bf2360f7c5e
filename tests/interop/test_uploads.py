"""Stale uploads go, live ones stay, and the registry serves every image as before."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import call_command

from dashboard.models import Registry, Revision, UploadSession
from storagedriver.layout import paths
from tests.components import DockerRegistry, OciLayout, S3Process, copy_image, pull
from tests.components.images import digest_of, layer
from tests.components.registry import Response
from tests.interop.conftest import MIB, scan

STREAM = {"Content-Type": "application/octet-stream"}


class Upload:
    """A client's push of one blob, in steps, as the registry's API has it."""

    def __init__(self, docker: DockerRegistry, repository: str) -> None:
        self._docker = docker
        answer = docker.request("POST", f"/v2/{repository}/blobs/uploads/")
        assert answer.status == 202
        self.id = answer.headers["docker-upload-uuid"]
        self._location = answer.headers["location"]

    def send(self, content: bytes) -> Response:
        answer = self._docker.request("PATCH", self._location, content, STREAM)
        self._location = answer.headers.get("location", self._location)
        return answer

    def finish(self, digest: str) -> Response:
        return self._docker.request("PUT", f"{self._location}&digest={digest}", b"", STREAM)


def abort_stale(registry: Registry) -> dict[str, int]:
    output = io.StringIO()
    call_command("uploads", registry.slug, "--older-than", "168h", "--abort", "--json", stdout=output)
    figures: dict[str, int] = json.loads(output.getvalue())
    return figures


@pytest.fixture
def stale(docker: DockerRegistry, s3: S3Process, bucket: str) -> Upload:
    """An upload of 6 MiB, one part of them stored, that nobody touched for nine days."""
    upload = Upload(docker, "team/api")
    assert upload.send(b"s" * 6 * MIB).status == 202
    folder = paths.upload_data("team/api", upload.id).rpartition("/")[0].removeprefix("/")
    s3.age(bucket, folder, timedelta(days=9))
    return upload


def test_a_scan_sees_a_pending_upload(registry: Registry, stale: Upload) -> None:
    scan(registry)

    session = UploadSession.objects.get()
    assert (session.repository_name, session.upload_id) == ("team/api", stale.id)
    assert session.parts == 1
    assert session.size > 5 * MIB


def test_every_image_is_served_after_stale_uploads_are_aborted(
    registry: Registry, docker: DockerRegistry, layout: OciLayout, stale: Upload, tmp_path: Path
) -> None:
    copy_image(layout.source("worker"), f"docker://{docker.host}/team/api:1", "--preserve-digests")
    copy_image(layout.source("web"), f"docker://{docker.host}/web:1", "--all")
    scan(registry)

    figures = abort_stale(registry)

    assert figures["aborted"] == 1
    revisions = list(Revision.objects.select_related("repository", "manifest"))
    assert len(revisions) == 4
    for number, revision in enumerate(revisions):
        pull(docker.host, revision.repository.name, revision.manifest.digest, tmp_path / str(number))


def test_an_aborted_upload_leaves_nothing(
    registry: Registry, docker: DockerRegistry, stale: Upload, s3: S3Process, bucket: str
) -> None:
    scan(registry)

    abort_stale(registry)

    assert s3.uploads(bucket) == {}
    assert s3.listing(bucket) == {}
    assert stale.send(b"more").status == 404


def test_a_live_upload_survives_and_can_be_finished(
    registry: Registry, docker: DockerRegistry, stale: Upload, s3: S3Process, bucket: str
) -> None:
    content = layer("live", 7 * MIB)
    live = Upload(docker, "team/api")
    live.send(content[: 6 * MIB])
    scan(registry)

    assert abort_stale(registry)["aborted"] == 1

    live.send(content[6 * MIB :])
    assert live.finish(digest_of(content)).status == 201
    assert docker.request("GET", f"/v2/team/api/blobs/{digest_of(content)}").body == content


def test_an_upload_that_came_back_to_life_stays(
    registry: Registry, docker: DockerRegistry, stale: Upload, s3: S3Process, bucket: str
) -> None:
    scan(registry)
    stale.send(b"t" * MIB)

    figures = abort_stale(registry)

    assert (figures["aborted"], figures["active_again"]) == (0, 1)
    assert stale.finish(digest_of(b"s" * 6 * MIB + b"t" * MIB)).status == 201
