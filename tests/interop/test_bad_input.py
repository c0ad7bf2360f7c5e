"""What operators and clients get wrong: each ends in a sentence that says what to do, with nothing half-published."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile, File

from dashboard.jobs import engine
from dashboard.models import Archive, Job, Manifest, Registry, Repository, Scan, Tag
from dashboard.services.imports import receive_archive
from storagedriver.layout import paths
from tests.components import Answer, OciLayout, Proxy, S3Process, copy_image
from tests.components.images import digest_of
from tests.interop.conftest import MIB, make_registry, run_job, scan

WRONG_REGION = Answer(
    400,
    b"<Error><Code>AuthorizationHeaderMalformed</Code><Message>The authorization header is malformed; the region "
    b"'us-east-1' is wrong; expecting 'eu-west-1'</Message><Region>eu-west-1</Region></Error>",
)
HTML = Answer(200, b"<!DOCTYPE html><html><body><h1>Welcome to the router</h1><br></body></html>", "text/html")

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job in the foreground waits between its tries; the waiting is tested elsewhere."""
    monkeypatch.setattr(engine, "MAX_ATTEMPTS", 1)


# The storage parameters are wrong


@pytest.fixture
def wrong_secret(tmp_path: Path) -> Iterator[Registry]:
    server = S3Process(tmp_path, enforce=True)
    server.make_bucket("images")
    yield make_registry(server.endpoint, "images", access_key=server.keys[0], secret_key="wrong")
    server.stop()


@pytest.fixture
def missing_bucket(s3: S3Process) -> Registry:
    return make_registry(s3.endpoint, "no-such-bucket")


@pytest.fixture
def wrong_region(s3: S3Process) -> Iterator[Registry]:
    with Proxy(s3.endpoint, answer=lambda method, path: WRONG_REGION) as proxy:
        yield make_registry(proxy.endpoint, "images")


@pytest.fixture
def html_endpoint(s3: S3Process) -> Iterator[Registry]:
    with Proxy(s3.endpoint, answer=lambda method, path: HTML) as proxy:
        yield make_registry(proxy.endpoint, "images")


@pytest.fixture
def hanging_endpoint(s3: S3Process) -> Iterator[Registry]:
    with Proxy(s3.endpoint, answer=lambda method, path: Proxy.HANG) as proxy:
        yield make_registry(proxy.endpoint, "images")


WRONG_PARAMETERS = [
    ("wrong_secret", "secret"),
    ("missing_bucket", "no-such-bucket"),
    ("wrong_region", "set region to eu-west-1"),
    ("html_endpoint", "S3"),
]


@pytest.mark.parametrize(("registry_with", "words"), WRONG_PARAMETERS)
def test_a_scan_fails_with_advice(request: pytest.FixtureRequest, registry_with: str, words: str) -> None:
    job = run_job("scan", request.getfixturevalue(registry_with))

    assert job.state == Job.State.FAILED
    assert words in job.error
    assert "Unexpected" not in job.error
    assert not Scan.objects.exists()


@pytest.mark.parametrize(("registry_with", "words"), WRONG_PARAMETERS)
def test_the_connection_test_names_the_cause(request: pytest.FixtureRequest, registry_with: str, words: str) -> None:
    job = run_job("check", request.getfixturevalue(registry_with))

    assert job.state == Job.State.SUCCEEDED, job.error
    assert job.result["ok"] is False
    failed = [check for check in job.result["checks"] if check["outcome"] == "failed"]
    assert words in " ".join(f"{check['detail']} {check['advice']}" for check in failed)


def test_the_connection_test_answers_within_seconds_when_the_endpoint_does_not(hanging_endpoint: Registry) -> None:
    begun = time.monotonic()

    job = run_job("check", hanging_endpoint)

    assert time.monotonic() - begun < 15  # against the minutes of a client's own patience
    failed = [check for check in job.result["checks"] if check["outcome"] == "failed"]
    assert failed
    assert "did not answer in time" in failed[0]["detail"]


def test_a_scan_that_fails_keeps_the_catalog(s3: S3Process, bucket: str, registry: Registry, layout: OciLayout) -> None:
    publish(registry, layout, "api-1")
    scan(registry)
    s3.client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in s3.listing(bucket)]})
    s3.client.delete_bucket(Bucket=bucket)

    assert run_job("scan", registry).state == Job.State.FAILED

    assert Repository.objects.count() == Tag.objects.count() == 1


# The archive is wrong


def oci_archive(layout: OciLayout, image: str, path: Path) -> Path:
    copy_image(layout.source(image), f"oci-archive:{path}:{image}")
    return path


def publish(registry: Registry, layout: OciLayout, image: str) -> None:
    """Publish an image of the layout as team/api:1."""
    driver = registry.open_driver()
    contents, root = layout.closure(image), digest_of(layout.manifest(image))
    for digest, content in contents.items():
        driver.put_content(paths.blob_data(digest), content)
        link = paths.revision_link if digest == root else paths.layer_link
        driver.put_content(link("team/api", digest), digest.encode())
    driver.put_content(paths.tag_current_link("team/api", "1"), root.encode())


def flip_a_bit(archive: bytes, content: bytes) -> bytes:
    """Damage the member with this content, its middle byte, and nothing else."""
    at = archive.index(content) + len(content) // 2
    return archive[:at] + bytes([archive[at] ^ 1]) + archive[at + 1 :]


