"""Faults between driver and S3: nothing is lost, nothing is published twice or by accident, no upload is left behind."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import pytest

from storagedriver import DriverParameters, PathNotFoundError, S3Driver, StorageDriverError, reader
from storagedriver.clients import Timeouts
from storagedriver.errors import Kind
from storagedriver.explanations import ACTIONS
from tests.components import Answer, S3Process
from tests.components.faults import (
    ACCESS_DENIED,
    ERROR_IN_200,
    INTERNAL_ERROR,
    SLOW_DOWN,
    Fault,
    FaultProxy,
    after,
    instead,
    s3_error,
)
from tests.components.s3 import ACCESS_KEY, REGION, SECRET_KEY

MIB = 2**20
TRIES = 3
SMALL, LARGE = secrets.token_bytes(1000), secrets.token_bytes(11 * MIB)
LOST = Fault(delivered=False)  # the connection ends before the server gets the request
UNANSWERED = Fault(delivered=True)  # it ends after the server did what was asked


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the waits out of retries; their number stays."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda self, context: 0)
    monkeypatch.setattr(reader, "RESUME_DELAY_SECONDS", 0)


@pytest.fixture
def proxy(s3: S3Process) -> Iterator[FaultProxy]:
    proxy = FaultProxy(s3.endpoint)
    yield proxy
    proxy.stop()


@pytest.fixture
def connect(bucket: str) -> Callable[..., S3Driver]:
    """Make a driver on the test's bucket; keyword arguments replace single parameters."""

    def make(endpoint: str, **values: object) -> S3Driver:
        given = {
            "regionendpoint": endpoint,
            "region": REGION,
            "bucket": bucket,
            "accesskey": ACCESS_KEY,
            "secretkey": SECRET_KEY,
            "rootdirectory": "/registry",
            "chunksize": 5 * MIB,
            "multipartcopychunksize": 5 * MIB,
            "multipartcopythresholdsize": 6 * MIB,
        }
        parameters = DriverParameters.parse(given | values, version="3")
        return S3Driver(parameters, timeouts=Timeouts(connect=5, read=20, attempts=TRIES))

    return make


@pytest.fixture
def driver(connect: Callable[..., S3Driver], proxy: FaultProxy) -> S3Driver:
    """The driver behind the faults."""
    return connect(proxy.endpoint)


@pytest.fixture
def truth(connect: Callable[..., S3Driver], s3: S3Process) -> S3Driver:
    """A driver straight to the server, to see what is really there."""
    return connect(s3.endpoint)


def pending(driver: S3Driver) -> list[str]:
    return [upload.path for upload in driver.multipart_uploads("/")]


def stored(driver: S3Driver) -> dict[str, bytes]:
    return {entry.path: driver.get_content(entry.path) for page in driver.scan("/") for entry in page}


def write(driver: S3Driver, path: str = "/new", content: bytes = LARGE) -> None:
    with driver.writer(path) as writer:
        writer.write(content)
        writer.commit()


def append(driver: S3Driver) -> None:
    with driver.writer("/pending", append=True) as writer:
        writer.write(LARGE)
        writer.commit()


