"""Stops the children of `manage.py up` when it dies without having stopped them, by SIGKILL for instance.

Run as a program in a session of its own. It reads process groups from standard input, a number a line; the line "done"
says that there is nothing left to stop. When the input ends without it, the supervisor is dead. Standard library only.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path


def stop_groups(groups: list[int], grace_seconds: float) -> None:
    """Ask the leader of each group to end; when all have, or the grace is over, kill what is left in the groups."""
    for group in groups:
        _send(os.kill, group, signal.SIGTERM)
    deadline = time.monotonic() + grace_seconds
    while not all(_has_ended(group) for group in groups) and time.monotonic() < deadline:
        time.sleep(0.1)
    for group in groups:
        _send(os.killpg, group, signal.SIGKILL)


def _has_ended(leader: int) -> bool:
    """Count zombies as ended: in many containers the first process never collects them."""
    try:
        state = Path(f"/proc/{leader}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:  # it is gone, or this is not Linux
        return not _send(os.kill, leader, 0)
    return state == "Z"


def _send(how: Callable[[int, int], None], target: int, number: int) -> bool:
    try:
        how(target, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    lines = sys.stdin.read().split()
    if "done" not in lines:
        stop_groups([int(line) for line in lines], grace_seconds=float(sys.argv[1]))


if __name__ == "__main__":
    main()
