"""Jobs on their pages, and the pages that start them: scans, checks, imports, aborted uploads."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from dashboard.models import Archive, Job, Registry, Role, UploadSession
from dashboard.selectors import jobs as selectors
from tests.dashboard.factories import (
    make_event,
    make_job,
    make_member,
    make_registry,
    make_scan,
    make_shard,
    make_upload,
)

pytestmark = pytest.mark.django_db
State = Job.State


@pytest.fixture
def registry() -> Registry:
    return make_registry("alpha")


@pytest.fixture
def operator(client: Client, registry: Registry) -> User:
    """Bob, signed in."""
    user = make_member(registry, Role.OPERATOR, "bob")
    client.force_login(user)
    return user


@pytest.fixture
def viewer(client: Client, registry: Registry) -> User:
    """Victor, signed in."""
    user = make_member(registry, Role.VIEWER, "victor")
    client.force_login(user)
    return user


def text_of(client: Client, job: Job, name: str = "job_detail") -> str:
    return client.get(reverse(name, args=[job.pk])).content.decode()


def running(registry: Registry, seconds: float = 60, **fields: Any) -> Job:
    """A scan whose second phase began so many seconds ago."""
    job = make_job(registry, "scan", state=State.RUNNING, phase=1, started=timezone.now(), **fields)
    Job.objects.filter(pk=job.pk).update(touched=timezone.now() - timedelta(seconds=seconds))
    job.refresh_from_db()
    return job


class TestProgress:
    def test_it_polls_while_the_job_is_active(self, client: Client, viewer: User, registry: Registry) -> None:
        job = running(registry)
        assert f'hx-get="/jobs/{job.pk}/progress/"' in text_of(client, job)
        assert client.get(f"/jobs/{job.pk}/progress/").status_code == 200

    @pytest.mark.parametrize("state", [State.SUCCEEDED, State.FAILED, State.CANCELLED])
    def test_it_stops_when_the_job_has_ended(
        self, client: Client, viewer: User, registry: Registry, state: Job.State
    ) -> None:
        job = make_job(registry, state=state)
        response = client.get(f"/jobs/{job.pk}/progress/")
        assert response.status_code == 286
        assert "hx-get" not in response.content.decode()

    def test_the_last_poll_renews_the_head(self, client: Client, operator: User, registry: Registry) -> None:
        job = make_job(registry, state=State.FAILED, error="No bucket.")
        assert 'hx-swap-oob="true"' in text_of(client, job, "job_progress")

    def test_a_fragment_asks_nothing_for_the_frame(self, client: Client, viewer: User, registry: Registry) -> None:
        job = running(registry)
        with CaptureQueriesContext(connection) as captured:
            client.get(f"/jobs/{job.pk}/progress/")
        assert len(captured) <= 7

    def test_a_kind_without_a_panel_shows_its_result_by_name(
        self, client: Client, viewer: User, registry: Registry
    ) -> None:
        job = make_job(registry, "of-tomorrow", state=State.SUCCEEDED, result={"moved": 17})
        assert re.search(r"moved.*17", text_of(client, job), re.DOTALL)

    def test_phases_add_their_shards_up(self, registry: Registry) -> None:
        job = running(registry)
        make_shard(job, 0, 0, state="succeeded", done=7, requests={"ListObjectsV2": 2})
        make_shard(job, 1, 0, state="succeeded", done=5, total=5, requests={"GetObject": 5}, worker="one")
        make_shard(job, 1, 1, state="running", done=1, total=5, requests={"GetObject": 1}, worker="two", attempts=3)
        report = selectors.job_report(job)
        assert [phase.state for phase in report.phases] == ["succeeded", "running", "pending", "pending"]
        assert report.phases[1].fraction == (6, 10)
        assert report.requests == [("GetObject", 6), ("ListObjectsV2", 2)]
        assert (report.workers, report.retries) == (["one", "two"], 2)
        assert report.announcement == "Read manifests: 60 %"

    def test_an_unknown_total_is_a_count(self, client: Client, viewer: User, registry: Registry) -> None:
        job = running(registry)
        make_shard(job, 1, 0, state="running", done=1234)
        text = text_of(client, job)
        assert "1,234 objects" in text
        assert "<progress" in text
        assert not re.search(r"<progress[^>]*value=", text)

    @pytest.mark.parametrize(("seconds", "left"), [(20, None), (60, 60)])
    def test_the_time_left_is_told_after_half_a_minute(
        self, registry: Registry, seconds: int, left: int | None
    ) -> None:
        job = running(registry, seconds)
        make_shard(job, 1, 0, state="running", done=50, total=100)
        found = selectors.job_report(job).left
        assert (found and round(found.total_seconds())) == left

    def test_hostile_text_in_the_log_stays_text(self, client: Client, viewer: User, registry: Registry) -> None:
        job = running(registry, subject="<b>bold</b>")
        make_event(job, "<script>alert(1)</script>")
        text = text_of(client, job)
        assert "<script>alert" not in text
        assert "<b>bold" not in text

    def test_a_kind_that_is_no_longer_known_still_shows(
        self, client: Client, operator: User, registry: Registry
    ) -> None:
        job = make_job(registry, "of_old", state=State.FAILED)
        make_shard(job, 3, 0)
        assert "of_old" in text_of(client, job)


class TestButtons:
    def test_an_operator_cancels(self, client: Client, operator: User, registry: Registry) -> None:
        job = running(registry)
        assert f'action="/jobs/{job.pk}/cancel/"' in text_of(client, job)
        client.post(f"/jobs/{job.pk}/cancel/")
        job.refresh_from_db()
        assert job.cancel_requested

    def test_a_viewer_sees_the_button_and_why_not(self, client: Client, viewer: User, registry: Registry) -> None:
        text = text_of(client, running(registry))
        assert "/cancel/" not in text
        assert "needs the role operator" in text

    def test_an_operator_tries_a_failed_job_again(self, client: Client, operator: User, registry: Registry) -> None:
        job = make_job(registry, state=State.FAILED, phase=0, error="No bucket.")
        assert f'action="/jobs/{job.pk}/retry/"' in text_of(client, job)
        client.post(f"/jobs/{job.pk}/retry/")
        job.refresh_from_db()
        assert job.is_active

    def test_what_cannot_be_cancelled_says_so(self, client: Client, operator: User, registry: Registry) -> None:
        job = make_job(registry, state=State.SUCCEEDED)
        response = client.post(f"/jobs/{job.pk}/cancel/", follow=True)
        assert "already ended" in response.content.decode()


class TestStart:
    @pytest.mark.parametrize("kind", ["scan", "check"])
    def test_it_leads_to_the_job(self, client: Client, operator: User, registry: Registry, kind: str) -> None:
        response = client.post(f"/r/alpha/{kind}/")
        job = Job.objects.get()
        assert (job.kind, job.requested_by, response["Location"]) == (kind, operator, f"/jobs/{job.pk}/")

    def test_a_second_scan_leads_to_the_first(self, client: Client, operator: User, registry: Registry) -> None:
        client.post("/r/alpha/scan/")
        response = client.post("/r/alpha/scan/", follow=True)
        assert Job.objects.count() == 1
        assert "already running" in response.content.decode()


class TestList:
    def test_the_newest_is_first(self, client: Client, viewer: User, registry: Registry) -> None:
        jobs = [make_job(registry, "import") for _ in range(3)]
        found = re.findall(r'<a href="/jobs/(\d+)/">', client.get("/jobs/").content.decode())
        assert found == [str(job.pk) for job in reversed(jobs)]

    def test_it_filters(self, client: Client, viewer: User, registry: Registry) -> None:
        make_job(registry, "import", state=State.FAILED)
        wanted = make_job(registry, "scan", state=State.FAILED)
        make_job(registry, "scan", state=State.SUCCEEDED)
        text = client.get("/jobs/?state=failed&kind=scan&registry=alpha").content.decode()
        assert re.findall(r'<a href="/jobs/(\d+)/">', text) == [str(wanted.pk)]

    def test_a_filter_that_makes_no_sense_is_none(self, client: Client, viewer: User, registry: Registry) -> None:
        make_job(registry)
        text = client.get("/jobs/?state=odd&kind=odd&registry=%00&at=odd").content.decode()
        assert len(re.findall(r'<a href="/jobs/(\d+)/">', text)) == 1

    def test_other_registries_stay_out(self, client: Client, viewer: User) -> None:
        make_job(make_registry("beta"))
        assert "No job has run yet" in client.get("/jobs/").content.decode()

    def test_no_secret_is_decrypted(self, client: Client, viewer: User, registry: Registry) -> None:
        make_job(registry)
        with CaptureQueriesContext(connection) as captured:
            client.get("/jobs/")
        assert not [query for query in captured if "secret_key" in query["sql"]]


class TestUploads:
    def test_stale_ones_are_chosen_already(self, client: Client, operator: User, registry: Registry) -> None:
        stale = make_upload(registry, last_activity=timezone.now() - timedelta(days=8))
        fresh = make_upload(registry, last_activity=timezone.now() - timedelta(days=1))
        text = client.get("/r/alpha/uploads/?older=0").content.decode()
        boxes = re.findall(r'name="session" value="(\d+)"[^>]*?( checked)?>', text)
        assert boxes == [(str(stale.pk), " checked"), (str(fresh.pk), "")]

    def test_younger_ones_are_left_out(self, client: Client, operator: User, registry: Registry) -> None:
        make_upload(registry, "team/fresh", last_activity=timezone.now() - timedelta(days=1))
        assert "team/fresh" not in client.get("/r/alpha/uploads/").content.decode()

    def test_the_first_post_only_asks(self, client: Client, operator: User, registry: Registry) -> None:
        upload = make_upload(registry)
        text = client.post("/r/alpha/uploads/", {"session": [upload.pk]}).content.decode()
        assert "Abort 1 upload?" in text
        assert upload.upload_id in text
        assert not Job.objects.exists()

    def test_the_second_starts_the_job(self, client: Client, operator: User, registry: Registry) -> None:
        upload = make_upload(registry)
        response = client.post("/r/alpha/uploads/", {"session": [upload.pk], "confirmed": "yes"})
        job = Job.objects.get()
        assert response["Location"] == f"/jobs/{job.pk}/"
        assert (job.kind, job.parameters) == ("abort_uploads", {"sessions": [upload.pk]})
        assert UploadSession.objects.exists()

    def test_one_that_may_be_running_is_marked(self, client: Client, operator: User, registry: Registry) -> None:
        upload = make_upload(registry, last_activity=timezone.now())
        text = client.post("/r/alpha/uploads/", {"session": [upload.pk]}).content.decode()
        assert "may be running" in text

    @pytest.mark.parametrize("key", ["", "x", "-1", "9" * 40, "٣", "1 OR 1"])
    def test_strange_keys_choose_nothing(self, client: Client, operator: User, registry: Registry, key: str) -> None:
        make_upload(registry)
        response = client.post("/r/alpha/uploads/", {"session": [key], "confirmed": "yes"}, follow=True)
        assert "Choose at least one upload." in response.content.decode()

    def test_those_of_another_registry_are_not_touched(
        self, client: Client, operator: User, registry: Registry
    ) -> None:
        foreign = make_upload(make_registry("beta"))
        client.post("/r/alpha/uploads/", {"session": [foreign.pk], "confirmed": "yes"})
        assert not Job.objects.exists()

    def test_a_viewer_cannot_choose(self, client: Client, viewer: User, registry: Registry) -> None:
        make_upload(registry)
        assert 'name="session"' not in client.get("/r/alpha/uploads/").content.decode()

    def test_an_empty_list_says_which_kind_of_empty(self, client: Client, operator: User, registry: Registry) -> None:
        assert "never scanned" in client.get("/r/alpha/uploads/").content.decode()
        make_scan(registry)
        assert "left for that long" in client.get("/r/alpha/uploads/").content.decode()
        assert "The last scan found none." in client.get("/r/alpha/uploads/?older=0").content.decode()


def docker_archive() -> bytes:
    """What `docker save` writes for an image of one layer, named team/tools:1."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("hello"))
    diff_id = f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"
    config = json.dumps(
        {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [diff_id]}}
    ).encode()
    manifest = [{"Config": "config.json", "RepoTags": ["team/tools:1"], "Layers": ["layer.tar"]}]
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        members = {"config.json": config, "layer.tar": layer.getvalue(), "manifest.json": json.dumps(manifest).encode()}
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return whole.getvalue()


