"""`manage.py up` for real: what it prints, what it serves, how it stops."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from dashboard.management.commands import up

ROOT = Path(__file__).parent.parent.parent
START_SECONDS = 180


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_production_is_not_started_by_it(tmp_path: Path) -> None:
    production = {
        "DATA_DIR": str(tmp_path),
        "DATABASE_URL": "postgres://nobody@127.0.0.1:9/none",
        "REDIS_URL": "redis://127.0.0.1:9/0",
        "SECRET_KEY": "k" * 50,
        "FIELD_KEYS": Fernet.generate_key().decode(),
        "ALLOWED_HOSTS": "wharfinger.example.org",
    }
    command = [sys.executable, "manage.py", "up"]
    ended = subprocess.run(command, cwd=ROOT, env=os.environ | production, capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr.startswith("CommandError: DATABASE_URL or REDIS_URL is set")


class Running:
    """One `manage.py up` on a data folder."""

    def __init__(self, data: Path, port: int) -> None:
        self.data, self.port = data, port
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "up"],
            cwd=ROOT,
            env={**os.environ, "DATA_DIR": str(data), "HOST": "127.0.0.1", "PORT": str(port)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def lines(self) -> list[str]:
        """The two lines that it prints when it is up."""
        assert self.process.stdout is not None
        return [self.process.stdout.readline().rstrip("\n") for _ in range(2)]

    def stop(self, number: int) -> tuple[int, str]:
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> tuple[int, str]:
        """Its exit status and what it said beside the two lines."""
        output, errors = self.process.communicate(timeout=60)
        return self.process.returncode, output + errors

    def status_of(self, path: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with closing(connection):
            connection.request("GET", path)
            return connection.getresponse().status

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self.data / "wharfinger.sqlite3", timeout=20)) as database:
            return database.execute(query).fetchall()

    def children(self) -> list[int]:
        """The processes that run on the data folder, `up` itself and its guard aside."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                environment = (folder / "environ").read_bytes()
                command = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            mine = f"DATA_DIR={self.data}\0".encode() in environment
            if mine and b"\0up\0" not in command and b"guard.py" not in command:
                found.append(int(folder.name))
        return found


@contextmanager
def running(data: Path) -> Iterator[Running]:
    started = Running(data, free_port())
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.process.terminate()
        started.process.communicate(timeout=60)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that one start has filled: the first start is the slowest part, and the tests share it."""
    folder = tmp_path_factory.mktemp("up") / "data"
    with running(folder) as first:
        first.lines()
        wait_until(lambda: first.rows("SELECT 1 FROM dashboard_job WHERE state = 'succeeded'") != [])
    return folder


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)  # between two looks; the deadline decides


def test_a_first_start_scans_the_demo(data: Path) -> None:
    with running(data) as again:
        assert again.lines()[0].startswith("Wharfinger runs at ")
        assert again.rows("SELECT slug, generation FROM dashboard_registry") == [("demo", 1)]
        assert again.rows("SELECT count(*) FROM dashboard_repository") == [(9,)]


def test_it_prints_an_address_and_a_link_that_answer_and_nothing_else(data: Path) -> None:
    with running(data) as started:
        address, link = started.lines()
        assert address == f"Wharfinger runs at http://127.0.0.1:{started.port}/"
        assert (found := re.fullmatch(rf"Sign in, once: http://127\.0\.0\.1:{started.port}(/\S+)", link))
        assert started.status_of(found[1]) == 200
        assert started.stop(signal.SIGINT) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_all_its_children(data: Path, number: signal.Signals) -> None:
    with running(data) as started:
        started.lines()
        assert len(started.children()) >= 3
        assert started.stop(number)[0] == 0
        assert started.children() == []


def test_a_kill_leaves_no_children_and_the_next_start_works(data: Path) -> None:
    with running(data) as started:
        started.lines()
        left = set(started.children())
        started.process.kill()
    with running(data) as again:
        assert again.lines()[0].startswith("Wharfinger runs at ")
        assert left & set(again.children()) == set()


def test_a_worker_that_dies_ends_it_with_one_line(data: Path) -> None:
    with running(data) as started:
        started.lines()
        worker = next(pid for pid in started.children() if b"celery" in Path(f"/proc/{pid}/cmdline").read_bytes())
        os.kill(worker, signal.SIGKILL)
        status, said = started.ended()
        expected = f"CommandError: The worker process was killed by SIGKILL. Its log: {data}/logs/worker.log\n"
        assert (status, said) == (1, expected)
        assert started.children() == []


def test_a_second_one_on_the_same_data_is_refused_in_one_line(data: Path) -> None:
    with running(data) as started:
        started.lines()
        with running(data) as second:
            status, said = second.ended()
    assert (status, said.count("\n")) == (1, 1)
    assert f"already runs with {data}, at http://127.0.0.1:{started.port}/" in said


def test_a_taken_port_is_said_in_one_line(data: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        started = Running(data, port)
        expected = f"CommandError: Port {port} is taken. Choose another: PORT={port + 1} make up\n"
        assert started.ended() == (1, expected)


@pytest.mark.parametrize("text", ["", "abc", "0", "65536", "-1"])
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(up.CommandError, match="is not a port"):
        up._port_number(text)
