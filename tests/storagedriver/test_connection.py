"""The connection test: what each broken thing looks like, and that nothing stays behind."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from storagedriver import DriverParameters, S3Driver, clients
from storagedriver.clients import Timeouts
from storagedriver.middleware.cloudfront import CloudFront
from storagedriver.probe import TIMEOUTS, CheckResult, Outcome, check_connection, connection

Make = Callable[..., DriverParameters]
LINK = "/docker/registry/v2/repositories/team/api/_manifests/tags/latest/current/link"
STEPS = [
    *("endpoint", "clock", "credentials", "bucket", "region", "list", "layout", "read", "write", "presign"),
    *("multipart", "delete"),
]


class Raw(io.BytesIO):
    """A body as botocore's HTTP layer hands it over."""

    def stream(self, **_: object) -> Iterator[bytes]:
        yield self.read()


def answer(driver: S3Driver, operation: str, status: int, body: str, **headers: str) -> None:
    """Let S3 answer an operation so, from now on."""

    def respond(request: Any, **_: object) -> AWSResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        usual = {"content-type": "application/xml", "date": format_datetime(datetime.now(UTC))}
        return AWSResponse(request.url, status, usual | named, Raw(body.encode()))  # type: ignore[arg-type]

    driver.client.meta.events.register(f"before-send.s3.{operation}", respond)


def refuse(driver: S3Driver, operation: str, code: str, status: int = 403, extra: str = "", **headers: str) -> None:
    """Let S3 refuse an operation with an error code."""
    answer(driver, operation, status, f"<Error><Code>{code}</Code><Message>no</Message>{extra}</Error>", **headers)


def results(driver: S3Driver) -> dict[str, CheckResult]:
    return {result.check: result for result in check_connection(driver)}


def outcomes(driver: S3Driver) -> dict[str, str]:
    """Return the outcomes that are not ok, by check."""
    return {name: str(result.outcome) for name, result in results(driver).items() if result.outcome != Outcome.OK}


def skipped_from(first: str) -> dict[str, str]:
    return dict.fromkeys(STEPS[STEPS.index(first) :], "skipped")


def left_behind(driver: S3Driver) -> list[str]:
    """Return the paths of objects and uploads below the scratch folder."""
    objects = [entry.path for page in driver.scan("/") for entry in page]
    uploads = [upload.path for upload in driver.multipart_uploads("/")]
    return [path for path in objects + uploads if path.startswith(connection.SCRATCH)]


@pytest.fixture
def driver(parameters: Make) -> S3Driver:
    """A driver on a fresh root directory, as the job makes it."""
    return S3Driver(parameters(), timeouts=TIMEOUTS)


@pytest.fixture
def registry(driver: S3Driver) -> S3Driver:
    """A driver on a root directory with a registry's first tag."""
    driver.put_content(LINK, b"sha256:" + b"0" * 64)
    return driver


# What works


def test_it_works(registry: S3Driver) -> None:
    assert outcomes(registry) == {}


def test_it_makes_every_check_once_and_in_order(registry: S3Driver) -> None:
    assert [result.check for result in check_connection(registry)] == STEPS


def test_it_leaves_nothing_behind(registry: S3Driver) -> None:
    results(registry)
    assert left_behind(registry) == []


def test_it_asks_with_few_requests(registry: S3Driver) -> None:
    results(registry)
    assert sum(registry.requests.values()) <= 20


def test_an_empty_bucket_is_fine(parameters: Make) -> None:
    driver = S3Driver(parameters(bucket="empty-images"))
    driver.client.create_bucket(Bucket="empty-images")
    assert outcomes(driver) == {"read": "skipped"}


def test_it_writes_with_the_chosen_encryption_and_class(parameters: Make) -> None:
    driver = S3Driver(parameters(encrypt=True, keyid="alias/registry", storageclass="STANDARD_IA"))
    assert results(driver)["write"].detail == "Written and read back, encrypted with aws:kms."


# Where the registry is


def test_a_registry_under_another_root_is_named(parameters: Make) -> None:
    S3Driver(parameters(rootdirectory="found-elsewhere")).put_content(LINK, b"x")
    layout = results(S3Driver(parameters(rootdirectory="empty-root")))["layout"]
    assert (layout.outcome, layout.advice) == (Outcome.WARNING, "Set the root directory to found-elsewhere.")


def test_a_registry_at_the_top_is_named(parameters: Make) -> None:
    driver = S3Driver(parameters(rootdirectory="below", bucket="registry-at-the-top"))
    driver.client.create_bucket(Bucket="registry-at-the-top")
    S3Driver(parameters(rootdirectory="", bucket="registry-at-the-top")).put_content(LINK, b"x")
    assert results(driver)["layout"].advice == "Empty the root directory."


def test_other_objects_without_a_registry_are_a_warning(driver: S3Driver) -> None:
    driver.put_content("/photos/cat.jpg", b"x")
    assert outcomes(driver) == {"layout": "warning"}


# The endpoint


