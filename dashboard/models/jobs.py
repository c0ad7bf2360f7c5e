"""Background work: jobs, their shards and their log. The rows are the truth, messages only wake workers up.

States change by guarded updates alone (`filter(state=old).update(state=new)`), never by read, modify, save.
docs/architecture.md draws the state machine.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.urls import reverse

from dashboard.querysets import VisibleQuerySet


class JobQuerySet(VisibleQuerySet):
    """Jobs."""

    def active(self) -> JobQuerySet:
        """Return the jobs that still have work to do."""
        return self.filter(state__in=Job.ACTIVE)


class Job(models.Model):
    """One piece of background work, done in phases; each phase is split into shards.

    `phase` is the index of the running phase, -1 before the first. `remaining` counts its unfinished shards.
    `exclusive` is the name that keeps a second active job of its sort away from the registry; empty for jobs that
    may run side by side. `revision` is the registry's when the job was made.
    """

    class State(models.TextChoices):
        PENDING = "pending", "Waiting"
        RUNNING = "running", "Running"
        SUCCEEDED = "succeeded", "Done"
        FAILED = "failed", "Failed"
        CANCELLED = "cancelled", "Cancelled"

    ACTIVE = [State.PENDING, State.RUNNING]

    registry = models.ForeignKey("dashboard.Registry", models.CASCADE, related_name="jobs")
    kind = models.CharField(max_length=32)
    subject = models.CharField(max_length=400, blank=True, help_text="What it works on, for people.")
    parameters = models.JSONField(default=dict)
    state = models.CharField(max_length=9, choices=State.choices, default=State.PENDING)
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="jobs")
    revision = models.PositiveIntegerField()
    exclusive = models.CharField(max_length=32, blank=True)
    phase = models.SmallIntegerField(default=-1)
    remaining = models.PositiveIntegerField(default=0)
    created = models.DateTimeField(auto_now_add=True)
    started = models.DateTimeField(null=True)
    finished = models.DateTimeField(null=True)
    touched = models.DateTimeField(auto_now_add=True, help_text="Last change of state or phase.")
    cancel_requested = models.DateTimeField(null=True)
    result = models.JSONField(default=dict)
    error = models.TextField(blank=True)

    objects = JobQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["registry", "exclusive"],
                condition=models.Q(state__in=["pending", "running"]) & ~models.Q(exclusive=""),
                name="one_active_exclusive_job",
            )
        ]
        indexes = [models.Index(fields=["state", "touched"], name="job_by_state")]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"

    def get_absolute_url(self) -> str:
        return reverse("job_detail", args=[self.pk])

    @property
    def is_active(self) -> bool:
        return self.state in self.ACTIVE


class Shard(models.Model):
    """A unit of a job's phase that one worker runs under a lease. `cursor` is where the next run goes on.

    Only the holder of `lease_token` writes the row while it runs. `total` is null while nobody knows it.
    """

    class State(models.TextChoices):
        PENDING = "pending", "Waiting"
        RUNNING = "running", "Running"
        SUCCEEDED = "succeeded", "Done"
        FAILED = "failed", "Failed"
        CANCELLED = "cancelled", "Cancelled"

    job = models.ForeignKey(Job, models.CASCADE, related_name="shards")
    phase = models.SmallIntegerField()
    index = models.PositiveIntegerField()
    label = models.CharField(max_length=300, blank=True)
    parameters = models.JSONField(default=dict)
    state = models.CharField(max_length=9, choices=State.choices, default=State.PENDING)
    cursor = models.JSONField(default=dict)
    lease_token = models.UUIDField(null=True)
    lease_expires = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    not_before = models.DateTimeField(null=True)
    sent = models.DateTimeField(null=True)
    worker = models.CharField(max_length=100, blank=True)
    done = models.PositiveBigIntegerField(default=0)
    total = models.PositiveBigIntegerField(null=True)
    bytes_done = models.PositiveBigIntegerField(default=0)
    bytes_total = models.PositiveBigIntegerField(null=True)
    requests = models.JSONField(default=dict)
    result = models.JSONField(default=dict)
    error = models.TextField(blank=True)

    class Meta:
        ordering = ["job", "phase", "index"]
        constraints = [models.UniqueConstraint(fields=["job", "phase", "index"], name="one_shard_per_index")]
        indexes = [models.Index(fields=["state", "not_before"], name="shard_by_state")]

    def __str__(self) -> str:
        return f"job {self.job_id} phase {self.phase} shard {self.index}"


class JobEvent(models.Model):
    """A line of a job's log."""

    class Level(models.TextChoices):
        INFO = "info", "Info"
        WARNING = "warning", "Warning"
        ERROR = "error", "Error"

    job = models.ForeignKey(Job, models.CASCADE, related_name="events")
    at = models.DateTimeField(auto_now_add=True)
    level = models.CharField(max_length=7, choices=Level.choices, default=Level.INFO)
    message = models.TextField()

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.message
