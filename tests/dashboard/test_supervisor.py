"""The supervisor of `make up`: however it ends, no child stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dashboard.management import supervisor

ROOT = Path(__file__).parent.parent.parent
# Runs the given Python programs as children named c0, c1, ... and prints how it ended.
SUPERVISE = """
import sys
from pathlib import Path
from dashboard.management.supervisor import ChildDied, Stopped, Supervisor
folder, grace, *programs = sys.argv[1:]
try:
    with Supervisor(Path(folder), Path(folder) / "logs", grace_seconds=float(grace)) as running:
        for number, program in enumerate(programs):
            running.start(f"c{number}", [sys.executable, "-c", program])
        names = [Path(folder) / f"ready{number}" for number in range(len(programs))]
        running.wait_until(lambda: all(name.exists() for name in names), 30)
        print("up", flush=True)
        running.wait()
except Stopped:
    print("stopped", flush=True)
except ChildDied as error:
    print(error, flush=True)
"""
SAY_READY = "import os, pathlib, signal, subprocess, sys, time; pathlib.Path('ready{}').write_text(str(os.getpid()));"
SLEEPS = SAY_READY + "time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + SLEEPS
LEAVES_A_CHILD = (
    "import subprocess, sys, pathlib; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
    "pathlib.Path('grandchild').write_text(str(child.pid));" + SLEEPS
)

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def run(*programs: str, grace: float = 20) -> subprocess.Popen[str]:
        numbered = [program.format(number) for number, program in enumerate(programs)]
        process = subprocess.Popen(
            [sys.executable, "-c", SUPERVISE, str(tmp_path), str(grace), *numbered],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        return process

    yield run
    for process in started:
        process.terminate()
        process.communicate(timeout=60)


def pid_of(path: Path) -> int:
    return int(path.read_text())


def is_running(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until_gone(*pids: int) -> None:
    deadline = time.monotonic() + 30
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline, "a child stayed"
        time.sleep(0.02)  # between two looks; the deadline decides


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_all_children(start: Start, tmp_path: Path, number: signal.Signals) -> None:
    process = start(SLEEPS, SLEEPS)
    children = [pid_of(tmp_path / "ready0"), pid_of(tmp_path / "ready1")]
    process.send_signal(number)
    assert process.communicate(timeout=20)[0] == "stopped\n"
    assert [is_running(child) for child in children] == [False, False]


def test_a_child_that_dies_stops_the_rest_and_is_named(start: Start, tmp_path: Path) -> None:
    process = start(SLEEPS, SLEEPS)
    os.kill(pid_of(tmp_path / "ready1"), signal.SIGKILL)
    expected = f"The c1 process was killed by SIGKILL. Its log: {tmp_path}/logs/c1.log\n"
    assert process.communicate(timeout=20)[0] == expected
    assert not is_running(pid_of(tmp_path / "ready0"))


def test_a_child_that_ends_gives_its_status(start: Start, tmp_path: Path) -> None:
    process = start(SAY_READY + "signal.signal(signal.SIGTERM, lambda *_: sys.exit(3)); time.sleep(600)")
    os.kill(pid_of(tmp_path / "ready0"), signal.SIGTERM)
    # The signal may come before the handler is set; either way the child has ended by itself.
    assert process.communicate(timeout=20)[0].startswith("The c0 process ")


def test_a_child_that_ignores_the_signal_is_killed_after_the_grace(start: Start, tmp_path: Path) -> None:
    process = start(STUBBORN, grace=0.5)
    process.terminate()
    assert process.communicate(timeout=20)[0] == "stopped\n"
    assert not is_running(pid_of(tmp_path / "ready0"))


def test_what_a_child_left_behind_is_killed(start: Start, tmp_path: Path) -> None:
    process = start(LEAVES_A_CHILD)
    process.terminate()
    process.communicate(timeout=20)
    wait_until_gone(pid_of(tmp_path / "grandchild"))


def test_a_killed_supervisor_leaves_no_child(start: Start, tmp_path: Path) -> None:
    process = start(LEAVES_A_CHILD, SLEEPS)
    process.kill()
    process.communicate()
    wait_until_gone(*(pid_of(tmp_path / name) for name in ("ready0", "ready1", "grandchild")))


def test_a_killed_supervisor_leaves_no_stubborn_child(start: Start, tmp_path: Path) -> None:
    process = start(STUBBORN, grace=0.5)
    process.kill()
    process.communicate()
    wait_until_gone(pid_of(tmp_path / "ready0"))


def test_output_goes_to_a_log_of_the_owner_alone(start: Start, tmp_path: Path) -> None:
    process = start("print('ware', flush=True);" + SLEEPS)
    process.terminate()
    process.communicate(timeout=20)
    log = tmp_path / "logs" / "c0.log"
    assert (log.read_text(), log.stat().st_mode & 0o777) == ("ware\n", 0o600)


@pytest.mark.parametrize(("size", "kept"), [(supervisor.MAX_LOG_BYTES, False), (supervisor.MAX_LOG_BYTES + 1, True)])
def test_a_log_over_the_limit_is_put_aside(tmp_path: Path, size: int, kept: bool) -> None:
    log = tmp_path / "web.log"
    log.write_bytes(bytes(size))
    supervisor._open_log(log).close()
    assert (tmp_path / "web.log.1").exists() == kept