def import_(registry: Registry, archive: bytes) -> str:
    """Hand an archive to the upload page's service; return the error that the page or the job shows."""
    try:
        job = receive_archive(
            registry=registry, actor=None, upload=ContentFile(archive, "image.tar"), reference="shop/api:1"
        )
    except ValidationError as error:
        return " ".join(error.messages)
    return engine.run_here(job).error


@pytest.fixture
def good_archive(layout: OciLayout, tmp_path: Path) -> bytes:
    return oci_archive(layout, "api-1", tmp_path / "image.tar").read_bytes()


def test_what_is_no_archive_is_refused_at_the_door(registry: Registry) -> None:
    with pytest.raises(ValidationError) as refused:
        receive_archive(registry=registry, actor=None, upload=ContentFile(b"%PDF-1.7 " * 200, "a.pdf"), reference="a:1")

    assert list(refused.value.message_dict) == ["archive"]
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        pytest.param(lambda good: b"%PDF-1.7 " * 200, "archive", id="not an archive"),
        pytest.param(lambda good: gzip.compress(b"%PDF-1.7 " * 200), "archive", id="gzip of something else"),
        pytest.param(lambda good: good[: len(good) // 2], "ends early", id="truncated"),
        pytest.param(lambda good: gzip.compress(good)[:-2000], "ends early", id="truncated gzip"),
        pytest.param(lambda good: b"", "empty", id="empty"),
    ],
)
def test_a_bad_archive_publishes_nothing(
    s3: S3Process, bucket: str, registry: Registry, good_archive: bytes, damage: object, words: str
) -> None:
    assert callable(damage)
    before = s3.listing(bucket)

    error = import_(registry, damage(good_archive))

    assert words in error
    assert s3.listing(bucket) == before
    assert s3.uploads(bucket) == {}
    assert not Tag.objects.exists()


def test_a_layer_with_another_digest_is_named_and_nothing_published(
    s3: S3Process, bucket: str, registry: Registry, layout: OciLayout, good_archive: bytes
) -> None:
    largest = max(layout.closure("api-1").values(), key=len)

    error = import_(registry, flip_a_bit(good_archive, largest))

    assert digest_of(largest) in error
    assert s3.listing(bucket) == {}
    assert s3.uploads(bucket) == {}


def test_an_archive_with_a_manifest_over_the_limit_is_refused(s3: S3Process, bucket: str, registry: Registry) -> None:
    huge = b'{"schemaVersion":2,"padding":"' + b"x" * 5 * MIB + b'"}'
    index = (
        b'{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",'
        b'"digest":"%s","size":%d,"annotations":{"org.opencontainers.image.ref.name":"1"}}]}'
        % (digest_of(huge).encode(), len(huge))
    )
    files = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": index,
        f"blobs/sha256/{hashlib.sha256(huge).hexdigest()}": huge,
    }
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))

    error = import_(registry, output.getvalue())

    assert "at most 4194304 are allowed" in error
    assert s3.listing(bucket) == {}


def test_an_archive_that_vanished_is_asked_for_again(registry: Registry, good_archive: bytes) -> None:
    upload = File(io.BytesIO(good_archive), "image.tar")
    upload.size = len(good_archive)
    job = receive_archive(registry=registry, actor=None, upload=upload, reference="shop/api:1")
    Archive.objects.get().delete()

    assert "Upload it again" in engine.run_here(job).error


# The bucket is damaged


def test_a_manifest_over_the_limit_is_told_and_the_scan_goes_on(registry: Registry, layout: OciLayout) -> None:
    publish(registry, layout, "api-1")
    huge = b'{"schemaVersion":2,"padding":"' + b"x" * 5 * MIB + b'"}'
    driver, digest = registry.open_driver(), digest_of(huge)
    driver.put_content(paths.blob_data(digest), huge)
    driver.put_content(paths.revision_link("team/huge", digest), digest.encode())
    driver.put_content(paths.tag_current_link("team/huge", "1"), digest.encode())

    scan(registry)

    assert "4 MiB" in Manifest.objects.get(digest=digest).error
    assert Manifest.objects.get(digest=digest_of(layout.manifest("api-1"))).error == ""
    assert [digest in problem for problem in Scan.objects.get().problems] == [True]


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "empty"), (b"sha256:abc", "digest"), (b"sha256:" + b"0" * 64, "does not hold")],
)
def test_a_damaged_tag_is_told_and_the_scan_goes_on(
    registry: Registry, layout: OciLayout, content: bytes, words: str
) -> None:
    publish(registry, layout, "api-1")
    registry.open_driver().put_content(paths.tag_current_link("team/api", "broken"), content)

    scan(registry)

    broken = Tag.objects.get(name="broken")
    assert words in broken.error
    assert (broken.digest, broken.manifest) == ("", None)
    assert Tag.objects.get(name="1").error == ""


def test_a_manifest_whose_bytes_are_others_is_told(registry: Registry, layout: OciLayout) -> None:
    publish(registry, layout, "api-1")
    digest = digest_of(layout.manifest("api-1"))
    registry.open_driver().put_content(paths.blob_data(digest), b'{"schemaVersion":2}')

    scan(registry)

    assert "damaged" in Manifest.objects.get(digest=digest).error
