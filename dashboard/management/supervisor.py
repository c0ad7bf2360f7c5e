"""Starts child processes, waits for the first of them to die or for a signal, and leaves none behind."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final

from dashboard.management import guard

GRACE_SECONDS: Final = 30.0
MAX_LOG_BYTES: Final = 5 * 2**20
STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ChildDied(Exception):  # noqa: N818 - the event, not a mistake
    """A child ended by itself; the message names it, how it ended and where its log is."""


class Stopped(Exception):  # noqa: N818 - the event, not a mistake
    """Somebody asked to stop, by Ctrl-C or a signal."""


class Child:
    """A running process, leader of its own process group, whose output goes to a log file."""

    def __init__(self, name: str, command: Sequence[str], log: Path, folder: Path) -> None:
        self.name = name
        self.log = log
        with _open_log(log) as output:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal reaches the supervisor alone, which stops in order
            )
        self.group = self._process.pid

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def how_it_ended(self) -> str:
        """Say why it is gone, for people."""
        status = self._process.returncode
        return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"


class Supervisor:
    """Owns the children. A context manager, used in the main thread: leaving it, however, stops every child.

    Should this process be killed without warning, a guard process stops them. `keep_open` are file descriptors that the
    guard holds as long as a child may live, such as a lock. A child has `grace_seconds` to end before it is killed.
    """

    def __init__(
        self, folder: Path, logs: Path, *, keep_open: Sequence[int] = (), grace_seconds: float = GRACE_SECONDS
    ) -> None:
        self._grace_seconds = grace_seconds
        self._folder = folder
        self._logs = logs
        self._children: list[Child] = []
        self._last_request: float | None = None
        self._wakeup, self._wakeup_writer = os.pipe()
        for end in (self._wakeup, self._wakeup_writer):
            os.set_blocking(end, False)
        self._keep_open = keep_open

    def __enter__(self) -> Supervisor:
        self._logs.mkdir(mode=0o700, exist_ok=True)
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__, str(self._grace_seconds)],
            stdin=subprocess.PIPE,
            start_new_session=True,
            pass_fds=self._keep_open,
        )
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_stop_signal)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # so that a death wakes `_sleep`
        signal.set_wakeup_fd(self._wakeup_writer, warn_on_full_buffer=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop_children()
        self._tell_guard("done")
        self._guard.communicate()

    def start(self, name: str, command: Sequence[str]) -> None:
        """Start a child; its log is <logs>/<name>.log."""
        self._raise_if_stopped()
        child = Child(name, command, self._logs / f"{name}.log", self._folder)
        self._children.append(child)
        self._tell_guard(str(child.group))

    def wait_until(self, is_ready: Callable[[], bool], seconds: float) -> bool:
        """Wait for a condition; False when the time is over. Raises ChildDied and Stopped."""
        deadline = time.monotonic() + seconds
        while not is_ready():
            if time.monotonic() > deadline:
                return False
            self._sleep(0.1)
            self._raise_if_stopped()
            self._raise_if_dead()
        return True

    def wait(self) -> None:
        """Wait until something happens: raises ChildDied or Stopped."""
        while True:
            self._raise_if_stopped()
            self._raise_if_dead()
            self._sleep(None)

    def _on_stop_signal(self, *_: object) -> None:
        self._last_request = time.monotonic()

    def _sleep(self, seconds: float | None) -> None:
        """Sleep until a signal comes, a child's death included; one that came before counts."""
        if select.select([self._wakeup], [], [], seconds)[0]:
            os.read(self._wakeup, 4096)

    def _raise_if_stopped(self) -> None:
        if self._last_request is not None:
            raise Stopped

    def _raise_if_dead(self) -> None:
        for child in self._children:
            if not child.is_alive():
                raise ChildDied(f"The {child.name} process {child.how_it_ended()}. Its log: {child.log}")

    def _stop_children(self) -> None:
        """Ask all to end and wait; kill the rest after the grace, or at once when asked to stop a second time.

        A group is killed even when its leader has ended: it may have left children of its own.
        """
        begun = time.monotonic()
        for child in self._children:
            if child.is_alive():
                os.kill(child.group, signal.SIGTERM)
        while any(child.is_alive() for child in self._children):
            # One Ctrl-C may arrive twice, by way of make; another one comes later.
            asked_again = self._last_request is not None and self._last_request > begun + 1
            if asked_again or time.monotonic() > begun + self._grace_seconds:
                break
            self._sleep(0.5)
        for child in self._children:
            try:
                os.killpg(child.group, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):  # nobody left; macOS says so of zombies by the latter
                continue
        while any(child.is_alive() for child in self._children):
            self._sleep(0.1)

    def _tell_guard(self, line: str) -> None:
        assert self._guard.stdin is not None  # noqa: S101 - opened as a pipe
        try:
            self._guard.stdin.write(f"{line}\n".encode())
            self._guard.stdin.flush()
        except BrokenPipeError:
            return  # somebody killed the guard; the children are still ours to stop


def _open_log(path: Path) -> BinaryIO:
    """Open a log for appending, readable by its owner alone; what is over 5 MiB becomes <name>.log.1 first."""
    if path.exists() and path.stat().st_size > MAX_LOG_BYTES:
        path.replace(path.with_suffix(".log.1"))
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")
