"""The registry form: what it refuses and at which field, what it keeps, what it never shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import PermissionDenied, ValidationError

from dashboard.forms.registries import RegistryForm
from dashboard.models import Registry, Role
from dashboard.services import registries
from storagedriver import clients
from tests.dashboard.factories import make_member, make_registry, make_superuser

pytestmark = pytest.mark.django_db
CANARY = "canary-secret-key"
KEY_ID = "1234abcd-12ab-34cd-56ef-1234567890ab"
VALID = {
    "name": "Team images",
    "slug": "team-images",
    "version": "3",
    "public_host": "",
    "bucket": "team-images",
    "region": "eu-central-1",
    "region_endpoint": "",
    "secure": "on",
    "v4auth": "on",
    "root_directory": "",
    "credentials_source": "static",
    "access_key": "AKIDEXAMPLE",
    "secret_key": CANARY,
    "encryption": "none",
    "kms_key_id": "",
    "storage_class": "STANDARD",
    "chunk_size": "10",
}


@pytest.fixture
def root() -> User:
    return make_superuser()


@pytest.fixture(scope="session")
def pem() -> str:
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.fixture
def production_policy() -> Iterator[None]:
    clients.configure(policy=clients.EndpointPolicy(allow_private=False, allowed_hosts=("minio.internal",)))
    yield
    clients.configure(policy=clients.EndpointPolicy(allow_private=settings.ENDPOINT_ALLOW_PRIVATE))


def form_of(actor: User, registry: Registry | None = None, **changed: str | None) -> RegistryForm:
    """Return the form as the browser would send it: what it shows, secrets empty, with some fields changed."""
    cls = cast("type[RegistryForm]", type("Form", (RegistryForm,), {"actor": actor}))
    sent: dict[str, Any] = dict(VALID)
    if registry is not None:
        shown = cls(instance=registry)
        sent = {name: shown[name].value() for name in shown.fields}
    sent |= changed
    return cls({name: value for name, value in sent.items() if value not in (None, False)}, instance=registry)


def test_it_works(root: User) -> None:
    form = form_of(root)
    assert form.is_valid(), form.errors
    registry = form.save(commit=False)
    registries.create(registry=registry)
    registry.refresh_from_db()
    assert (registry.bucket, registry.secret_key, registry.chunk_size) == ("team-images", CANARY, 10 * 2**20)


@pytest.mark.parametrize(
    ("field", "changed", "says"),
    [
        ("bucket", {"bucket": "Team_images"}, "Use only lower-case letters, digits, dots and hyphens."),
        ("bucket", {"bucket": "ab"}, "A bucket name has 3 to 63 characters."),
        ("bucket", {"bucket": "a" * 64}, "63 characters"),
        ("bucket", {"bucket": ""}, "required"),
        ("region", {"region": ""}, "Enter the bucket's region"),
        ("region", {"region": "eu central"}, "invalid region"),
        ("region_endpoint", {"region_endpoint": "ftp://minio.example.org"}, "http:// or https://"),
        ("region_endpoint", {"region_endpoint": "https://minio.example.org/s3"}, "base path"),
        ("region_endpoint", {"region_endpoint": "https://user:pass@minio.example.org"}, "user or password"),
        ("region_endpoint", {"region_endpoint": "https://minio.example.org?x=1"}, "query"),
        ("root_directory", {"root_directory": "a/../b"}, "as a folder"),
        ("v4auth", {"v4auth": None}, "v4 authentication"),
        ("access_key", {"access_key": ""}, "Enter the access key."),
        ("secret_key", {"secret_key": ""}, "Enter the secret key."),
        ("kms_key_id", {"encryption": "sse-kms"}, "Enter the key"),
        ("kms_key_id", {"encryption": "sse-kms", "kms_key_id": "my key"}, "This is no KMS key"),
        (
            "kms_key_id",
            {"encryption": "sse-kms", "kms_key_id": f"arn:aws:kms:eu-west-1:111122223333:key/{KEY_ID}"},
            "This key is in eu-west-1, the bucket in eu-central-1",
        ),
        ("storage_class", {"storage_class": "GLACIER"}, "not one of the available choices"),
        ("storage_class", {"storage_class": "STANDARD_IA", "version": "2.8"}, "version 2.8 refuses it"),
        ("chunk_size", {"chunk_size": "4.99"}, "from 5 to 5120"),
        ("chunk_size", {"chunk_size": "5121"}, "from 5 to 5120"),
        ("chunk_size", {"chunk_size": "1e999999999"}, "from 5 to 5120"),
        ("chunk_size", {"chunk_size": "NaN"}, "from 5 to 5120"),
        ("chunk_size", {"chunk_size": "ten"}, "from 5 to 5120"),
        ("public_host", {"public_host": "https://registry.example.org"}, "Enter a host"),
    ],
)
def test_a_bad_value_is_refused_at_its_field_alone(
    root: User, field: str, changed: dict[str, str | None], says: str
) -> None:
    form = form_of(root, **changed)
    assert list(form.errors) == [field]
    assert says in " ".join(form.errors[field])


def test_every_error_is_told_at_once(root: User) -> None:
    form = form_of(root, bucket="B", region="", access_key="", chunk_size="1", encryption="sse-kms")
    assert set(form.errors) == {"bucket", "region", "access_key", "chunk_size", "kms_key_id"}


@pytest.mark.parametrize(
    "changed",
    [
        {"region": "xx-newland-7"},
        {"region": "", "region_endpoint": "http://127.0.0.1:9000"},
        {"region_endpoint": "minio.example.org:9000", "secure": None},
        {"encryption": "sse-kms", "kms_key_id": KEY_ID},
        {"encryption": "sse-kms", "kms_key_id": "alias/registry"},
        {"encryption": "sse-kms", "kms_key_id": f"arn:aws:kms:eu-central-1:111122223333:key/mrk-{'0a' * 16}"},
        {"encryption": "sse-kms", "kms_key_id": "any name", "region_endpoint": "https://minio.example.org"},
        {"chunk_size": "5"},
        {"chunk_size": "7.5"},
        {"chunk_size": "5120"},
    ],
)
def test_an_unusual_value_is_accepted(root: User, changed: dict[str, str | None]) -> None:
    form = form_of(root, **changed)
    assert form.is_valid(), form.errors


def test_an_unknown_region_is_a_warning(root: User) -> None:
    form = form_of(root, region="eu-central-9")
    assert form.is_valid()
    assert [field for field, _ in registries.warnings(form.instance)] == ["region"]


def test_a_scheme_in_the_endpoint_makes_no_noise_about_https(root: User) -> None:
    form = form_of(root, region_endpoint="https://minio.example.org")
    assert form.is_valid()
    assert "secure" not in [field for field, _ in registries.warnings(form.instance)]


def test_a_private_endpoint_is_refused_in_production(root: User, production_policy: None) -> None:
    form = form_of(root, region_endpoint="http://169.254.169.254")
    assert "ENDPOINT_ALLOWLIST" in str(form.errors["region_endpoint"])


def test_a_listed_private_endpoint_is_accepted_in_production(root: User, production_policy: None) -> None:
    assert form_of(root, region_endpoint="http://minio.internal:9000").is_valid()


# CloudFront


def test_cloudfront_takes_all_three_values(root: User, pem: str) -> None:
    form = form_of(
        root,
        cloudfront_base_url="https://d111111abcdef8.cloudfront.net",
        cloudfront_key_pair_id="K2JCJMDEHXQW5F",
        cloudfront_private_key=pem,
    )
    assert form.is_valid(), form.errors


def test_cloudfront_names_the_values_that_are_missing(root: User) -> None:
    form = form_of(root, cloudfront_base_url="https://d111111abcdef8.cloudfront.net")
    assert set(form.errors) == {"cloudfront_key_pair_id", "cloudfront_private_key"}


@pytest.mark.parametrize("kind", ["rubbish", "elliptic"])
def test_a_key_that_cannot_sign_is_refused_at_its_field(root: User, kind: str) -> None:
    elliptic = ec.generate_private_key(ec.SECP256R1())
    key = {
        "rubbish": "-----BEGIN RSA PRIVATE KEY-----\n" + "rubbish" * 20 + "\n-----END RSA PRIVATE KEY-----",
        "elliptic": elliptic.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
    }[kind]
    form = form_of(
        root,
        cloudfront_base_url="https://d1.cloudfront.net",
        cloudfront_key_pair_id="K2JCJMDEHXQW5F",
        cloudfront_private_key=key,
    )
    assert list(form.errors) == ["cloudfront_private_key"]


@pytest.fixture
def distribution(pem: str) -> Registry:
    return make_registry(
        cloudfront_base_url="https://d1.cloudfront.net",
        cloudfront_key_pair_id="K2JCJMDEHXQW5F",
        cloudfront_private_key=pem,
    )


def test_the_stored_private_key_is_kept_when_its_field_is_empty(root: User, distribution: Registry, pem: str) -> None:
    form = form_of(root, distribution, cloudfront_base_url="https://d2.cloudfront.net")
    assert form.is_valid(), form.errors
    assert form.save(commit=False).cloudfront_private_key == pem


def test_turning_cloudfront_off_forgets_its_three_values(root: User, distribution: Registry) -> None:
    form = form_of(root, distribution, cloudfront_off="on")
    assert form.is_valid(), form.errors
    registry = form.save(commit=False)
    assert [getattr(registry, field) for field in registries.CLOUDFRONT_FIELDS.values()] == ["", "", ""]


# Secrets


def test_the_stored_secret_is_kept_when_its_field_is_empty(root: User) -> None:
    registry = make_registry(secret_key=CANARY)
    form = form_of(root, registry, name="Another name")
    assert form.is_valid(), form.errors
    assert form.save(commit=False).secret_key == CANARY


def test_an_untouched_secret_does_not_count_as_changed(root: User) -> None:
    form = form_of(root, make_registry(secret_key=CANARY), name="Another name")
    assert form.changed_data == ["name"]


def test_a_new_secret_replaces_the_stored_one(root: User) -> None:
    form = form_of(root, make_registry(), secret_key="another-secret")
    assert form.is_valid(), form.errors
    assert form.save(commit=False).secret_key == "another-secret"


@pytest.mark.parametrize(
    "changed",
    [
        {"bucket": "another-bucket"},
        {"region": "eu-west-1"},
        {"region_endpoint": "http://127.0.0.1:10"},
        {"secure": None},
        {"access_key": "AKIDANOTHER"},
    ],
)
def test_a_change_of_where_the_secret_goes_asks_for_it_again(root: User, changed: dict[str, str | None]) -> None:
    registry = make_registry()
    assert list(form_of(root, registry, **changed).errors) == ["secret_key"]
    assert form_of(root, registry, secret_key="not-a-real-secret", **changed).is_valid()


def test_no_secret_is_rendered(root: User, distribution: Registry, pem: str) -> None:
    distribution.secret_key = CANARY
    shown = str(form_of(root, distribution, secret_key="typed-secret", cloudfront_private_key=pem, bucket="B"))
    cls = cast("type[RegistryForm]", type("Form", (RegistryForm,), {"actor": root}))
    shown += str(cls(instance=distribution))
    assert [text for text in (CANARY, "typed-secret", pem.splitlines()[1]) if text in shown] == []


# Who may use the server's own identity


def test_a_superuser_may_choose_the_servers_own_identity(root: User) -> None:
    form = form_of(root, credentials_source="server", access_key="", secret_key="")
    assert form.is_valid(), form.errors


def test_an_administrator_is_not_offered_the_servers_own_identity() -> None:
    registry = make_registry()
    form = form_of(make_member(registry, Role.ADMINISTRATOR), registry, credentials_source="server")
    assert list(form.errors) == ["credentials_source"]


def test_an_administrator_cannot_point_the_servers_own_identity_elsewhere() -> None:
    registry = make_registry(credentials_source="server", access_key="", secret_key="")
    admin = make_member(registry, Role.ADMINISTRATOR)
    assert form_of(admin, registry, name="Another name").is_valid()
    assert list(form_of(admin, registry, bucket="another-bucket").errors) == ["bucket"]


def test_the_service_refuses_the_servers_own_identity_whatever_the_form_offers() -> None:
    registry = make_registry()
    admin = make_member(registry, Role.ADMINISTRATOR)
    registry.credentials_source = "server"
    with pytest.raises(ValidationError) as caught:
        registries.check(registry, actor=admin)
    assert list(caught.value.message_dict) == ["credentials_source"]


def test_choosing_the_servers_own_identity_forgets_the_keys(root: User) -> None:
    registry = make_registry()
    form = form_of(root, registry, credentials_source="server")
    assert form.is_valid(), form.errors
    registries.update(registry=form.save(commit=False), actor=root)
    registry.refresh_from_db()
    assert (registry.access_key, registry.secret_key) == ("", "")


# Saving


def test_an_update_counts_the_revision_and_leaves_the_generation_alone(root: User) -> None:
    registry = make_registry()
    Registry.objects.filter(pk=registry.pk).update(generation=7)  # a scan ends while the form is open
    registries.update(registry=registry, actor=root)
    registry.refresh_from_db()
    assert (registry.revision, registry.generation) == (2, 7)


def test_a_form_opened_before_another_change_is_refused(root: User) -> None:
    registry = make_registry()
    stale = form_of(root, registry)
    sent = dict(stale.data)
    registries.update(registry=Registry.objects.get(), actor=root)
    cls = cast("type[RegistryForm]", type("Form", (RegistryForm,), {"actor": root}))
    assert "Somebody changed" in str(cls(sent, instance=Registry.objects.get()).errors)


def test_an_update_from_an_old_reading_is_refused(root: User) -> None:
    make_registry()
    first, second = Registry.objects.get(), Registry.objects.get()
    registries.update(registry=first, actor=root)
    with pytest.raises(registries.RegistryChanged):
        registries.update(registry=second, actor=root)


def test_an_operator_may_not_update() -> None:
    registry = make_registry()
    with pytest.raises(PermissionDenied):
        registries.update(registry=registry, actor=make_member(registry, Role.OPERATOR))


def test_the_demo_row_is_made_once_and_follows_its_server() -> None:
    first = registries.add_demo("http://127.0.0.1:1")
    again = registries.add_demo("http://127.0.0.1:1")
    moved = registries.add_demo("http://127.0.0.1:2")
    assert (again.pk, again.revision, moved.pk, moved.revision) == (first.pk, 1, first.pk, 2)
    assert (moved.is_demo, moved.region_endpoint) == (True, "http://127.0.0.1:2")


def test_nobody_is_no_administrator() -> None:
    with pytest.raises(PermissionDenied):
        registries.delete(registry=make_registry(), actor=cast("User", AnonymousUser()))