class TestImport:
    def send(self, client: Client, content: bytes, reference: str = "team/api:1.0") -> Any:
        data = {"archive": SimpleUploadedFile("api.tar", content), "reference": reference}
        return client.post("/r/alpha/import/", data)

    def test_it_works(self, client: Client, operator: User, spool: Path) -> None:
        response = self.send(client, docker_archive())
        job = Job.objects.get()
        assert (job.kind, response["Location"]) == ("import", f"/jobs/{job.pk}/")
        with Archive.objects.get().file.open() as file:
            assert file.read() == docker_archive()

    def test_a_large_file_never_lies_in_memory(
        self, client: Client, operator: User, spool: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 1000
        from dashboard.services import imports

        seen = []
        receive = imports.receive_archive
        monkeypatch.setattr(
            imports, "receive_archive", lambda **given: seen.append(given["upload"]) or receive(**given)
        )
        self.send(client, docker_archive())
        assert hasattr(seen[0], "temporary_file_path")

    @pytest.mark.parametrize(
        ("content", "reference", "field"),
        [
            (b"", "team/api:1.0", "archive"),
            (b"this is no archive", "team/api:1.0", "archive"),
            (docker_archive(), "Team/API:1.0", "reference"),
            (docker_archive(), "team/api", "reference"),
            (docker_archive(), "x" * 401, "reference"),
        ],
    )
    def test_what_is_wrong_stands_beside_its_field(
        self, client: Client, operator: User, spool: Path, content: bytes, reference: str, field: str
    ) -> None:
        response = self.send(client, content, reference)
        assert response.status_code == 422
        assert f'id="id_{field}_error"' in response.content.decode()
        assert not Job.objects.exists()
        assert not Archive.objects.exists()
        assert not list(spool.rglob("*.tar"))

    def test_a_file_that_is_too_large_is_refused_before_it_is_read(
        self, client: Client, operator: User, settings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings.ARCHIVE_MAX_BYTES = 10

        def refuse(*args: Any) -> None:
            pytest.fail("the body was read")

        monkeypatch.setattr("django.http.request.HttpRequest._load_post_and_files", refuse)
        response = client.generic(
            "POST", "/r/alpha/import/", b"x" * (2**20 + 11), content_type="multipart/form-data; boundary=x"
        )
        assert response.status_code == 413
        assert "too large" in response.content.decode()

    def test_the_body_of_a_viewer_is_not_read(
        self, client: Client, viewer: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*args: Any) -> None:
            pytest.fail("the body was read")

        monkeypatch.setattr("django.http.request.HttpRequest._load_post_and_files", refuse)
        assert self.send(client, docker_archive()).status_code == 403

    def test_a_repository_may_be_given(self, client: Client, operator: User) -> None:
        text = client.get("/r/alpha/import/?reference=team/api:").content.decode()
        assert 'value="team/api:"' in text


class TestResults:
    def result(self, client: Client, registry: Registry, kind: str, result: dict[str, Any]) -> str:
        job = make_job(registry, kind, state=State.SUCCEEDED, phase=9, result=result)
        return text_of(client, job)

    def test_an_import_leads_to_its_tag(self, client: Client, viewer: User, registry: Registry) -> None:
        Registry.objects.update(public_host="registry.example.org")
        digest = f"sha256:{'a' * 64}"
        images = [{"reference": "team/api:1.0", "digest": digest}]
        result = {"images": images, "blobs_sent": 2, "blobs_skipped": 1, "bytes_sent": 4096}
        text = self.result(client, registry, "import", result)
        assert f"/r/alpha/manifests/{digest}/team/api?tag=1.0" in text
        assert "docker pull registry.example.org/team/api:1.0" in text

    def test_a_check_shows_its_rows(self, client: Client, viewer: User, registry: Registry) -> None:
        row = {
            "check": "region", "title": "Region", "outcome": "failed", "detail": "It is eu-west-1.",
            "advice": "Set Region.", "milliseconds": 12,
        }  # fmt: skip
        text = self.result(client, registry, "check", {"ok": False, "checks": [row]})
        assert "does not work yet" in text
        assert "Set Region." in text

    def test_a_scan_shows_its_figures(self, client: Client, viewer: User, registry: Registry) -> None:
        names = ("keys", "bytes", "repositories", "tags", "manifests", "blobs", "problems")
        assert "4,321" in self.result(client, registry, "scan", dict.fromkeys(names, 4321))

    def test_aborted_uploads_are_counted_apart(self, client: Client, viewer: User, registry: Registry) -> None:
        result = {"aborted": 71, "already_gone": 72, "active_again": 73, "bytes": 0}
        text = self.result(client, registry, "abort_uploads", result)
        assert all(f"<dd>{number}</dd>" in text for number in (71, 72, 73))
