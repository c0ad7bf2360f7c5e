"""The management commands that run jobs in the foreground: figures, sentences, exit status."""

from __future__ import annotations

import json
import tarfile
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from dashboard.models import Job, Registry, UploadSession
from storagedriver.layout import paths
from tests.components import S3Process
from tests.components.images import OciLayout, layer

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> dict[str, Any]:
    """Run a command with --json and return its one object."""
    out = StringIO()
    call_command(*arguments, "--json", stdout=out)
    found: dict[str, Any] = json.loads(out.getvalue())
    return found


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An oci-archive of one image on disk."""
    OciLayout(tmp_path / "layout").image("1.0", layer("a"))
    path = tmp_path / "image.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(tmp_path / "layout", arcname=".")
    return path


def test_scan_prints_its_figures(demo: Registry) -> None:
    figures = run("scan", "alpha")
    names = "registry generation keys bytes repositories tags manifests blobs ledger requests seconds"
    assert set(names.split()) <= set(figures)
    assert figures["requests"]["ListObjectsV2"] > 0


def test_scan_exits_1_when_something_could_not_be_read(demo: Registry, s3: S3Process) -> None:
    s3.client.put_object(Bucket=demo.bucket, Key=paths.tag_current_link("team/api", "1.0")[1:], Body=b"")
    with pytest.raises(SystemExit) as ending:
        call_command("scan", "alpha", stdout=StringIO(), stderr=StringIO())
    assert ending.value.code == 1


def test_a_registry_that_is_not_there_names_those_that_are(registry: Registry) -> None:
    with pytest.raises(CommandError, match="Known: alpha") as refusal:
        call_command("scan", "beta")
    assert refusal.value.returncode == 2


def test_a_failed_job_is_exit_status_2(registry: Registry) -> None:
    Registry.objects.update(bucket="no-such-bucket-anywhere")
    with pytest.raises(CommandError, match="bucket") as refusal:
        call_command("scan", "alpha")
    assert refusal.value.returncode == 2


def test_push_prints_its_figures(registry: Registry, archive: Path) -> None:
    figures = run("push", "alpha", "team/api:1.0", str(archive))
    assert (figures["repository"], figures["tag"], figures["blobs_sent"]) == ("team/api", "1.0", 2)
    assert figures["digest"].startswith("sha256:")
    assert figures["bytes_sent"] > 0


def test_push_of_a_file_that_is_not_there_says_so(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="No such file"):
        call_command("push", "alpha", "team/api:1.0", str(tmp_path / "nothing.tar"))


def test_push_of_what_is_no_archive_starts_no_job(registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not an image " * 100)
    with pytest.raises(CommandError):
        call_command("push", "alpha", "team/api:1.0", str(path))
    assert not Job.objects.exists()


def test_uploads_lists_the_stale_ones(demo: Registry) -> None:
    call_command("scan", "alpha", stdout=StringIO())
    assert run("uploads", "alpha", "--older-than", "168h")["uploads"] == []
    assert [row["repository"] for row in run("uploads", "alpha", "--older-than", "0m")["uploads"]] == ["tools/backup"]


def test_uploads_aborts_the_stale_ones(demo: Registry, s3: S3Process) -> None:
    call_command("scan", "alpha", stdout=StringIO())
    figures = run("uploads", "alpha", "--older-than", "0m", "--abort")
    assert figures["aborted"] == 1
    assert s3.uploads(demo.bucket) == {}
    assert not UploadSession.objects.exists()


@pytest.mark.parametrize("age", ["soon", "12", "-3h", "3w"])
def test_an_age_that_is_none_is_refused(registry: Registry, age: str) -> None:
    with pytest.raises(CommandError, match="is not an age"):
        call_command("uploads", "alpha", f"--older-than={age}")
