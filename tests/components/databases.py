"""PostgreSQL and Redis, thrown away with their folder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from tests.components.process import Process, answers, free_port, need


class Postgres:
    """A PostgreSQL server; `url` names its empty database for DATABASE_URL."""

    def __init__(self) -> None:
        program = need("postgres", *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))
        user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
        # Not pytest's folder: below it nothing is readable for the other user.
        self._folder = Path(tempfile.mkdtemp(prefix="wharfinger-postgres-"))
        if user:
            shutil.chown(self._folder, user, user)
        as_user = ["runuser", "-u", user, "--"] if user else []
        data = self._folder / "data"
        initdb = [Path(program).with_name("initdb"), "-D", data, "-U", "wharfinger", "-A", "trust", "-N", "-E", "UTF8"]
        subprocess.run([*as_user, *map(str, initdb)], check=True, stdout=subprocess.DEVNULL, cwd="/")
        port = free_port()
        options = ["listen_addresses=127.0.0.1", f"port={port}", f"unix_socket_directories={self._folder}", "fsync=off"]
        command = [program, "-D", str(data), *(part for option in options for part in ("-c", option))]
        # SIGINT is a fast shutdown: SIGTERM would wait for clients to leave.
        self._process = Process(command, self._folder / "log", user=user, stop_signal=signal.SIGINT)
        self._process.wait_until(lambda: "ready to accept connections" in self._process.output())
        self.url = f"postgres://wharfinger@127.0.0.1:{port}/postgres"

    def stop(self) -> None:
        self._process.stop()
        shutil.rmtree(self._folder)


class Redis:
    """A Redis server that keeps nothing on disk."""

    def __init__(self, folder: Path) -> None:
        program = need("redis-server")
        port = free_port()
        command = [program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
        self._process = Process([*command, "--dir", str(folder)], folder / "redis.log")
        self._process.wait_until(lambda: answers(port))
        self.url = f"redis://127.0.0.1:{port}/0"

    def stop(self) -> None:
        self._process.stop()
