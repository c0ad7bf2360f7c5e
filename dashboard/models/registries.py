"""A registry row: the storage parameters of one container registry, its CloudFront middleware, its members."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.urls import reverse

from dashboard.fields import EncryptedTextField
from dashboard.querysets import RegistryQuerySet
from storagedriver import DriverParameters, S3Driver
from storagedriver.clients import Timeouts
from storagedriver.middleware.cloudfront import CloudFront

# A job tries again by itself, so that its page soon tells of a storage that hangs.
TIMEOUTS = Timeouts(read=30, attempts=3)


class Role(models.IntegerChoices):
    """What a member may do with a registry; each role includes the ones before it."""

    VIEWER = 10, "Viewer"
    OPERATOR = 20, "Operator"
    ADMINISTRATOR = 30, "Administrator"


class Registry(models.Model):
    """One container registry. Field names follow the registry's config.yml where they mean the same.

    `revision` counts changes to the row: a job remembers it and stops when the configuration changed under it.
    `generation` is the number of the last complete scan, 0 before the first.
    """

    class Version(models.TextChoices):
        V2_4 = "2.4", "2.4 and 2.5"
        V2_8 = "2.8", "2.6 to 2.8"
        V3 = "3", "3.x"

    class Credentials(models.TextChoices):
        STATIC = "static", "Access key and secret key"
        SERVER = "server", "This server's own identity (environment, instance profile)"

    class Encryption(models.TextChoices):
        NONE = "none", "None (the bucket's default applies)"
        S3 = "sse-s3", "SSE-S3 (AES-256, keys managed by S3)"
        KMS = "sse-kms", "SSE-KMS (a key of yours)"

    slug = models.SlugField(max_length=50, unique=True, help_text="Short name used in addresses and commands.")
    name = models.CharField(max_length=100)
    version = models.CharField(
        max_length=8, choices=Version.choices, default=Version.V3, verbose_name="registry version"
    )
    public_host = models.CharField(
        max_length=255,
        blank=True,
        validators=[
            RegexValidator(
                r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:\d{1,5})?$", "Enter a host, with a port if it is not 443."
            )
        ],
        help_text="Host (and port) that clients pull from, for example registry.example.org. Used in pull commands.",
    )

    bucket = models.CharField(max_length=63)
    region = models.CharField(max_length=64, blank=True)
    region_endpoint = models.CharField(max_length=255, blank=True, verbose_name="endpoint")
    root_directory = models.CharField(max_length=512, blank=True)
    secure = models.BooleanField(default=True, verbose_name="use HTTPS")
    v4auth = models.BooleanField(default=True, verbose_name="signature version 4")
    chunk_size = models.PositiveBigIntegerField(default=10 * 2**20)
    encryption = models.CharField(max_length=8, choices=Encryption.choices, default=Encryption.NONE)
    kms_key_id = models.CharField(max_length=2048, blank=True, verbose_name="KMS key")
    storage_class = models.CharField(max_length=32, default="STANDARD")

    credentials_source = models.CharField(max_length=8, choices=Credentials.choices, default=Credentials.STATIC)
    access_key = models.CharField(max_length=128, blank=True)
    secret_key = EncryptedTextField(blank=True)

    cloudfront_base_url = models.CharField(max_length=255, blank=True, verbose_name="base URL")
    cloudfront_key_pair_id = models.CharField(max_length=128, blank=True, verbose_name="key pair ID")
    cloudfront_private_key = EncryptedTextField(blank=True, verbose_name="private key")

    is_demo = models.BooleanField(default=False, editable=False)
    revision = models.PositiveIntegerField(default=1, editable=False)
    generation = models.PositiveIntegerField(default=0, editable=False)
    created = models.DateTimeField(auto_now_add=True)
    members = models.ManyToManyField(settings.AUTH_USER_MODEL, through="Membership", related_name="registries")

    objects = RegistryQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        verbose_name_plural = "registries"

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("registry_detail", args=[self.slug])

    def role_of(self, user: Any) -> Role | None:
        """Return the user's role here, None for a stranger. An active superuser is an administrator everywhere."""
        if not getattr(user, "is_active", False):
            return None
        if user.is_superuser:
            return Role.ADMINISTRATOR
        role = self.memberships.filter(user_id=user.pk).values_list("role", flat=True).first()
        return None if role is None else Role(role)

    def allows(self, user: Any, role: Role) -> bool:
        """Say whether the user has at least `role` here."""
        own = self.role_of(user)
        return own is not None and own >= role

    def parameters(self) -> DriverParameters:
        """Return the driver's parameters. Raises ParameterErrors when the row holds values that the driver refuses."""
        kms = self.encryption == self.Encryption.KMS
        values: dict[str, object] = {
            "bucket": self.bucket,
            "region": self.region or ("us-east-1" if self.region_endpoint else ""),
            "regionendpoint": self.region_endpoint,
            "rootdirectory": self.root_directory,
            "v4auth": self.v4auth,
            "chunksize": self.chunk_size,
            "encrypt": self.encryption != self.Encryption.NONE,
            "keyid": self.kms_key_id if kms else "",
            "storageclass": self.storage_class,
        }
        if "://" not in self.region_endpoint:
            values["secure"] = self.secure
        if self.credentials_source == self.Credentials.STATIC:
            # The driver refuses a blank pair: a row never falls back to the server's own identity by accident.
            values |= {"credentials": "static", "accesskey": self.access_key, "secretkey": self.secret_key}
        else:
            values["credentials"] = "chain"
        return DriverParameters.parse(values, version=self.version)

    def cloudfront(self) -> CloudFront | None:
        """Return the CloudFront middleware, None when no base URL is set. Raises ParameterErrors on bad settings."""
        if not self.cloudfront_base_url:
            return None
        return CloudFront.parse(
            baseurl=self.cloudfront_base_url,
            keypairid=self.cloudfront_key_pair_id,
            privatekey=self.cloudfront_private_key,
        )

    def open_driver(self) -> S3Driver:
        """Return a driver for this registry; no network call. Raises ParameterErrors."""
        return S3Driver(self.parameters(), middleware=self.cloudfront(), timeouts=TIMEOUTS)


class Membership(models.Model):
    """A user's role in one registry."""

    registry = models.ForeignKey(Registry, models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="memberships")
    role = models.PositiveSmallIntegerField(choices=Role.choices, default=Role.VIEWER)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["registry", "user"], name="one_role_per_member")]

    def __str__(self) -> str:
        return f"{self.user}: {self.get_role_display()} of {self.registry}"
