"""The catalog: what a scan found in a registry's bucket. `seen` is the generation (scan number) that last saw a row."""

from __future__ import annotations

from django.db import models

from dashboard.querysets import RepositoryRowQuerySet, VisibleQuerySet

DIGEST_LENGTH = 7 + 128  # "sha512:" and its hex digits, the longest digest the registry accepts


class Repository(models.Model):
    """A folder that holds `_manifests`. The counts and sizes are brought up to date at the end of a scan.

    `size` is unique bytes: every blob that its revisions need, counted once.
    """

    registry = models.ForeignKey("dashboard.Registry", models.CASCADE, related_name="repositories")
    name = models.CharField(max_length=255)
    tag_count = models.PositiveIntegerField(default=0)
    revision_count = models.PositiveIntegerField(default=0)
    size = models.PositiveBigIntegerField(default=0)
    updated = models.DateTimeField(null=True, help_text="When a tag or a manifest was last pushed.")
    seen = models.PositiveIntegerField()

    objects = VisibleQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        verbose_name_plural = "repositories"
        constraints = [models.UniqueConstraint(fields=["registry", "name"], name="one_repository_per_name")]

    def __str__(self) -> str:
        return self.name


class Manifest(models.Model):
    """One manifest, read once: it is content-addressed, so the parse holds for ever.

    `kind` is empty until it was read; `error` says why it could not be. `size` is that of the manifest itself,
    `total_size` that of everything it needs (config, layers and children, each blob once).
    """

    class Kind(models.TextChoices):
        UNREAD = "", "not read yet"
        IMAGE = "image", "Image"
        INDEX = "index", "Index"
        SCHEMA1 = "schema1", "Image (schema 1)"
        ARTIFACT = "artifact", "Artifact"

    registry = models.ForeignKey("dashboard.Registry", models.CASCADE, related_name="manifests")
    digest = models.CharField(max_length=DIGEST_LENGTH)
    kind = models.CharField(max_length=8, choices=Kind.choices, blank=True, default=Kind.UNREAD)
    label = models.CharField(
        max_length=32, blank=True, help_text="What it is in one word: image, signature, Helm chart."
    )
    media_type = models.CharField(max_length=255, blank=True)
    artifact_type = models.CharField(max_length=255, blank=True)
    size = models.PositiveBigIntegerField(default=0)
    total_size = models.PositiveBigIntegerField(default=0)
    config_digest = models.CharField(max_length=DIGEST_LENGTH, blank=True)
    subject_digest = models.CharField(max_length=DIGEST_LENGTH, blank=True)
    os = models.CharField(max_length=64, blank=True)
    architecture = models.CharField(max_length=64, blank=True)
    variant = models.CharField(max_length=64, blank=True)
    created = models.DateTimeField(null=True, help_text="Build time that the image's config states.")
    annotations = models.JSONField(default=dict)
    config = models.JSONField(default=dict, help_text="The parsed config: env, entrypoint, labels, history.")
    content = models.BinaryField(default=b"")
    error = models.TextField(blank=True)

    objects = VisibleQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["registry", "digest"], name="one_manifest_per_digest")]
        indexes = [
            models.Index(fields=["registry", "subject_digest"], name="manifest_by_subject"),
            models.Index(fields=["registry", "kind"], name="manifest_by_kind"),
        ]

    def __str__(self) -> str:
        return self.digest

    @property
    def platform(self) -> str:
        """os/architecture/variant as clients write it, empty when unknown."""
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


class Reference(models.Model):
    """What a manifest names: its config, layers, children (of an index) and subject, in order."""

    class Kind(models.TextChoices):
        CONFIG = "config", "Config"
        LAYER = "layer", "Layer"
        CHILD = "child", "Child"
        SUBJECT = "subject", "Subject"

    manifest = models.ForeignKey(Manifest, models.CASCADE, related_name="references")
    kind = models.CharField(max_length=8, choices=Kind.choices)
    position = models.PositiveIntegerField()
    digest = models.CharField(max_length=DIGEST_LENGTH, db_index=True)
    media_type = models.CharField(max_length=255, blank=True)
    size = models.PositiveBigIntegerField(default=0)
    platform = models.CharField(max_length=200, blank=True)
    annotations = models.JSONField(default=dict)

    class Meta:
        ordering = ["manifest", "kind", "position"]
        constraints = [
            models.UniqueConstraint(fields=["manifest", "kind", "position"], name="one_reference_per_position")
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.digest}"


