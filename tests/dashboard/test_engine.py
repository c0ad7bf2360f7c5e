"""The job engine's guarantees: one holder of a shard, one plan of a phase, one end of a job."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.utils import timezone

from dashboard import dispatch, jobs
from dashboard.jobs import engine
from dashboard.jobs.base import JobError, JobKind, LeaseLost, ShardRun
from dashboard.models import Job, Registry, Role, Shard
from dashboard.services import jobs as services
from storagedriver.errors import Kind, StorageDriverError
from tests.dashboard.factories import make_member, make_registry, make_superuser

pytestmark = pytest.mark.django_db


class Double(JobKind):
    """Two phases of two shards; `on_run` is what a shard does."""

    name = "double"
    title = "Double"
    summary = "Does everything twice."
    role = Role.OPERATOR
    phases = ("First", "Second")

    def __init__(self) -> None:
        self.ran: list[tuple[int, int]] = []
        self.finished = 0
        self.on_run: Callable[[ShardRun], None] = lambda run: None

    def plan(self, job: Job, phase: int) -> list[Shard]:
        return [Shard(label=f"{phase}.{index}") for index in range(2)]

    def run(self, run: ShardRun) -> None:
        self.ran.append((run.shard.phase, run.shard.index))
        self.on_run(run)

    def finish(self, job: Job) -> dict[str, Any]:
        self.finished += 1
        return {"ran": len(self.ran)}


@pytest.fixture
def kind(monkeypatch: pytest.MonkeyPatch) -> Double:
    double = Double()
    monkeypatch.setitem(jobs.KINDS, "double", double)
    return double


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The messages that would have been sent, in order."""
    messages: list[tuple[str, int]] = []
    monkeypatch.setattr(dispatch, "send", lambda task, row_id: messages.append((task, row_id)))
    return messages


@pytest.fixture
def registry() -> Registry:
    return make_registry("alpha")


@pytest.fixture
def job(kind: Double, registry: Registry, sent: list[tuple[str, int]]) -> Job:
    return services.start(kind="double", registry=registry, actor=None)


def begun(job: Job) -> list[Shard]:
    """Begin the job and return the shards of its first phase."""
    engine.advance(job.pk)
    return list(job.shards.filter(phase=0))


def test_it_works(kind: Double, job: Job) -> None:
    job = engine.run_here(job)
    assert (job.state, job.result) == (Job.State.SUCCEEDED, {"ran": 4})


def test_phases_run_in_order(kind: Double, job: Job) -> None:
    engine.run_here(job)
    assert kind.ran == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_every_message_twice_runs_everything_once(kind: Double, job: Job) -> None:
    while job.is_active:
        engine.advance(job.pk)
        engine.advance(job.pk)
        for pk in list(job.shards.values_list("pk", flat=True)):
            engine.run_shard(pk)
            engine.run_shard(pk)
        job.refresh_from_db()
    assert (len(kind.ran), kind.finished) == (4, 1)


def test_a_held_shard_is_not_claimed_again(job: Job) -> None:
    shard = begun(job)[0]
    assert engine.claim(shard.pk) is not None
    assert engine.claim(shard.pk) is None


def test_an_abandoned_shard_is_claimed_again(job: Job) -> None:
    shard = begun(job)[0]
    engine.claim(shard.pk)
    Shard.objects.filter(pk=shard.pk).update(lease_expires=timezone.now() - timedelta(seconds=1))
    assert engine.claim(shard.pk) is not None


def test_who_lost_the_lease_writes_nothing(job: Job) -> None:
    shard = begun(job)[0]
    loser = engine.claim(shard.pk)
    assert loser
    Shard.objects.filter(pk=shard.pk).update(lease_expires=timezone.now() - timedelta(seconds=1))
    engine.claim(shard.pk)
    loser.shard.done = 99
    with pytest.raises(LeaseLost):
        loser.pulse()
    shard.refresh_from_db()
    assert shard.done == 0


def test_a_shard_before_its_time_is_not_claimed(job: Job) -> None:
    shard = begun(job)[0]
    Shard.objects.filter(pk=shard.pk).update(not_before=timezone.now() + timedelta(minutes=1))
    assert engine.claim(shard.pk) is None


def test_a_shard_of_an_ended_job_is_not_claimed(job: Job) -> None:
    shard = begun(job)[0]
    engine.fail(job.pk, "stop")
    assert engine.claim(shard.pk) is None


def test_a_transient_error_is_tried_again_later(kind: Double, job: Job) -> None:
    def slow_down(run: ShardRun) -> None:
        raise StorageDriverError("slow down", kind=Kind.TRANSIENT)

    kind.on_run = slow_down
    shard = begun(job)[0]
    engine.run_shard(shard.pk)
    shard.refresh_from_db()
    assert (shard.state, shard.error) == (Shard.State.PENDING, "slow down")
    assert shard.not_before
    assert shard.not_before > timezone.now()


def test_a_transient_error_fails_in_the_end(kind: Double, job: Job) -> None:
    def slow_down(run: ShardRun) -> None:
        raise StorageDriverError("slow down", kind=Kind.TRANSIENT)

    kind.on_run = slow_down
    shard = begun(job)[0]
    for _ in range(engine.MAX_ATTEMPTS):
        Shard.objects.filter(pk=shard.pk).update(not_before=None)
        engine.run_shard(shard.pk)
    job.refresh_from_db()
    assert (job.state, job.error) == (Job.State.FAILED, "slow down")


def test_a_permanent_error_fails_the_job_and_its_other_shards_do_not_begin(kind: Double, job: Job) -> None:
    def refuse(run: ShardRun) -> None:
        raise JobError("The bucket is gone. Choose another.")

    kind.on_run = refuse
    first, second = begun(job)
    engine.run_shard(first.pk)
    job.refresh_from_db()
    second.refresh_from_db()
    assert (job.state, job.error) == (Job.State.FAILED, "The bucket is gone. Choose another.")
    assert second.state == Shard.State.CANCELLED


