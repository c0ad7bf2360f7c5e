"""Adding, changing and deleting registry rows, and the rules that any door to them keeps.

The admin form, and every command that edits a row, calls `check` and then `create` or `update`.
"""

from __future__ import annotations

import re

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F

from dashboard.access import require
from dashboard.models import Job, Membership, Registry, Role
from storagedriver import ParameterErrors
from storagedriver.clients import check_endpoint
from storagedriver.errors import EndpointRefusedError

# The driver's parameters and the columns they come from; the same for CloudFront's.
PARAMETER_FIELDS = {
    "bucket": "bucket",
    "region": "region",
    "regionendpoint": "region_endpoint",
    "rootdirectory": "root_directory",
    "secure": "secure",
    "v4auth": "v4auth",
    "chunksize": "chunk_size",
    "encrypt": "encryption",
    "keyid": "kms_key_id",
    "storageclass": "storage_class",
    "credentials": "credentials_source",
    "accesskey": "access_key",
    "secretkey": "secret_key",
}
CLOUDFRONT_FIELDS = {
    "baseurl": "cloudfront_base_url",
    "keypairid": "cloudfront_key_pair_id",
    "privatekey": "cloudfront_private_key",
}
CONFIGURATION = (
    "slug",
    "name",
    "version",
    "public_host",
    *PARAMETER_FIELDS.values(),
    *CLOUDFRONT_FIELDS.values(),
)
# Whoever moves these could send what the stored secret opens to a place of their own.
ADDRESS_FIELDS = ("bucket", "region", "region_endpoint", "secure", "access_key")

# https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#key-id
KMS_ID = r"(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|mrk-[0-9a-f]{32})"
KMS_ALIAS = r"alias/[A-Za-z0-9/_-]{1,250}"
KMS_KEY = re.compile(
    rf"arn:aws[a-z-]*:kms:(?P<region>[a-z0-9-]+):\d{{12}}:(?:key/{KMS_ID}|{KMS_ALIAS})|{KMS_ID}|{KMS_ALIAS}"
)


class RegistryChanged(Exception):  # noqa: N818 - the field's word is changed
    """Somebody else changed the row since it was read; nothing was written."""


def check(registry: Registry, *, actor: User | None, secret_entered: bool = True) -> None:
    """Raise ValidationError, keyed by field, unless the row may be stored as it stands now.

    `actor` None is the operator of the command line, who owns the server anyway. `secret_entered` says that the secret
    key was given along with this change, and is not the stored one. Looks host names up when the endpoint policy does.
    """
    stored = Registry.objects.filter(pk=registry.pk).first() if registry.pk else None
    errors = _identity_errors(registry, stored, actor) or _credential_errors(registry, stored, secret_entered)
    for field, messages in (*_parameter_errors(registry).items(), *_cloudfront_errors(registry).items()):
        errors.setdefault(field, messages)
    if errors:
        raise ValidationError(errors)


def warnings(registry: Registry) -> list[tuple[str, str]]:
    """Return what the driver accepts with a warning, as (field, sentence); nothing for a row that it refuses."""
    try:
        parameters = registry.parameters()
    except ParameterErrors:
        return []
    return [(PARAMETER_FIELDS.get(warning.field, ""), warning.message) for warning in parameters.warnings]


def create(*, registry: Registry) -> None:
    """Store a new row that `check` accepted."""
    _tidy(registry)
    registry.save(force_insert=True)


def admit_creator(*, registry: Registry, actor: User) -> None:
    """Make who added the registry its administrator; a superuser is one already."""
    if not actor.is_superuser:
        Membership.objects.update_or_create(registry=registry, user=actor, defaults={"role": Role.ADMINISTRATOR})


def update(*, registry: Registry, actor: User | None) -> None:
    """Store a changed row that `check` accepted, and count its revision up: running jobs of the old one stop.

    Raises PermissionDenied, and RegistryChanged when the row is no longer at the revision that `registry` was read at.
    """
    if actor is not None:
        require(actor, registry, Role.ADMINISTRATOR)
    _tidy(registry)
    with transaction.atomic():
        unchanged = Registry.objects.filter(pk=registry.pk, revision=registry.revision)
        if not unchanged.update(revision=F("revision") + 1):
            raise RegistryChanged
        registry.revision += 1
        registry.save(update_fields=CONFIGURATION)  # not the generation, which a scan may be raising


def delete(*, registry: Registry, actor: User) -> None:
    """Forget a registry: its row, members, jobs and catalog. No object in the bucket is touched.

    Raises PermissionDenied, and ValidationError while a job of it is active.
    """
    require(actor, registry, Role.ADMINISTRATOR)
    if active := Job.objects.active().filter(registry=registry).first():
        raise ValidationError(f"Job {active.pk} is still at work for {registry}. Wait for it or cancel it first.")
    for archive in registry.archives.all():  # one by one: a cascade would leave their files in the spool
        archive.delete()
    registry.delete()


