"""The job behind "Test connection", on a real S3 server: it succeeds whenever it has an answer."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from dashboard.jobs import check, engine
from dashboard.models import Job, Registry, Role, Shard
from dashboard.services import jobs
from tests.components import S3Process
from tests.dashboard.factories import make_member, make_registry

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def strict_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Process]:
    """An S3 server that knows one key pair only."""
    server = S3Process(tmp_path_factory.mktemp("strict-s3"), enforce=True)
    server.make_bucket("images")
    yield server
    server.stop()


@pytest.fixture
def registry(s3: S3Process, bucket: str) -> Registry:
    return make_registry(bucket=bucket, region_endpoint=s3.endpoint)


def checked(registry: Registry) -> Job:
    """Run a connection test to its end."""
    return engine.run_here(jobs.start(kind="check", registry=registry, actor=None))


def failures(job: Job) -> list[str]:
    return [row["check"] for row in job.result["checks"] if row["outcome"] == "failed"]


def test_it_works(registry: Registry) -> None:
    job = checked(registry)
    assert (job.state, job.result["ok"], failures(job)) == (Job.State.SUCCEEDED, True, [])


def test_a_row_says_what_was_tried_and_seen(registry: Registry) -> None:
    row = checked(registry).result["checks"][0]
    assert set(row) == {"check", "title", "outcome", "detail", "advice", "milliseconds"}
    assert (row["check"], row["outcome"]) == ("endpoint", "ok")


def test_it_leaves_the_bucket_as_it_was(registry: Registry, s3: S3Process, bucket: str) -> None:
    registry.open_driver().put_content("/kept", b"x")
    before = s3.listing(bucket)
    checked(registry)
    assert (s3.listing(bucket), s3.uploads(bucket)) == (before, {})


def test_its_requests_are_counted(registry: Registry) -> None:
    assert checked(registry).shards.get(phase=0).requests["PutObject"] == 1


def test_its_progress_counts_the_checks(registry: Registry) -> None:
    job = checked(registry)
    assert job.shards.get(phase=0).done == len(job.result["checks"])


def test_the_rows_so_far_can_be_read_while_it_runs(registry: Registry) -> None:
    seen: list[int] = []

    def observe(shard: Shard) -> None:
        seen.append(len(Shard.objects.get(pk=shard.pk).result["checks"]))

    engine.run_here(jobs.start(kind="check", registry=registry, actor=None), observe)
    assert seen == list(range(1, len(seen) + 1))


def test_a_wrong_secret_is_an_answer(strict_s3: S3Process) -> None:
    access_key, _ = strict_s3.keys
    job = checked(
        make_registry(bucket="images", region_endpoint=strict_s3.endpoint, access_key=access_key, secret_key="wrong")
    )
    assert (job.state, job.result["ok"], failures(job)) == (Job.State.SUCCEEDED, False, ["credentials"])


def test_the_right_secret_is_accepted_there(strict_s3: S3Process) -> None:
    access_key, secret_key = strict_s3.keys
    registry = make_registry(
        bucket="images", region_endpoint=strict_s3.endpoint, access_key=access_key, secret_key=secret_key
    )
    credentials = next(row for row in checked(registry).result["checks"] if row["check"] == "credentials")
    assert credentials["outcome"] == "ok"


def test_a_missing_bucket_is_an_answer(s3: S3Process) -> None:
    job = checked(make_registry(bucket="nobody-made-this", region_endpoint=s3.endpoint))
    assert (job.state, failures(job)) == (Job.State.SUCCEEDED, ["bucket"])


def test_a_dead_endpoint_is_an_answer() -> None:
    job = checked(make_registry())
    assert (job.state, failures(job)) == (Job.State.SUCCEEDED, ["endpoint"])


def test_settings_that_the_driver_refuses_are_an_answer() -> None:
    job = checked(make_registry(storage_class="GLACIER"))
    assert (job.state, failures(job)) == (Job.State.SUCCEEDED, ["settings"])


def test_bad_cloudfront_settings_are_an_answer(s3: S3Process, bucket: str) -> None:
    registry = make_registry(
        bucket=bucket,
        region_endpoint=s3.endpoint,
        cloudfront_base_url="https://d1.cloudfront.net",
        cloudfront_key_pair_id="K1",
        cloudfront_private_key="no key",
    )
    assert failures(checked(registry)) == ["settings"]


def test_no_secret_reaches_the_rows(strict_s3: S3Process) -> None:
    access_key, _ = strict_s3.keys
    registry = make_registry(
        bucket="images", region_endpoint=strict_s3.endpoint, access_key=access_key, secret_key="canary-secret"
    )
    job = checked(registry)
    rows = [repr(row) for model in (Job, Shard) for row in model.objects.values()]
    rows += [event.message for event in job.events.all()]
    assert [row for row in rows if "canary-secret" in row] == []


def test_a_cancelled_test_cleans_up(
    registry: Registry, s3: S3Process, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = jobs.start(kind="check", registry=registry, actor=None)

    def cancel_after_writing(shard: Shard) -> None:
        if shard.result["checks"][-1]["check"] == "write":
            assert s3.listing(bucket) != {}
            Job.objects.filter(pk=job.pk).update(cancel_requested=job.created)

    assert engine.run_here(job, cancel_after_writing).state == Job.State.CANCELLED
    assert (s3.listing(bucket), s3.uploads(bucket)) == ({}, {})


def test_an_endpoint_that_hangs_is_an_answer_after_one_short_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "TIMEOUTS", replace(check.TIMEOUTS, read=0.2))
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        job = checked(make_registry(region_endpoint=f"http://127.0.0.1:{server.getsockname()[1]}"))
    assert failures(job) == ["endpoint"]
    assert job.shards.get(phase=0).requests == {"ListObjectsV2": 1}


@pytest.mark.parametrize(("role", "allowed"), [(Role.VIEWER, False), (Role.OPERATOR, True)])
def test_an_operator_may_test_and_a_viewer_not(registry: Registry, role: Role, allowed: bool) -> None:
    assert jobs.may_run(registry=registry, kind="check", actor=make_member(registry, role)) is allowed