# What a driver does, and the requests it takes. "/small" and "/large" are stored before, "/pending" is begun.
WORK: dict[str, tuple[Callable[[S3Driver], object], list[str]]] = {
    "put": (lambda driver: driver.put_content("/new", SMALL), ["PutObject"]),
    "get": (lambda driver: driver.get_content("/small"), ["GetObject"]),
    "stat": (lambda driver: driver.stat("/small"), ["HeadObject"]),
    "list": (lambda driver: driver.list("/"), ["ListObjectsV2"]),
    "scan": (lambda driver: list(driver.scan("/")), ["ListObjectsV2"]),
    "delete": (lambda driver: driver.delete("/small"), ["ListObjectsV2", "DeleteObjects"]),
    "delete one": (lambda driver: driver.delete_object("/small"), ["DeleteObject"]),
    "move": (lambda driver: driver.move("/small", "/new"), ["HeadObject", "CopyObject", "DeleteObject"]),
    "move in parts": (
        lambda driver: driver.move("/large", "/new"),
        ["HeadObject", "CreateMultipartUpload", "UploadPartCopy", "CompleteMultipartUpload", "DeleteObject"],
    ),
    "write": (write, ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"]),
    "append": (append, ["ListMultipartUploads", "ListParts", "UploadPart", "CompleteMultipartUpload"]),
}
RESULTS: dict[str, dict[str, bytes | None]] = {
    "put": {"/new": SMALL},
    "delete": {"/small": None},
    "delete one": {"/small": None},
    "move": {"/small": None, "/new": SMALL},
    "move in parts": {"/large": None, "/new": LARGE},
    "write": {"/new": LARGE},
    "append": {"/pending": LARGE + LARGE},
}
STEPS = [pytest.param(work, step, id=f"{work}-{step}") for work, (_run, steps) in WORK.items() for step in steps]
BEFORE = {"/small": SMALL, "/large": LARGE, "/other": b"other"}


@pytest.fixture
def furnished(truth: S3Driver) -> S3Driver:
    """The bucket before the work: three objects and an upload that waits to be continued."""
    for path, content in BEFORE.items():
        truth.put_content(path, content)
    with truth.writer("/pending") as writer:
        writer.write(LARGE[: 6 * MIB])
        writer.write(LARGE[6 * MIB :])
        writer.close()
    return truth


def result_of(work: str) -> dict[str, bytes]:
    changed = BEFORE | RESULTS.get(work, {})
    return {path: content for path, content in changed.items() if content is not None}


def left_pending(work: str) -> list[str]:
    return [] if work == "append" else ["/pending"]


@pytest.mark.parametrize(("work", "step"), STEPS)
@pytest.mark.parametrize(
    "fault", [instead(SLOW_DOWN), instead(INTERNAL_ERROR), LOST, UNANSWERED, after(INTERNAL_ERROR)]
)
def test_a_short_fault_changes_nothing(
    furnished: S3Driver, driver: S3Driver, proxy: FaultProxy, work: str, step: str, fault: Fault
) -> None:
    proxy.fail(step, fault, times=TRIES - 1)
    WORK[work][0](driver)
    assert proxy.count_of(step) >= 2
    assert stored(furnished) == result_of(work)
    weighty = [upload.path for upload in furnished.multipart_uploads("/") if upload.parts]
    assert weighty == left_pending(work)
    if not (fault.delivered and step == "CreateMultipartUpload"):  # then empty uploads without a name stay behind
        assert pending(furnished) == left_pending(work)


@pytest.mark.parametrize(("work", "step"), STEPS)
def test_a_lasting_slow_down_is_an_error_to_try_again(
    furnished: S3Driver, driver: S3Driver, proxy: FaultProxy, work: str, step: str
) -> None:
    proxy.fail(step, instead(SLOW_DOWN))
    with pytest.raises(StorageDriverError, match=r"SlowDown|later") as caught:
        WORK[work][0](driver)
    assert caught.value.kind is Kind.TRANSIENT
    assert_nothing_lost(furnished, work, step)


@pytest.mark.parametrize(("work", "step"), STEPS)
def test_a_denied_action_is_named(
    furnished: S3Driver, driver: S3Driver, proxy: FaultProxy, work: str, step: str
) -> None:
    proxy.fail(step, instead(ACCESS_DENIED))
    with pytest.raises(StorageDriverError) as caught:
        WORK[work][0](driver)
    assert caught.value.kind is Kind.DENIED
    assert ACTIONS[step] in str(caught.value)
    assert_nothing_lost(furnished, work, step)


def assert_nothing_lost(truth: S3Driver, work: str, step: str) -> None:
    """What was there is there. Nothing new is, except the copy of a move whose source could not be deleted."""
    expected = dict(BEFORE)
    if work.startswith("move") and step == "DeleteObject":
        expected["/new"] = BEFORE["/small" if work == "move" else "/large"]
    assert stored(truth) == expected
    # A writer that fails drops its upload, also one it went on with; one that could not be opened was not touched.
    opened = work == "append" and step not in {"ListMultipartUploads", "ListParts"}
    assert pending(truth) == ([] if opened else ["/pending"])


class TestComplete:
    """Complete takes long and is not idempotent: what its answer means has to be looked up."""

    @pytest.mark.parametrize("fault", [after(INTERNAL_ERROR), UNANSWERED, after(ERROR_IN_200)])
    def test_an_object_that_was_made_counts(
        self, driver: S3Driver, truth: S3Driver, proxy: FaultProxy, fault: Fault
    ) -> None:
        proxy.fail("CompleteMultipartUpload", fault)
        write(driver)
        assert stored(truth) == {"/new": LARGE}
        assert pending(truth) == []

    @pytest.mark.parametrize("fault", [instead(INTERNAL_ERROR), LOST, instead(ERROR_IN_200)])
    def test_an_object_that_was_not_made_does_not(
        self, driver: S3Driver, truth: S3Driver, proxy: FaultProxy, fault: Fault
    ) -> None:
        truth.put_content("/new", LARGE)  # the same bytes, but not this upload's
        proxy.fail("CompleteMultipartUpload", fault)
        with pytest.raises(StorageDriverError) as caught:
            write(driver)
        assert caught.value.kind is Kind.TRANSIENT
        assert pending(truth) == []

    def test_a_commit_can_be_repeated_when_s3_is_well_again(
        self, driver: S3Driver, truth: S3Driver, proxy: FaultProxy
    ) -> None:
        with driver.writer("/new") as writer:
            writer.write(LARGE)
            proxy.fail("CompleteMultipartUpload", instead(SLOW_DOWN))
            with pytest.raises(StorageDriverError):
                writer.commit()
            proxy.recover()
            writer.commit()
        assert stored(truth) == {"/new": LARGE}
        assert pending(truth) == []


def test_a_begin_whose_answer_was_lost_does_not_hide_what_is_written(
    driver: S3Driver, truth: S3Driver, proxy: FaultProxy
) -> None:
    proxy.fail("CreateMultipartUpload", UNANSWERED, times=1)
    with driver.writer("/new") as writer:
        writer.write(LARGE)
        writer.close()
    with driver.writer("/new", append=True) as writer:
        assert writer.size == len(LARGE)
        writer.commit()
    assert stored(truth) == {"/new": LARGE}


class TestCopy:
    @pytest.mark.parametrize(
        ("path", "step"),
        [("/small", "CopyObject"), ("/large", "UploadPartCopy"), ("/large", "CompleteMultipartUpload")],
    )
    def test_an_error_within_a_success_is_an_error(
        self, furnished: S3Driver, driver: S3Driver, proxy: FaultProxy, path: str, step: str
    ) -> None:
        furnished.put_content("/new", b"older")
        proxy.fail(step, instead(ERROR_IN_200))
        with pytest.raises(StorageDriverError):
            driver.move(path, "/new")
        assert stored(furnished) == BEFORE | {"/new": b"older"}
        assert pending(furnished) == ["/pending"]

    def test_a_copy_of_a_changed_source_is_refused(
        self, furnished: S3Driver, driver: S3Driver, proxy: FaultProxy
    ) -> None:
        proxy.fail("UploadPartCopy", instead(s3_error(412, "PreconditionFailed")))
        with pytest.raises(StorageDriverError, match="changed"):
            driver.move("/large", "/new")
        assert stored(furnished) == BEFORE


class TestRead:
    def test_a_cut_body_goes_on_on_condition_of_the_same_object(
        self, furnished: S3Driver, driver: S3Driver, proxy: FaultProxy
    ) -> None:
        proxy.fail("GetObject", Fault(delivered=True, cut=3 * MIB), times=2)
        assert driver.get_content("/large") == LARGE
        first, *resumed = [headers for operation, headers in proxy.seen if operation == "GetObject"]
        assert "range" not in first
        assert resumed
        assert {headers.get("if-match", "").strip('"') for headers in resumed} == {furnished.stat("/large").etag}

    def test_a_body_cut_again_and_again_is_read(self, furnished: S3Driver, driver: S3Driver, proxy: FaultProxy) -> None:
        proxy.fail("GetObject", Fault(delivered=True, cut=MIB), times=10)
        assert driver.get_content("/large") == LARGE

    def test_an_object_replaced_meanwhile_is_not_mixed(
        self, furnished: S3Driver, driver: S3Driver, proxy: FaultProxy
    ) -> None:
        def cut_then_replace(operation: str, number: int) -> Fault | None:
            if operation == "GetObject" and number > 1:
                furnished.put_content("/large", LARGE[::-1])
            return Fault(delivered=True, cut=MIB) if operation == "GetObject" else None

        proxy.fault = cut_then_replace
        with pytest.raises(StorageDriverError, match="changed while it was read"):
            driver.get_content("/large")

    def test_an_object_deleted_meanwhile_is_an_error(
        self, furnished: S3Driver, driver: S3Driver, proxy: FaultProxy
    ) -> None:
        def cut_then_delete(operation: str, number: int) -> Fault | None:
            if operation == "GetObject" and number > 1:
                furnished.delete("/large")
            return Fault(delivered=True, cut=MIB) if operation == "GetObject" else None

        proxy.fault = cut_then_delete
        with pytest.raises(StorageDriverError):
            driver.get_content("/large")


def test_a_cut_listing_is_asked_again(furnished: S3Driver, driver: S3Driver, proxy: FaultProxy) -> None:
    proxy.fail("ListObjectsV2", Fault(delivered=True, cut=300), times=1)
    assert driver.list("/") == sorted(BEFORE)


def test_a_key_that_was_not_deleted_is_named(furnished: S3Driver, driver: S3Driver, proxy: FaultProxy) -> None:
    refused = b"<Error><Key>registry/small</Key><Code>AccessDenied</Code><Message>no</Message></Error>"
    proxy.fail("DeleteObjects", instead(Answer(200, b"<DeleteResult>%s</DeleteResult>" % refused)))
    with pytest.raises(StorageDriverError, match="registry/small was not deleted: no") as caught:
        driver.delete("/small")
    assert caught.value.kind is Kind.DENIED


class TestLeaving:
    """A writer that cannot even drop its upload."""

    def test_the_first_error_is_told_and_the_upload_stays_visible(
        self, driver: S3Driver, truth: S3Driver, proxy: FaultProxy, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail() -> None:
            with driver.writer("/new") as writer:
                writer.write(LARGE)
                raise ZeroDivisionError

        proxy.fail("AbortMultipartUpload", instead(ACCESS_DENIED))
        with pytest.raises(ZeroDivisionError):
            fail()
        assert "the upload of /new was left pending" in caplog.text
        assert pending(truth) == ["/new"]
        assert stored(truth) == {}

    def test_an_abort_whose_answer_was_lost_is_no_error(
        self, driver: S3Driver, truth: S3Driver, proxy: FaultProxy
    ) -> None:
        proxy.fail("AbortMultipartUpload", UNANSWERED, times=1)
        with driver.writer("/new") as writer:
            writer.write(LARGE)
        assert pending(truth) == []


def test_what_was_closed_survives_the_process(driver: S3Driver, truth: S3Driver, proxy: FaultProxy) -> None:
    """A session that fails at its very end keeps what earlier ones stored."""
    with driver.writer("/new") as writer:
        writer.write(LARGE[: 6 * MIB])
        writer.close()
    proxy.fail("ListParts", instead(INTERNAL_ERROR))
    with pytest.raises(StorageDriverError):
        driver.writer("/new", append=True)
    proxy.recover()
    with driver.writer("/new", append=True) as writer:
        writer.write(LARGE[writer.size :])
        writer.commit()
    assert stored(truth) == {"/new": LARGE}


def test_a_session_that_could_not_be_closed_goes_on(driver: S3Driver, truth: S3Driver, proxy: FaultProxy) -> None:
    """The short part that close could not store is stored before what follows it, so that it can be merged."""
    with driver.writer("/new") as writer:
        writer.write(LARGE[: 6 * MIB])
        proxy.fail("UploadPart", instead(SLOW_DOWN))
        with pytest.raises(StorageDriverError):
            writer.close()
        proxy.recover()
        writer.write(LARGE[6 * MIB :])
        writer.commit()
    assert stored(truth) == {"/new": LARGE}


def test_a_missing_object_is_missing_through_all_faults(driver: S3Driver, proxy: FaultProxy) -> None:
    proxy.fail("GetObject", instead(SLOW_DOWN), times=TRIES - 1)
    with pytest.raises(PathNotFoundError):
        driver.get_content("/new")