class Revision(models.Model):
    """A manifest that a repository holds, by its revision link."""

    repository = models.ForeignKey(Repository, models.CASCADE, related_name="revisions")
    manifest = models.ForeignKey(Manifest, models.CASCADE, related_name="revisions")
    linked = models.DateTimeField(help_text="When the link was last written.")
    seen = models.PositiveIntegerField()

    objects = RepositoryRowQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repository", "manifest"], name="one_revision_per_manifest")]

    def __str__(self) -> str:
        return f"{self.repository_id}@{self.manifest_id}"


class Tag(models.Model):
    """A tag; `digest` is empty and `error` says why when its link cannot be read."""

    repository = models.ForeignKey(Repository, models.CASCADE, related_name="tags")
    name = models.CharField(max_length=128)
    order = models.CharField(max_length=600, help_text="The name with its numbers padded, so that 1.10 follows 1.9.")
    digest = models.CharField(max_length=DIGEST_LENGTH, blank=True)
    manifest = models.ForeignKey(Manifest, models.SET_NULL, null=True, related_name="tags")
    updated = models.DateTimeField(help_text="When the tag was last moved.")
    error = models.TextField(blank=True)
    seen = models.PositiveIntegerField()

    objects = RepositoryRowQuerySet.as_manager()

    class Meta:
        ordering = ["repository", "order", "name"]
        constraints = [models.UniqueConstraint(fields=["repository", "name"], name="one_tag_per_name")]
        indexes = [
            models.Index(fields=["repository", "order", "name"], name="tag_by_order"),
            models.Index(fields=["repository", "updated", "id"], name="tag_by_date"),
        ]

    def __str__(self) -> str:
        return self.name


class Blob(models.Model):
    """One stored blob: a layer, a config, a manifest or something nobody refers to."""

    registry = models.ForeignKey("dashboard.Registry", models.CASCADE, related_name="blobs")
    digest = models.CharField(max_length=DIGEST_LENGTH)
    size = models.PositiveBigIntegerField()
    modified = models.DateTimeField()
    storage_class = models.CharField(max_length=32)
    seen = models.PositiveIntegerField()

    objects = VisibleQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["registry", "digest"], name="one_blob_per_digest")]

    def __str__(self) -> str:
        return self.digest


class UploadSession(models.Model):
    """A client's unfinished upload to a repository: its folder below `_uploads`, its multipart upload, or both.

    `path` is the driver path of its data. `last_activity` is the newest of its objects and parts.
    """

    registry = models.ForeignKey("dashboard.Registry", models.CASCADE, related_name="upload_sessions")
    repository_name = models.CharField(max_length=255)
    upload_id = models.CharField(max_length=128, help_text="The registry's id of the upload, usually a UUID.")
    path = models.CharField(max_length=1024)
    started = models.DateTimeField(null=True)
    last_activity = models.DateTimeField()
    size = models.PositiveBigIntegerField(default=0)
    parts = models.PositiveIntegerField(default=0)
    multipart_ids = models.JSONField(default=list)
    seen = models.PositiveIntegerField()

    objects = VisibleQuerySet.as_manager()

    class Meta:
        ordering = ["last_activity"]
        constraints = [models.UniqueConstraint(fields=["registry", "path"], name="one_session_per_path")]

    def __str__(self) -> str:
        return f"{self.repository_name} {self.upload_id}"


class Scan(models.Model):
    """One complete scan: what was listed, what it cost, and the ledger, every listed byte in exactly one class."""

    registry = models.ForeignKey("dashboard.Registry", models.CASCADE, related_name="scans")
    generation = models.PositiveIntegerField()
    started = models.DateTimeField()
    finished = models.DateTimeField()
    keys = models.PositiveBigIntegerField()
    bytes = models.PositiveBigIntegerField()
    repositories = models.PositiveIntegerField()
    tags = models.PositiveIntegerField()
    manifests = models.PositiveIntegerField()
    blobs = models.PositiveIntegerField()
    ledger = models.JSONField(default=dict, help_text="Class to bytes.")
    requests = models.JSONField(default=dict, help_text="S3 operation to requests, retries counted.")
    problems = models.JSONField(default=list, help_text="What could not be read, a sentence each.")

    objects = VisibleQuerySet.as_manager()

    class Meta:
        ordering = ["-generation"]
        constraints = [models.UniqueConstraint(fields=["registry", "generation"], name="one_scan_per_generation")]

    def __str__(self) -> str:
        return f"{self.registry_id} scan {self.generation}"
