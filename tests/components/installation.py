"""An installation of the product with a data folder and processes of its own."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet

from tests.components.process import ROOT, Process

WORKER = [
    "worker",
    "--pool=threads",
    "--concurrency=4",
    "--queues=io,cpu,control",
    "--without-gossip",
    "--without-mingle",
]


class Installation:
    """A production on PostgreSQL and Redis: what runs in it runs in processes, none of it in the tests' own."""

    def __init__(self, folder: Path, *, database_url: str, redis_url: str, **environment: str) -> None:
        self._folder = folder
        self._processes: list[Process] = []
        self.env = {
            name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "DJANGO_", "PYTEST"))
        }
        self.env |= {
            "DJANGO_SETTINGS_MODULE": "project.settings",
            "DATA_DIR": str(folder / "data"),
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "SECRET_KEY": secrets.token_urlsafe(50),
            "FIELD_KEYS": Fernet.generate_key().decode(),
            "ALLOWED_HOSTS": "127.0.0.1",
            "ENDPOINT_ALLOWLIST": "127.0.0.1",
        } | environment
        self.run("manage.py", "check")
        self.run("manage.py", "migrate", "--verbosity=0")

    def run(self, *command: str) -> str:
        """Run a Python program of the project to its end; return what it printed. Raises AssertionError if it fails."""
        done = subprocess.run(
            [sys.executable, "-W", "error", *command],
            env=self.env,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def step(self, module: str, name: str, **arguments: object) -> Any:
        """Call a function of a module of steps within the installation; return its answer."""
        return json.loads(self.run("-m", module, name, json.dumps(arguments)))

    def start_worker(self) -> Process:
        return self._start("worker", *WORKER)

    def start_beat(self) -> Process:
        return self._start("beat", "beat")

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.stop()

    def _start(self, name: str, *arguments: str) -> Process:
        log = self._folder / f"{name}-{len(self._processes)}.log"
        process = Process([sys.executable, "-m", "celery", "-A", "project", *arguments], log, env=self.env)
        self._processes.append(process)
        return process