def test_a_closed_port_stops_it(parameters: Make) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    driver = S3Driver(parameters(regionendpoint=f"http://127.0.0.1:{port}"), timeouts=Timeouts(1, 1, 1))
    assert outcomes(driver) == {"endpoint": "failed"} | skipped_from("clock")
    assert "refused the connection" in results(driver)["endpoint"].detail


def test_an_endpoint_that_hangs_is_given_up(parameters: Make) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        driver = S3Driver(parameters(regionendpoint=endpoint), timeouts=Timeouts(1, 0.2, 1))
        assert outcomes(driver) == {"endpoint": "failed"} | skipped_from("clock")
    assert sum(driver.requests.values()) == 1


@pytest.mark.parametrize("status", [200, 403, 404])
@pytest.mark.parametrize("document", ["<html><body>Welcome</body></html>", "<!doctype html><title>Welcome<br>"])
def test_a_web_page_is_not_taken_for_s3(driver: S3Driver, status: int, document: str) -> None:
    answer(driver, "ListObjectsV2", status, document, content_type="text/html; charset=utf-8")
    assert outcomes(driver) == {"endpoint": "failed"} | skipped_from("clock")
    assert "not S3" in results(driver)["endpoint"].detail


def test_a_garbled_answer_is_not_taken_for_s3(driver: S3Driver) -> None:
    answer(driver, "ListObjectsV2", 200, "{}", content_type="application/json")
    assert "not S3" in results(driver)["endpoint"].detail


def test_a_speaker_of_another_protocol_is_reported(parameters: Make) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def greet() -> None:
            peer, _ = server.accept()
            with peer:
                peer.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        speaker = threading.Thread(target=greet)
        speaker.start()
        driver = S3Driver(
            parameters(regionendpoint=f"http://127.0.0.1:{server.getsockname()[1]}"), timeouts=Timeouts(1, 1, 1)
        )
        assert outcomes(driver) == {"endpoint": "failed"} | skipped_from("clock")
        speaker.join()


def test_a_busy_store_is_reported_as_such(driver: S3Driver) -> None:
    refuse(driver, "ListObjectsV2", "SlowDown", 503)
    assert outcomes(driver)["endpoint"] == "failed"


def test_an_address_that_the_policy_refuses_is_never_called(parameters: Make) -> None:
    try:
        clients.configure(policy=clients.EndpointPolicy(allow_private=False))
        endpoint = results(S3Driver(parameters()))["endpoint"]
    finally:
        clients.configure(policy=clients.EndpointPolicy())
    assert endpoint.outcome == Outcome.FAILED
    assert "ENDPOINT_ALLOWLIST" in endpoint.detail


# Keys, bucket, region, clock


@pytest.mark.parametrize("code", ["SignatureDoesNotMatch", "InvalidAccessKeyId"])
def test_wrong_keys_are_told_from_a_wrong_endpoint(driver: S3Driver, code: str) -> None:
    refuse(driver, "ListObjectsV2", code)
    assert outcomes(driver) == {"credentials": "failed"} | skipped_from("bucket")


def test_a_missing_identity_is_told_at_the_sign_in(parameters: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    driver = S3Driver(parameters(accesskey="", secretkey="", credentials="chain"))
    assert outcomes(driver)["credentials"] == "failed"


def test_a_missing_bucket_stops_it(parameters: Make) -> None:
    driver = S3Driver(parameters(bucket="nobody-made-this"))
    assert outcomes(driver) == {"bucket": "failed"} | skipped_from("region")


def test_a_wrong_region_names_the_right_one(driver: S3Driver) -> None:
    refuse(driver, "ListObjectsV2", "PermanentRedirect", 301, x_amz_bucket_region="eu-west-1")
    found = results(driver)
    assert found["region"].outcome == Outcome.FAILED
    assert "eu-west-1" in found["region"].detail


def test_a_malformed_credential_scope_names_the_right_region(driver: S3Driver) -> None:
    refuse(driver, "ListObjectsV2", "AuthorizationHeaderMalformed", 400, "<Region>eu-west-3</Region>")
    found = results(driver)
    assert (found["credentials"].outcome, found["region"].outcome) == (Outcome.SKIPPED, Outcome.FAILED)
    assert "eu-west-3" in found["region"].detail


def test_another_stores_other_region_is_a_warning(parameters: Make) -> None:
    assert outcomes(S3Driver(parameters(region="eu-south-9")))["region"] == "warning"


def test_a_region_that_may_not_be_asked_for_is_no_failure(registry: S3Driver) -> None:
    refuse(registry, "GetBucketLocation", "AccessDenied")
    assert outcomes(registry) == {"region": "skipped"}


def test_a_clock_that_s3_refuses_stops_it(driver: S3Driver) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(hours=1))
    refuse(driver, "ListObjectsV2", "RequestTimeTooSkewed", date=date)
    found = results(driver)
    assert found["clock"].outcome == Outcome.FAILED
    assert "s behind the store's" in found["clock"].detail
    assert found["credentials"].outcome == Outcome.SKIPPED


