"""`manage.py up`: everything on one machine, started by one command and stopped by Ctrl-C or SIGTERM."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from dashboard.demo import HOST as DEMO_HOST
from dashboard.management.supervisor import GRACE_SECONDS, ChildDied, Stopped, Supervisor
from dashboard.models import Registry
from dashboard.services import accounts, jobs, registries

START_SECONDS: Final = 120.0
THREADS: Final = "8"


class Command(BaseCommand):
    """Set up what is missing, start the processes, say where to go, and wait."""

    help = "Starts the web server, a worker with beat and, until a registry is added, the demo. Ctrl-C stops them."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default=os.environ.get("HOST") or "127.0.0.1", help="address to listen on")
        parser.add_argument("--port", default=os.environ.get("PORT") or "8000", help="port of the web server")

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.EMBEDDED:
            raise CommandError(
                "DATABASE_URL or REDIS_URL is set: that is a production, which runs its processes one by one. "
                "See docs/settings.md, or unset both for the embedded default."
            )
        logging.disable(logging.WARNING)  # this process's own; what the children have to say is in their logs
        os.umask(0o077)  # the data are the owner's alone
        host, port = options["host"], _port_number(options["port"])
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
        try:
            with _only_one(settings.DATA_DIR / "up.pid", address) as lock:
                _refuse_taken_port(host, port)
                _prepare()
                with Supervisor(settings.BASE_DIR, settings.DATA_DIR / "logs", keep_open=[lock.fileno()]) as supervisor:
                    self._run(supervisor, host, port, address)
        except (Stopped, KeyboardInterrupt):
            return
        except ChildDied as error:
            raise CommandError(str(error)) from None

    def _run(self, supervisor: Supervisor, host: str, port: int, address: str) -> None:
        python = sys.executable
        demo_port = _demo_port() if _wants_demo() else None
        if demo_port:
            supervisor.start("s3", [python, "manage.py", "demo_s3", "--port", str(demo_port)])
        bind = f"{f'[{host}]' if ':' in host else host}:{port}"
        web = ["--bind", bind, "--worker-class", "gthread", "--threads", THREADS, "--workers", "2", "--preload"]
        supervisor.start(
            "web",
            [
                python,
                "-m",
                "gunicorn",
                "project.wsgi:application",
                *web,
                "--no-control-socket",
                "--log-level",
                "warning",
            ],
        )
        worker = ["--beat", "--pool", "threads", "--concurrency", "8", "--queues", "io,cpu,control"]
        supervisor.start(
            "worker",
            [python, "-m", "celery", "-A", "project", "worker", *worker, "--without-gossip", "--without-mingle"],
        )
        if demo_port:
            if not supervisor.wait_until(lambda: _is_listening(DEMO_HOST, demo_port), START_SECONDS):
                raise CommandError(f"The demo's S3 server did not start in {START_SECONDS:.0f} seconds. See the logs.")
            _register_demo(demo_port)
        if not supervisor.wait_until(lambda: _answers(f"{address}healthz/live"), START_SECONDS):
            raise CommandError(f"The web server did not answer in {START_SECONDS:.0f} seconds. See the logs.")
        self.stdout.write(f"Wharfinger runs at {address}")
        if user := _who_signs_in_by_link():
            self.stdout.write(f"Sign in, once: {address.rstrip('/')}{accounts.sign_in_link(user)}")
        self.stdout.flush()
        supervisor.wait()


def _port_number(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise CommandError(f"{text!r} is not a port. Choose one from 1 to 65535: PORT=8001 make up")
    return int(text)


@contextmanager
def _only_one(path: Path, address: str) -> Iterator[IO[str]]:
    """Hold the lock of this data folder; its file says who does and where. A holder that just died is waited for."""
    with path.open("a+") as file:
        deadline = time.monotonic() + GRACE_SECONDS + 5
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                file.seek(0)
                holder, _, where = file.read().strip().partition(" ")
                if not holder or _is_alive(int(holder)) or time.monotonic() > deadline:
                    raise CommandError(
                        f"Wharfinger already runs with {settings.DATA_DIR}, at {where}. Stop it first, or keep other "
                        "data beside it: DATA_DIR=/path PORT=8001 make up"
                    ) from None
                time.sleep(0.2)  # its guard is stopping its children
        file.truncate(0)
        file.write(f"{os.getpid()} {address}\n")
        file.flush()
        yield file


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _refuse_taken_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError:
            raise CommandError(
                f"Only root may listen on port {port}. Choose one above 1023: PORT=8001 make up"
            ) from None
        except OSError as error:
            reason = (
                "is taken" if error.errno == errno.EADDRINUSE else f"cannot be listened on at {host} ({error.strerror})"
            )
            raise CommandError(f"Port {port} {reason}. Choose another: PORT={port + 1} make up") from None


def _prepare() -> None:
    """Bring the database, the static files, the broker's folders and the first account to where they must be."""
    call_command("migrate", interactive=False, verbosity=0)
    call_command("createcachetable", verbosity=0)
    _collect_static_files()
    for name in ("messages", "control", "processed"):
        (settings.BROKER_DIR / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    if not User.objects.exists():
        User.objects.create_superuser("admin", password=None)


def _collect_static_files() -> None:
    """Collect them when one was added, changed or removed since the last time."""
    stamp = settings.DATA_DIR / "static-stamp"  # not among the files, which are served
    digest = hashlib.sha256()
    for finder in get_finders():
        for name, storage in sorted(finder.list([]), key=lambda found: str(found[0])):
            status = Path(storage.path(name)).stat()
            digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    if not stamp.exists() or stamp.read_text() != digest.hexdigest():
        call_command("collectstatic", interactive=False, clear=True, verbosity=0)
        stamp.write_text(digest.hexdigest())


def _wants_demo() -> bool:
    return Registry.objects.filter(is_demo=True).exists() or not Registry.objects.exists()


def _demo_port() -> int:
    """Return the port of the last time while it is free, so that the demo's endpoint stays what it was."""
    remembered = settings.DATA_DIR / "s3-port"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((DEMO_HOST, int(remembered.read_text())))
        except (OSError, ValueError):
            probe.close()
        else:
            return int(probe.getsockname()[1])
    with socket.socket() as probe:
        probe.bind((DEMO_HOST, 0))
        port = int(probe.getsockname()[1])
    remembered.write_text(str(port))
    return port


def _register_demo(port: int) -> None:
    registry = registries.add_demo(f"http://{DEMO_HOST}:{port}")
    if not registry.jobs.filter(kind="scan").exists():
        jobs.start(kind="scan", registry=registry, actor=None)


def _is_listening(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


def _answers(url: str) -> bool:
    """Say whether a server answers there at all; a wildcard address is asked on the loopback interface."""
    local = url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
    try:
        with urllib.request.urlopen(local, timeout=2):  # noqa: S310 - our own address
            return True
    except urllib.error.HTTPError as error:
        return error.code < 500
    except OSError:
        return False


def _who_signs_in_by_link() -> User | None:
    """Return the first superuser who has no password yet, if any."""
    superusers = User.objects.filter(is_superuser=True, is_active=True).order_by("pk")
    return next((user for user in superusers if not user.has_usable_password()), None)
