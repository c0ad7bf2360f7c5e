"""The writer against a model of what it promises while requests go wrong, and the walk against one of its order."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from storagedriver import (
    DriverParameters,
    FileInfo,
    FileWriter,
    PathNotFoundError,
    S3Driver,
    SkipDir,
    StopWalk,
    StorageDriverError,
    sending,
)
from storagedriver.clients import Timeouts
from storagedriver.errors import Kind
from tests.components import S3Process
from tests.components.faults import ERROR_IN_200, INTERNAL_ERROR, SLOW_DOWN, Fault, FaultProxy, after, instead
from tests.components.s3 import ACCESS_KEY, REGION, SECRET_KEY

MIB = 2**20
BYTES = random.Random(5).randbytes(16 * MIB)
SIZES = [0, 1, 1000, 5 * MIB - 1, 5 * MIB, 5 * MIB + 1, 7 * MIB]
FAULTS = [
    instead(SLOW_DOWN),
    instead(INTERNAL_ERROR),
    instead(ERROR_IN_200),
    after(INTERNAL_ERROR),
    Fault(delivered=False),
    Fault(delivered=True),
]


def trouble(*operations: str) -> st.SearchStrategy[tuple[str, Fault] | None]:
    """Nothing, as often as a fault for one request of these operations."""
    return st.none() | st.tuples(st.sampled_from(operations), st.sampled_from(FAULTS))


class WriterMachine(RuleBasedStateMachine):
    """Writes one object after another, in sessions; in each step a single request may go wrong, and is not repeated.

    `content` is what was written to the object at `path`, `pending` whether a closed session waits to be continued,
    `written` whether this session wrote, if only nothing, and `failed` whether that failed: then only close and cancel may
    follow. `asked` says that a commit was tried: the object may be there although its answer was lost, and nothing is
    written any more. `merged` says that a short part may have been made the beginning of another upload, `inherited` that
    this happened in an earlier session.
    """

    driver: S3Driver  # behind the proxy
    truth: S3Driver  # straight to the server
    proxy: FaultProxy
    numbers = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.published: dict[str, bytes] = {}
        self.writer: FileWriter | None = None

    @initialize()
    def start(self) -> None:
        self.next_object()

    def next_object(self) -> None:
        self.path = f"/objects/{next(self.numbers)}"
        self.writer = None
        self.content = b""
        self.pending = self.written = self.failed = self.merged = self.inherited = self.asked = False

    def stored(self) -> bytes | None:
        try:
            return self.truth.get_content(self.path)
        except PathNotFoundError:
            return None

    @staticmethod
    def expect_transient(error: StorageDriverError) -> None:
        assert error.kind is Kind.TRANSIENT, error

    def uploads(self) -> list[int]:
        """The sizes of what is pending at the path. Without parts they cost nothing: a lost answer leaves such ones."""
        return [upload.size for upload in self.truth.multipart_uploads(self.path) if upload.parts]

    @contextmanager
    def with_trouble(self, fault: tuple[str, Fault] | None) -> Iterator[None]:
        """Let the fault befall one request, if there is any, until the block ends."""
        if fault is not None:
            self.proxy.fail(*fault, times=1)
        yield
        self.proxy.recover()

    @precondition(lambda self: self.writer is None)
    @rule(fault=trouble("CreateMultipartUpload", "ListMultipartUploads", "ListParts"))
    def open(self, fault: tuple[str, Fault] | None) -> None:
        with self.with_trouble(fault):
            try:
                self.writer = self.driver.writer(self.path, append=self.pending)
            except StorageDriverError as error:
                self.expect_transient(error)  # what was closed is never missing
            else:
                assert self.writer.size == len(self.content)

    @precondition(lambda self: self.writer is not None and not self.failed and not self.asked)
    @rule(
        size=st.sampled_from(SIZES),
        start=st.integers(0, 8 * MIB),
        fault=trouble(
            "UploadPart",
            "CompleteMultipartUpload",
            "CreateMultipartUpload",
            "GetObject",
            "HeadObject",
            "UploadPartCopy",
        ),
    )
    def write(self, size: int, start: int, fault: tuple[str, Fault] | None) -> None:
        assert self.writer
        self.written, self.merged = True, self.merged or self.pending
        data = BYTES[start : start + size]
        with self.with_trouble(fault):
            try:
                assert self.writer.write(data) == size
            except StorageDriverError:
                self.failed = True
            else:
                assert self.writer.size == len(self.content) + size
        self.content += data

    @precondition(lambda self: self.written and not self.failed)
    @rule(fault=trouble("UploadPart", "CompleteMultipartUpload", "PutObject", "HeadObject", "AbortMultipartUpload"))
    def commit(self, fault: tuple[str, Fault] | None) -> None:
        assert self.writer
        with self.with_trouble(fault):
            try:
                self.writer.commit()
            except StorageDriverError as error:
                self.expect_transient(error)  # it may be called again
                self.asked = True
                return
        assert self.stored() == self.content
        assert self.uploads() == []
        self.writer.close()
        self.published[self.path] = self.content
        self.next_object()

    @precondition(lambda self: self.written and not self.failed)
    @rule(fault=trouble("UploadPart"))
    def close(self, fault: tuple[str, Fault] | None) -> None:
        assert self.writer
        with self.with_trouble(fault):
            try:
                self.writer.close()
            except StorageDriverError as error:
                self.expect_transient(error)  # so may this
                self.merged = True  # its last part may be a short one, too
                return
        self.writer, self.pending, self.written, self.inherited = None, True, False, self.merged
        assert sum(self.uploads()) == len(self.content)

    @precondition(lambda self: self.writer is not None)
    @rule(by_exception=st.booleans(), fault=trouble("AbortMultipartUpload", "DeleteObject"))
    def give_up(self, by_exception: bool, fault: tuple[str, Fault] | None) -> None:
        assert self.writer
        with self.with_trouble(fault):
            try:
                if by_exception:
                    with pytest.raises(ZeroDivisionError), self.writer:
                        1 / 0  # noqa: B018 - the content of the block fails
                else:
                    self.writer.cancel()
            except StorageDriverError as error:
                self.expect_transient(error)
        # What was left behind is a job for the cleaning of stale uploads. A session cannot tell an object of an earlier one.
        if fault is not None or self.asked or self.inherited:
            self.clean_up()
        assert self.uploads() == []
        assert self.stored() is None
        self.next_object()

    def clean_up(self) -> None:
        for upload in self.truth.multipart_uploads(self.path):
            self.truth.abort_multipart_upload(upload.path, upload.upload_id)
        self.truth.delete_object(self.path)

    @precondition(lambda self: self.failed and self.writer is not None)
    @rule()
    def close_after_a_failure(self) -> None:
        """What is kept is a beginning of the content, never anything else."""
        assert self.writer
        self.writer.close()
        try:
            with self.driver.writer(self.path, append=True) as writer:
                kept = writer.size
                writer.commit()
        except StorageDriverError:  # its parts were an object already; that is checked as the invariant does
            self.invisible_before_commit()
        else:
            assert self.stored() == self.content[:kept]
        self.clean_up()
        self.next_object()

    @invariant()
    def invisible_before_commit(self) -> None:
        """Nothing is there; or, in a session that went on after a short part, a beginning of the content."""
        stored = self.stored()
        beginning = stored is not None and self.merged and self.content.startswith(stored)
        assert stored is None or beginning or (self.asked and stored == self.content)

    def teardown(self) -> None:
        self.clean_up()  # not by the writer, whose requests are sent only once
        for path, content in self.published.items():
            assert self.truth.get_content(path) == content


@pytest.fixture
def proxy(s3: S3Process) -> Iterator[FaultProxy]:
    proxy = FaultProxy(s3.endpoint)
    yield proxy
    proxy.stop()


class InTurn(ThreadPoolExecutor):
    """Does everything at once, in the caller's thread: hypothesis needs the same run for the same choices."""

    def submit(self, task: Callable[..., Any], /, *args: Any, **keywords: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(task(*args, **keywords))
        except StorageDriverError as error:
            future.set_exception(error)
        return future


def test_the_writer_keeps_its_promises(
    proxy: FaultProxy, s3: S3Process, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "ThreadPoolExecutor", InTurn)

    def connect(endpoint: str, attempts: int) -> S3Driver:
        given = {
            "regionendpoint": endpoint,
            "region": REGION,
            "bucket": bucket,
            "accesskey": ACCESS_KEY,
            "secretkey": SECRET_KEY,
            "chunksize": 5 * MIB,
            "multipartcopychunksize": 5 * MIB,
        }
        return S3Driver(DriverParameters.parse(given, version="3"), timeouts=Timeouts(attempts=attempts))

    class Machine(WriterMachine):
        driver = connect(proxy.endpoint, 1)
        truth = connect(s3.endpoint, 4)

    Machine.proxy = proxy
    # Not shrunk: that takes many minutes, and a failing run is short enough to read.
    limits = settings(max_examples=25, stateful_step_count=20, deadline=None, phases=[Phase.generate], database=None)
    run_state_machine_as_test(Machine, settings=limits)


# Names whose order by key is not their order by directory.
NAMES = st.sampled_from(["a", "a-b", "a.b", "ab", "B", "_", "0"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(lambda names: "/" + "/".join(names))
roots = itertools.count()


def walk_model(
    objects: set[str], base: str, start_after: str | None, skip: str | None, stop: str | None
) -> list[tuple[str, bool]]:
    """What a walk visits, as (path, is a directory), said as simply as can be."""
    visited: list[tuple[str, bool]] = []
    if skip and not skip.startswith(f"{base}/"):
        skip = None  # neither the start nor what is above it is ever visited, so nothing can skip it
    for path in sorted(path for path in objects if path.startswith(f"{base}/")):
        if start_after and path <= start_after:
            continue
        names = path[len(base) + 1 :].split("/")
        above = [f"{base}/{'/'.join(names[:depth])}" for depth in range(1, len(names))]
        for directory in above:
            if (directory, True) not in visited and not (skip and directory.startswith(f"{skip}/")):
                visited.append((directory, True))
                if directory == stop:
                    return visited
        if skip not in above:
            visited.append((path, False))
            if path == stop:
                return visited
    return visited


@given(
    objects=st.sets(PATHS, max_size=12),
    base=st.one_of(st.just("/"), PATHS),
    start_after=st.one_of(st.none(), PATHS),
    skip=st.one_of(st.none(), PATHS),
    stop=st.one_of(st.none(), PATHS),
)
@example(objects={"/a/a/a"}, base="/a", start_after=None, skip="/a", stop=None)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_walk_visits_in_the_models_order(
    parameters: Callable[..., DriverParameters],
    small_pages: int,
    objects: set[str],
    base: str,
    start_after: str | None,
    skip: str | None,
    stop: str | None,
) -> None:
    driver = S3Driver(parameters(rootdirectory=f"walk-{next(roots)}"))
    for path in objects:
        driver.put_content(path, b"")
    visited: list[tuple[str, bool]] = []

    def visit(info: FileInfo) -> None:
        visited.append((info.path, info.is_dir))
        if info.path == stop:
            raise StopWalk
        if info.path == skip:
            raise SkipDir

    driver.walk(base, visit, start_after)
    assert visited == walk_model(objects, base.rstrip("/"), start_after, skip, stop)