def test_an_unforeseen_error_shows_no_internals(kind: Double, job: Job) -> None:
    def crash(run: ShardRun) -> None:
        raise ValueError("password=hunter2")

    kind.on_run = crash
    engine.run_shard(begun(job)[0].pk)
    job.refresh_from_db()
    assert "hunter2" not in job.error
    assert "ValueError" in job.error


def test_a_worker_lost_again_and_again_ends_the_job(job: Job) -> None:
    shard = begun(job)[0]
    Shard.objects.filter(pk=shard.pk).update(attempts=engine.MAX_ATTEMPTS)
    engine.run_shard(shard.pk)
    job.refresh_from_db()
    assert "A worker was lost" in job.error


def test_cancelling_a_waiting_job_ends_it_at_once(job: Job) -> None:
    services.cancel(job=job, actor=make_superuser())
    job.refresh_from_db()
    assert job.state == Job.State.CANCELLED


def test_a_running_shard_sees_the_cancel_at_its_next_pulse(kind: Double, job: Job) -> None:
    actor = make_superuser()

    def cancelled_meanwhile(run: ShardRun) -> None:
        services.cancel(job=job, actor=actor)
        run.pulse()

    kind.on_run = cancelled_meanwhile
    engine.run_shard(begun(job)[0].pk)
    job.refresh_from_db()
    assert job.state == Job.State.CANCELLED


def test_a_cancelled_jobs_abandoned_shard_does_not_keep_it_alive(job: Job) -> None:
    shard = begun(job)[0]
    engine.claim(shard.pk)
    services.cancel(job=job, actor=make_superuser())
    Shard.objects.filter(pk=shard.pk).update(lease_expires=timezone.now() - timedelta(seconds=1))
    engine.tick()
    job.refresh_from_db()
    assert job.state == Job.State.CANCELLED


def test_a_retry_keeps_what_was_done(kind: Double, job: Job) -> None:
    def second_fails(run: ShardRun) -> None:
        if run.shard.index == 1:
            raise JobError("No.")

    kind.on_run = second_fails
    engine.run_here(job)
    kind.on_run = lambda run: None
    kind.ran.clear()
    job.refresh_from_db()
    services.retry(job=job, actor=make_superuser())
    engine.run_here(job)
    job.refresh_from_db()
    assert (job.state, kind.ran) == (Job.State.SUCCEEDED, [(0, 1), (1, 0), (1, 1)])


def test_a_job_that_succeeded_is_not_tried_again(kind: Double, job: Job) -> None:
    job = engine.run_here(job)
    with pytest.raises(services.JobRefused):
        services.retry(job=job, actor=make_superuser())


def test_a_retry_asks_for_the_role_before_it_tells_the_state(job: Job, registry: Registry) -> None:
    with pytest.raises(PermissionDenied):
        services.retry(job=job, actor=make_member(registry, Role.VIEWER))


def test_a_second_active_job_of_the_kind_is_refused(job: Job, registry: Registry) -> None:
    with pytest.raises(services.JobRefused) as refusal:
        services.start(kind="double", registry=registry, actor=None)
    assert refusal.value.job == job


def test_another_registry_has_its_own_turn(job: Job) -> None:
    other = services.start(kind="double", registry=make_registry("beta"), actor=None)
    assert other.pk != job.pk


def test_a_changed_configuration_stops_the_job(job: Job, registry: Registry) -> None:
    shard = begun(job)[0]
    Registry.objects.filter(pk=registry.pk).update(revision=2)
    engine.run_shard(shard.pk)
    job.refresh_from_db()
    assert "configuration changed" in job.error


def test_a_configuration_that_changes_in_mid_shard_stops_it_at_its_next_pulse(
    kind: Double, job: Job, registry: Registry
) -> None:
    def change(run: ShardRun) -> None:
        Registry.objects.filter(pk=registry.pk).update(revision=2)
        run.pulse()
        pytest.fail("It went on with the old configuration.")

    kind.on_run = change
    engine.run_shard(begun(job)[0].pk)
    job.refresh_from_db()
    assert "configuration changed" in job.error


def test_a_requester_who_lost_the_role_stops_the_job(
    kind: Double, registry: Registry, sent: list[tuple[str, int]]
) -> None:
    operator = make_member(registry, Role.OPERATOR)
    job = services.start(kind="double", registry=registry, actor=operator)
    shard = begun(job)[0]
    operator.memberships.all().delete()
    engine.run_shard(shard.pk)
    job.refresh_from_db()
    assert "no longer operator" in job.error


def test_the_tick_sends_a_shard_whose_worker_was_killed(job: Job, sent: list[tuple[str, int]]) -> None:
    shard = begun(job)[0]
    engine.claim(shard.pk)
    Shard.objects.filter(pk=shard.pk).update(lease_expires=timezone.now() - timedelta(seconds=1))
    sent.clear()
    engine.tick()
    assert ("jobs.run_shard", shard.pk) in sent


def test_the_tick_begins_a_job_whose_message_was_lost(job: Job, sent: list[tuple[str, int]]) -> None:
    Job.objects.filter(pk=job.pk).update(touched=timezone.now() - 2 * engine.RESEND_AFTER)
    sent.clear()
    engine.tick()
    assert sent == [("jobs.advance", job.pk)]


def test_the_tick_leaves_fresh_work_alone(job: Job, sent: list[tuple[str, int]]) -> None:
    begun(job)
    sent.clear()
    engine.tick()
    assert sent == []
