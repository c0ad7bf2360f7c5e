"""`manage.py demo_s3`: the demo's S3 server in the foreground, quiet, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import datetime
import signal
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from dashboard.demo import BUCKET, HOST
from dashboard.demo.content import build_demo
from dashboard.demo.server import S3Server


class Command(BaseCommand):
    """Serve the demo registry's bucket; `manage.py up` starts it by itself."""

    help = "Serves the demo registry's bucket as S3 on 127.0.0.1, without checking signatures."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, required=True)
        parser.add_argument("--folder", type=Path, default=settings.DATA_DIR / "s3", help="where the state is kept")

    def handle(self, *args: Any, **options: Any) -> None:
        port, folder = options["port"], options["folder"]
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # all that was answered is stored: nothing to wait for
        try:
            server = S3Server(folder, port)
        except OSError as error:
            raise CommandError(f"Cannot serve on {HOST}:{port} from {folder}: {error.strerror}.") from error
        if not server.s3.has_bucket(BUCKET):
            server.s3.seed(BUCKET, build_demo(datetime.datetime.now(datetime.UTC)))
        server.serve_forever()
