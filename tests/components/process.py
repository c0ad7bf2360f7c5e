"""Child processes that cannot outlive the tests, and waiting for conditions."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "chromium": "chromium",
    "docker-registry": "docker-registry",
    "postgres": "postgresql",
    "redis-server": "redis-server",
    "skopeo": "skopeo",
}
T = TypeVar("T")


def need(program: str, *folders: Path) -> str:
    """Return the program's path, or skip the test with the package that brings it."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *map(str, folders)])
    found = shutil.which(program, path=path)
    if found is None:
        pytest.skip(f"{program} is not installed: apt-get install {PACKAGES[program]}")
    return found


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def wait_for(condition: Callable[[], T], what: str, timeout: float = 60, interval: float = 0.05) -> T:
    """Return the condition's first true value. Raises AssertionError, naming `what`, after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {timeout:.0f} s"
        time.sleep(interval)
    return value


class Process:
    """A child process with its output in a log file. The kernel kills it when this process dies, whatever way.

    `user` starts it as another user, which only root may ask for.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.log = log
        self._stop_signal = stop_signal
        guard = ["setpriv", "--pdeathsig", "KILL"]
        if user:
            guard += ["--reuid", user, "--regid", user, "--init-groups"]
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                [*guard, *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env) if env is not None else None,
                cwd=ROOT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._child.pid

    def running(self) -> bool:
        return self._child.poll() is None

    def output(self) -> str:
        """Return everything it has written so far."""
        return self.log.read_text(errors="replace")

    def wait_until(self, ready: Callable[[], object], timeout: float = 60) -> Self:
        """Wait for `ready` to be true. Raises AssertionError with the log's end if the process ends or takes too long."""

        def settled() -> bool:
            return bool(ready()) or not self.running()

        wait_for(settled, f"the start of {self._child.args!r}", timeout)
        assert self.running(), (
            f"{self._child.args!r} ended with status {self._child.returncode}:\n{self.output()[-4000:]}"
        )
        return self

    def kill(self) -> None:
        """Kill it as a crash or the kernel's memory killer would: with SIGKILL, all of its session."""
        if self.running():
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()

    def stop(self, timeout: float = 30) -> int:
        """Ask it to stop, kill it after `timeout` seconds; return its exit status."""
        if self.running():
            self._child.send_signal(self._stop_signal)
        try:
            self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
        return self._child.returncode

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def answers(port: int) -> bool:
    """Say whether something accepts connections on the loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