def test_a_clock_that_is_minutes_off_is_a_warning(registry: S3Driver) -> None:
    listing = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
    date = format_datetime(datetime.now(UTC) - timedelta(minutes=5))
    answer(registry, "ListObjectsV2", 200, listing, date=date)
    assert outcomes(registry)["clock"] == "warning"


# Single permissions


@pytest.mark.parametrize(
    ("operation", "refused", "action"),
    [
        (
            "ListObjectsV2",
            {"bucket": "skipped", "list": "failed", "layout": "skipped", "read": "skipped"},
            "list",
        ),
        ("GetObject", {"read": "failed", "write": "failed"}, "read"),
        ("PutObject", {"write": "failed", "presign": "skipped", "delete": "skipped"}, "write"),
        ("CreateMultipartUpload", {"multipart": "failed"}, "multipart"),
        ("ListMultipartUploads", {"multipart": "failed"}, "multipart"),
        ("AbortMultipartUpload", {"multipart": "failed"}, "multipart"),
        ("DeleteObject", {"delete": "failed"}, "delete"),
    ],
)
def test_a_missing_permission_is_found_where_it_is_needed(
    registry: S3Driver, operation: str, refused: dict[str, str], action: str
) -> None:
    refuse(registry, operation, "AccessDenied")
    found = results(registry)
    assert {name: str(row.outcome) for name, row in found.items() if row.outcome != Outcome.OK} == refused
    assert "s3:" in found[action].detail


# Stores that behave oddly


def test_altered_content_fails(registry: S3Driver) -> None:
    answer(registry, "GetObject", 200, "other bytes", content_length="11", content_type="text/plain", etag='"x"')
    assert "not what was written" in results(registry)["write"].detail


def test_an_unconfirmed_encryption_is_a_warning(parameters: Make) -> None:
    driver = S3Driver(parameters(encrypt=True))
    driver.client.meta.events.register(
        "after-call.s3.HeadObject", lambda parsed, **_: parsed.pop("ServerSideEncryption", None)
    )
    assert outcomes(driver)["write"] == "warning"


def test_another_storage_class_is_a_warning(parameters: Make) -> None:
    driver = S3Driver(parameters(storageclass="STANDARD_IA"))
    driver.client.meta.events.register("after-call.s3.HeadObject", lambda parsed, **_: parsed.pop("StorageClass", None))
    assert outcomes(driver)["write"] == "warning"


def test_uploads_that_are_not_listed_are_a_warning(registry: S3Driver) -> None:
    listing = "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>"
    answer(registry, "ListMultipartUploads", 200, listing)
    assert outcomes(registry) == {"multipart": "warning"}


def test_a_versioned_bucket_is_left_without_a_version(parameters: Make) -> None:
    driver = S3Driver(parameters(bucket="versioned-images"))
    driver.client.create_bucket(Bucket="versioned-images")
    driver.client.put_bucket_versioning(Bucket="versioned-images", VersioningConfiguration={"Status": "Enabled"})
    assert outcomes(driver)["delete"] == "warning"
    left = driver.client.list_object_versions(Bucket="versioned-images")
    assert (left.get("Versions", []), left.get("DeleteMarkers", [])) == ([], [])


# Cleaning up


def test_stopping_early_leaves_nothing_behind(registry: S3Driver) -> None:
    with closing(check_connection(registry)) as running:
        for result in running:
            if result.check == "write":
                assert left_behind(registry) != []
                break
    assert left_behind(registry) == []


def test_an_upload_that_could_not_be_listed_is_aborted(registry: S3Driver) -> None:
    def fail(**_: object) -> None:
        raise OSError("the line broke")

    registry.client.meta.events.register_first("before-send.s3.ListMultipartUploads", fail)
    assert outcomes(registry) == {"multipart": "failed"}
    registry.client.meta.events.unregister("before-send.s3.ListMultipartUploads", fail)
    assert left_behind(registry) == []


def test_what_a_killed_test_left_is_removed_an_hour_later(registry: S3Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.put_content(f"{connection.SCRATCH}/abandoned", b"x")
    registry.uploads.begin(f"{connection.SCRATCH}/abandoned-parts")
    results(registry)
    assert f"{connection.SCRATCH}/abandoned" in left_behind(registry)  # perhaps of a test that runs now
    monkeypatch.setattr(connection, "ABANDONED_AFTER", timedelta(hours=-1))
    results(registry)
    assert left_behind(registry) == []


def test_no_check_begins_when_the_time_is_up(registry: S3Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BUDGET_SECONDS", -1.0)
    assert outcomes(registry) == skipped_from("endpoint")


# CloudFront


def test_cloudfront_is_signed_for_even_when_the_store_is_away(parameters: Make) -> None:
    pem = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    middleware = CloudFront.parse(baseurl="d1.cloudfront.net", keypairid="K2JCJMDEHXQW5F", privatekey=pem.decode())
    driver = S3Driver(parameters(bucket="nobody-made-this"), middleware=middleware)
    assert "d1.cloudfront.net" in results(driver)["cloudfront"].detail