def add_demo(endpoint_url: str) -> Registry:
    """Create or update the row of the demo registry, whose embedded store answers at `endpoint_url`."""
    place = {
        "bucket": "demo",
        "region": "us-east-1",
        "region_endpoint": endpoint_url,
        "access_key": "demo",
        "secret_key": "demodemo",
        "is_demo": True,
    }
    registry = Registry.objects.filter(slug="demo").first()
    if registry is None:
        registry = Registry(slug="demo", name="Demo registry", **place)
        create(registry=registry)
    elif any(getattr(registry, field) != value for field, value in place.items()):
        for field, value in place.items():
            setattr(registry, field, value)
        update(registry=registry, actor=None)
    return registry


def _tidy(registry: Registry) -> None:
    """Drop what the chosen options leave unused, secrets above all."""
    if registry.credentials_source == Registry.Credentials.SERVER:
        registry.access_key = registry.secret_key = ""
    if registry.encryption != Registry.Encryption.KMS:
        registry.kms_key_id = ""


def _identity_errors(registry: Registry, stored: Registry | None, actor: User | None) -> dict[str, list[str]]:
    """The server's own identity may open every bucket of its owner: only a superuser chooses where it is used."""
    if registry.credentials_source != Registry.Credentials.SERVER or actor is None or actor.is_superuser:
        return {}
    if stored is None or stored.credentials_source != Registry.Credentials.SERVER:
        return {"credentials_source": ["Only a superuser may let a registry use this server's own identity."]}
    moved = [field for field in (*ADDRESS_FIELDS, "root_directory") if _differs(registry, stored, field)]
    return {
        field: ["Only a superuser may change this while the registry uses this server's own identity."]
        for field in moved
    }


def _credential_errors(registry: Registry, stored: Registry | None, secret_entered: bool) -> dict[str, list[str]]:
    if registry.credentials_source != Registry.Credentials.STATIC:
        return {}
    errors: dict[str, list[str]] = {}
    if not registry.access_key:
        errors["access_key"] = ["Enter the access key."]
    if not registry.secret_key:
        errors["secret_key"] = ["Enter the secret key."]
    elif stored is not None and not secret_entered:
        moved = [_label(field) for field in ADDRESS_FIELDS if _differs(registry, stored, field)]
        if moved:
            errors["secret_key"] = [f"Enter the secret key again, since you changed: {', '.join(moved)}."]
    return errors


def _parameter_errors(registry: Registry) -> dict[str, list[str]]:
    errors: dict[str, list[str]] = {}
    try:
        parameters = registry.parameters()
    except ParameterErrors as refused:
        errors = {PARAMETER_FIELDS[name]: messages for name, messages in refused.items()}
        if "region" in errors and not registry.region:
            errors["region"] = ["Enter the bucket's region, such as eu-central-1."]
        amazon = not registry.region_endpoint
    else:
        amazon = parameters.amazon
        try:
            check_endpoint(parameters)
        except EndpointRefusedError as refused:
            errors["region_endpoint"] = [refused.detail]
    if registry.encryption == Registry.Encryption.KMS and (problem := _kms_problem(registry, amazon)):
        errors["kms_key_id"] = [problem]
    return errors


def _kms_problem(registry: Registry, amazon: bool) -> str:
    if not registry.kms_key_id:
        return "Enter the key: SSE-KMS encrypts with a key of yours. Without one choose SSE-S3."
    if not amazon:
        return ""  # other stores name their keys as they like
    key = KMS_KEY.fullmatch(registry.kms_key_id)
    if key is None:
        return (
            "This is no KMS key. Enter a key ID (1234abcd-12ab-34cd-56ef-1234567890ab), an alias (alias/registry) "
            "or the ARN of either (arn:aws:kms:…)."
        )
    if key["region"] and registry.region and key["region"] != registry.region:
        return (
            f"This key is in {key['region']}, the bucket in {registry.region}. S3 needs a key in the bucket's region."
        )
    return ""


def _cloudfront_errors(registry: Registry) -> dict[str, list[str]]:
    missing = [field for field in CLOUDFRONT_FIELDS.values() if not getattr(registry, field)]
    if len(missing) == len(CLOUDFRONT_FIELDS):
        return {}
    if missing:
        return {
            field: ["CloudFront needs its base URL, key pair ID and private key, or none of them."] for field in missing
        }
    try:
        registry.cloudfront()
    except ParameterErrors as refused:
        return {CLOUDFRONT_FIELDS[name]: messages for name, messages in refused.items()}
    return {}


def _differs(registry: Registry, stored: Registry, field: str) -> bool:
    return bool(getattr(registry, field) != getattr(stored, field))


def _label(field: str) -> str:
    return str(Registry._meta.get_field(field).verbose_name)  # type: ignore[union-attr]
