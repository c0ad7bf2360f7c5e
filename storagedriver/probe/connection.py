"""The connection test: every kind of request that a registry makes, tried once on scratch objects of our own.

The order is that of causes: what cannot work any more after a failure is skipped, so the first failed row is the one
to mend. Scratch objects lie below SCRATCH in the root directory; they are removed whatever happens, and what a killed
test left there is removed by the next one.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError, NoCredentialsError
from botocore.parsers import ResponseParserError

from storagedriver.clients import Timeouts
from storagedriver.driver import S3Driver
from storagedriver.errors import WRONG_REGION_CODES, Kind, StorageDriverError, translating

logger = logging.getLogger(__name__)

# Make the driver with these: a person waits for the answer, and a second try would only hide the first failure.
TIMEOUTS = Timeouts(connect=5.0, read=5.0, attempts=1)
BUDGET_SECONDS = 10.0
SCRATCH = "/.wharfinger-check"
ABANDONED_AFTER = timedelta(hours=1)
REGISTRY = "/docker/registry/v2"
OTHER_ROOTS = 10  # top folders that are looked into for a registry
SKEW_WARNING = timedelta(minutes=1)  # S3 refuses more than 15

KEY_CODES = frozenset(
    ("AuthFailure", "ExpiredToken", "InvalidAccessKeyId", "InvalidSecurity", "InvalidToken", "SignatureDoesNotMatch")
)


class Outcome(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class CheckResult:
    """One row: `title` says what was tried, `detail` what came of it, `advice` what to do about it ("" for nothing)."""

    check: str
    title: str
    outcome: Outcome
    detail: str
    advice: str = ""
    milliseconds: int = 0


@dataclass(frozen=True)
class Answer:
    """What one check came to."""

    detail: str
    outcome: Outcome = Outcome.OK
    advice: str = ""


class Finding(Exception):  # noqa: N818 - a result, raised to end a check early
    """A check that ended without success."""

    def __init__(self, detail: str, advice: str = "") -> None:
        super().__init__(detail)
        self.answer = Answer(detail, Outcome.FAILED, advice)


def check_connection(driver: S3Driver) -> Generator[CheckResult]:
    """Try what a registry needs and yield one result per check as soon as it is known.

    Begins no check after BUDGET_SECONDS. Whatever the store answers becomes a result, never an exception. Make the
    driver with TIMEOUTS. Closing the generator stops the test; it cleans up then too.
    """
    probe = _Probe(driver)
    try:
        yield from probe.run()
    finally:
        probe.clean_up()


class _Probe:
    """One run: what the first request told, and which scratch objects stand at the moment."""

    def __init__(self, driver: S3Driver) -> None:
        self.driver = driver
        self.parameters = driver.parameters
        self.bucket = driver.parameters.bucket
        self.host = driver.parameters.endpoint_host
        self.scratch = f"{SCRATCH}/{uuid.uuid4().hex}"
        self.content = f"Wharfinger's connection test {self.scratch}\n".encode()
        self.refusal = StorageDriverError("")  # what the first request was refused with; its detail is "" if it was not
        self.listing: dict[str, Any] = {}
        self.headers: dict[str, str] = {}
        self.skew: timedelta | None = None
        self.sample = ""  # the key of some stored object
        self.versions: list[str] = []
        self.written = self.touched = False
        self.upload_id = ""

    def run(self) -> Iterator[CheckResult]:
        """Yield the results in order. The steps marked as needed stop all later ones when they fail."""
        steps: list[tuple[str, str, bool, Callable[[], Answer]]] = [
            ("endpoint", "Reach the endpoint", True, self.reach),
            ("clock", "Compare the clocks", True, self.compare_clocks),
            ("credentials", "Sign in", True, self.sign_in),
            ("bucket", "Find the bucket", True, self.find_bucket),
            ("region", "Compare the region", True, self.compare_region),
            ("list", "List objects", False, self.list_objects),
            ("layout", "Find the registry in it", False, self.find_registry),
            ("read", "Read an object", False, self.read),
            ("write", "Write an object and read it back", False, self.write),
            ("presign", "Read by a signed address", False, self.read_by_address),
            ("multipart", "Begin and abort an upload in parts", False, self.upload_in_parts),
            ("delete", "Delete an object", False, self.delete),
        ]
        deadline = time.monotonic() + BUDGET_SECONDS
        stop = ""
        for check, title, needed, step in steps:
            if not stop and time.monotonic() > deadline:
                stop = f"Not begun: the checks before took longer than {BUDGET_SECONDS:.0f} s."
            if stop:
                yield CheckResult(check, title, Outcome.SKIPPED, stop)
                continue
            result = self.attempt(check, title, step)
            yield result
            if needed and result.outcome is Outcome.FAILED:
                stop = f"Waits for “{title}” to succeed."
        if self.driver.middleware is not None:  # needs no answer from the store
            yield self.attempt("cloudfront", "Sign a CloudFront address", self.sign_cloudfront)

    def attempt(self, check: str, title: str, step: Callable[[], Answer]) -> CheckResult:
        """Run one step and time it."""
        began = time.monotonic()
        try:
            with translating(self.parameters):
                answer = step()
        except Finding as finding:
            answer = finding.answer
        except StorageDriverError as error:
            answer = Answer(error.detail, Outcome.FAILED)
        except ResponseParserError:
            answer = self.no_s3().answer
        milliseconds = round((time.monotonic() - began) * 1000)
        return CheckResult(check, title, answer.outcome, answer.detail, answer.advice, milliseconds)

    # What the first request tells: does anything answer, is it S3, and what does it think of us.

    def reach(self) -> Answer:
        asked = datetime.now(UTC)
        try:
            with translating(self.parameters):
                self.listing = dict(
                    self.driver.client.list_objects_v2(
                        Bucket=self.bucket, Prefix=self.driver.keys.prefix("/"), MaxKeys=1
                    )
                )
            metadata = self.listing["ResponseMetadata"]
        except StorageDriverError as error:
            self.refusal = error
            if isinstance(error.__cause__, NoCredentialsError):
                return Answer("Nothing was sent: there are no credentials to sign with.", Outcome.SKIPPED)
            if not isinstance(error.__cause__, ClientError):
                raise
            metadata = error.__cause__.response["ResponseMetadata"]
        self.headers = {name.lower(): value for name, value in metadata.get("HTTPHeaders", {}).items()}
        with suppress(ValueError, TypeError, KeyError):
            self.skew = asked - parsedate_to_datetime(self.headers["date"]).astimezone(UTC)
        if not self.is_s3():
            raise self.no_s3()
        if self.refusal.kind is Kind.TRANSIENT:
            raise self.refusal
        endpoint = self.parameters.endpoint_url
        if endpoint.startswith("http:") if endpoint else not self.parameters.secure:
            insecure = Outcome.WARNING if self.parameters.amazon else Outcome.OK
            return Answer(f"{self.host} answered over HTTP, without encryption.", insecure)
        return Answer(f"{self.host} answered over HTTPS.")

    def is_s3(self) -> bool:
        """Say whether the first answer has the form of S3's: a listing, or a refusal with a code beside the status."""
        if self.headers.get("content-type", "").startswith("text/html"):
            return False
        if not self.refusal.detail:
            return "IsTruncated" in self.listing
        # Proxies in front of S3 send the statuses 502 to 504 of their own when it is away.
        return not self.refusal.code.isdigit() or self.refusal.status in {502, 503, 504}

    def no_s3(self) -> Finding:
        return Finding(
            f"{self.host} answered, but with something that is not S3, such as a web page.",
            "Enter the address of the S3 service; a console or a proxy often has another port or name.",
        )

    def compare_clocks(self) -> Answer:
        refused = self.refusal.code == "RequestTimeTooSkewed"
        if self.skew is None:
            if refused:
                raise Finding(self.refusal.detail)
            return Answer("The store does not say what time it is.", Outcome.SKIPPED)
        apart = abs(self.skew)
        if apart <= SKEW_WARNING and not refused:
            return Answer("This server and the store agree on the time.")
        side = "ahead of" if self.skew > timedelta() else "behind"
        detail = f"This server's clock is {apart.total_seconds():,.0f} s {side} the store's."
        advice = "Set the clocks by NTP: S3 refuses requests that are more than 15 minutes off."
        if refused:
            raise Finding(detail, advice)
        return Answer(detail, Outcome.WARNING, advice)

    def sign_in(self) -> Answer:
        if self.refusal.code in KEY_CODES or isinstance(self.refusal.__cause__, NoCredentialsError):
            raise Finding(self.refusal.detail)
        if self.refusal.code in WRONG_REGION_CODES:
            return Answer("Shows when the region is right.", Outcome.SKIPPED)
        if self.parameters.credentials == "static":
            return Answer(f"Key {self.parameters.accesskey} was accepted.")
        return Answer("This server's own identity was accepted.")

    def find_bucket(self) -> Answer:
        if self.refusal.code == "NoSuchBucket":
            raise Finding(self.refusal.detail)
        if self.refusal.detail and self.refusal.code not in WRONG_REGION_CODES:
            return Answer("The key may not list it, so nothing tells whether it exists.", Outcome.SKIPPED)
        return Answer(f"Bucket {self.bucket} exists.")

    def compare_region(self) -> Answer:
        if self.refusal.code in WRONG_REGION_CODES:
            raise Finding(self.refusal.detail)
        found, wanted = self.bucket_region(), self.parameters.region
        if not found:
            return Answer("The key may not ask for the region; requests for this one are answered.", Outcome.SKIPPED)
        if found == wanted:
            return Answer(f"The bucket is in {found}.")
        detail = f"The bucket is in {found}, the region is set to {wanted}."
        if self.parameters.amazon:
            raise Finding(detail, f"Set the region to {found}.")
        return Answer(detail, Outcome.WARNING, f"It works now; set the region to {found} to be safe.")

    def bucket_region(self) -> str:
        """Return the region that the store names, "" when it tells nobody or not us."""
        if "x-amz-bucket-region" in self.headers:
            return self.headers["x-amz-bucket-region"]
        try:
            with translating(self.parameters):
                answer: dict[str, Any] = dict(self.driver.client.get_bucket_location(Bucket=self.bucket))
        except StorageDriverError as error:
            logger.info("no bucket location: %s", error)
            return ""
        location: str = answer.get("LocationConstraint") or "us-east-1"
        return "eu-west-1" if location == "EU" else location

    # What the registry does with objects.

    def list_objects(self) -> Answer:
        if self.refusal.detail:
            raise Finding(self.refusal.detail)
        if not self.listing.get("Contents"):
            return Answer(f"Nothing is stored {self.below_root()} yet.")
        self.sample = self.listing["Contents"][0]["Key"]
        return Answer(f"Objects {self.below_root()} can be listed.")

    def find_registry(self) -> Answer:
        if self.refusal.detail:
            return Answer("Waits for “List objects” to succeed.", Outcome.SKIPPED)
        if found := self.first_key(self.driver.keys.prefix(REGISTRY)):
            self.sample = found
            return Answer(f"A registry is stored {self.below_root()}.")
        root = self.driver.keys.root
        for other in self.other_roots():
            if other != root and self.first_key(f"{other}{REGISTRY}/".lstrip("/")):
                place = f"in {other}" if other else "at the top of the bucket"
                return Answer(
                    f"No registry is stored {self.below_root()}, but there is one {place}.",
                    Outcome.WARNING,
                    f"Set the root directory to {other}." if other else "Empty the root directory.",
                )
        if self.listing.get("Contents"):
            return Answer(
                f"No registry is stored {self.below_root()}, but other objects are.",
                Outcome.WARNING,
                "Compare bucket and root directory with the registry's configuration, unless it is new.",
            )
        return Answer("No registry yet; the first push begins one.")

    def other_roots(self) -> list[str]:
        """Return the places where a registry may lie instead: the top of the bucket and its first folders."""
        answer = self.driver.client.list_objects_v2(Bucket=self.bucket, Delimiter="/", MaxKeys=100)
        return ["", *(folder["Prefix"].strip("/") for folder in answer.get("CommonPrefixes", [])[:OTHER_ROOTS])]

    def first_key(self, prefix: str) -> str:
        answer = self.driver.client.list_objects_v2(Bucket=self.bucket, Prefix=prefix, MaxKeys=1)
        return next((entry["Key"] for entry in answer.get("Contents", ())), "")

    def below_root(self) -> str:
        return f"below {self.driver.keys.root}" if self.driver.keys.root else "in the bucket"

    def read(self) -> Answer:
        if not self.sample:
            return Answer("Nothing is stored that could be read.", Outcome.SKIPPED)
        answer = self.driver.client.get_object(Bucket=self.bucket, Key=self.sample)
        answer["Body"].close()
        return Answer(f"{self.sample} can be read.")

    def write(self) -> Answer:
        self.touched = self.written = True  # an answer that is lost may still have stored the object
        try:
            self.driver.put_content(self.scratch, self.content)
        except StorageDriverError as error:
            self.written = error.kind is not Kind.DENIED
            raise
        if self.driver.get_content(self.scratch, limit=len(self.content)) != self.content:
            raise Finding("What was read back is not what was written.", "Do not use this store: it alters objects.")
        stored = self.driver.client.head_object(Bucket=self.bucket, Key=self.driver.key(self.scratch))
        if version := stored.get("VersionId"):
            self.versions.append(version)
        wanted = self.driver.object_headers()
        encryption, storage_class = wanted.get("ServerSideEncryption"), wanted.get("StorageClass", "STANDARD")
        if encryption and stored.get("ServerSideEncryption") != encryption:
            return Answer(
                f"Written and read, but the store does not confirm the encryption {encryption}.",
                Outcome.WARNING,
                "Make sure that the store encrypts; some accept the wish and do nothing.",
            )
        if "StorageClass" in wanted and stored.get("StorageClass", "STANDARD") != storage_class:
            return Answer(
                f"Written and read, but stored as {stored.get('StorageClass', 'STANDARD')}, not as {storage_class}.",
                Outcome.WARNING,
                "Choose a storage class that the store knows.",
            )
        return Answer("Written and read back" + (f", encrypted with {encryption}." if encryption else "."))

    def read_by_address(self) -> Answer:
        if not self.written:
            return Answer("Nothing was written that could be read.", Outcome.SKIPPED)
        url = S3Driver(self.parameters).redirect_url(self.scratch)  # no middleware: S3's own address
        assert url is not None  # noqa: S101 - as for every GET
        # Through the client's own connections, which keep the endpoint policy.
        session = self.driver.client._endpoint.http_session  # type: ignore[attr-defined]
        response = session.send(AWSRequest("GET", url, stream_output=True).prepare())
        body = response.raw.read(len(self.content) + 1)
        response.raw.close()
        if response.status_code == 200 and body == self.content:
            return Answer(f"{urlsplit(url).netloc} serves signed addresses.")
        raise Finding(
            f"{urlsplit(url).netloc} answered a signed address with status {response.status_code}.",
            "Pulls that the registry redirects to the store would fail: look for a proxy that alters requests, "
            "or set storage.redirect.disable in the registry.",
        )

    def upload_in_parts(self) -> Answer:
        path = f"{self.scratch}-parts"
        self.touched = True
        self.upload_id = self.driver.uploads.begin(path)
        found = self.driver.uploads.find(path)
        self.driver.uploads.abort(path, self.upload_id)
        begun, self.upload_id = self.upload_id, ""
        if found != begun:
            return Answer(
                "Begun and aborted, but the store did not list it in between.",
                Outcome.WARNING,
                "Registries find uploads that they continue by that list: pushes in several requests may fail.",
            )
        return Answer("Begun, listed and aborted.")

    def delete(self) -> Answer:
        if not self.written:
            return Answer("Nothing was written that could be deleted.", Outcome.SKIPPED)
        answer = self.driver.client.delete_object(Bucket=self.bucket, Key=self.driver.key(self.scratch))
        if marker := answer.get("VersionId"):
            self.versions.append(marker)
        self.written = False
        left = self.delete_versions()
        if self.is_stored(self.scratch):
            raise Finding("The store says that it deleted the object, but still has it.")
        if left:
            return Answer(
                "Deleted, but the bucket keeps old versions and the key may not delete those of this test.",
                Outcome.WARNING,
                "Deleting will free no space here unless a lifecycle rule expires old versions.",
            )
        if answer.get("VersionId"):
            return Answer(
                "Deleted. The bucket keeps old versions.",
                Outcome.WARNING,
                "Deleting frees no space here unless a lifecycle rule expires old versions.",
            )
        return Answer("Deleted.")

    def is_stored(self, path: str) -> bool:
        """Say whether an object stands at a path; to keys that may not list, S3 answers 403 for a missing one."""
        try:
            with translating(self.parameters):
                self.driver.client.head_object(Bucket=self.bucket, Key=self.driver.key(path))
        except StorageDriverError as error:
            if error.kind in {Kind.MISSING, Kind.DENIED}:
                return False
            raise
        return True

    def delete_versions(self) -> bool:
        """Delete what a versioned bucket kept of the scratch object; say whether something is left."""
        while self.versions:
            try:
                with translating(self.parameters):
                    self.driver.client.delete_object(
                        Bucket=self.bucket, Key=self.driver.key(self.scratch), VersionId=self.versions[-1]
                    )
            except StorageDriverError as error:
                logger.info("a version of %s stays: %s", self.scratch, error)
                return True
            self.versions.pop()
        return False

    def sign_cloudfront(self) -> Answer:
        url = self.driver.redirect_url(f"{REGISTRY}/probe")
        assert url is not None  # noqa: S101 - a middleware always answers
        return Answer(f"Addresses on {urlsplit(url).netloc} can be signed. Nothing was fetched from there.")

    def clean_up(self) -> None:
        """Remove what this run left, and what runs left that were killed."""
        steps: list[Callable[[], object]] = []
        if self.upload_id:
            steps.append(lambda: self.driver.uploads.abort(f"{self.scratch}-parts", self.upload_id))
        if self.written:
            steps.append(lambda: self.driver.delete_object(self.scratch))
            steps.append(self.delete_versions)
        if self.touched:
            steps.append(self.sweep)
        for step in steps:
            try:
                step()
            except StorageDriverError as error:
                logger.warning("the connection test could not clean up below %s: %s", SCRATCH, error)

    def sweep(self) -> None:
        """Remove scratch objects and uploads that are too old to belong to a running test."""
        before = datetime.now(UTC) - ABANDONED_AFTER
        with translating(self.parameters):
            answer = self.driver.client.list_objects_v2(Bucket=self.bucket, Prefix=self.driver.keys.prefix(SCRATCH))
        self.driver.delete_keys(
            [entry["Key"] for entry in answer.get("Contents", ()) if entry["LastModified"] < before]
        )
        for path, upload_id, begun in list(self.driver.uploads.pending(SCRATCH)):
            if begun < before:
                self.driver.uploads.abort(path, upload_id)
