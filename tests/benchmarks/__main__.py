"""`python -m tests.benchmarks` runs every benchmark and prints tables in Markdown, those of docs/benchmarks.md."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings

settings.configure(USE_TZ=True)

from tests.benchmarks import listing, transfers  # noqa: E402 - django-storages reads the settings
from tests.benchmarks.measure import Place  # noqa: E402
from tests.components.process import Process, answers, free_port  # noqa: E402
from tests.components.s3 import S3Process  # noqa: E402

DELAY = 0.02  # seconds, the distance of a real S3


@contextmanager
def places() -> Iterator[list[Place]]:
    """One S3 server, reached directly and through a proxy that makes every request take 20 ms longer."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = S3Process(folder)
        bucket, port = server.make_bucket("benchmarks"), free_port()
        command = [sys.executable, "-m", "tests.components.proxy", server.endpoint, str(port), str(DELAY)]
        try:
            with Process(command, folder / "proxy.log").wait_until(lambda: answers(port)):
                far = f"http://127.0.0.1:{port}"
                yield [Place("loopback", server.endpoint, bucket), Place("20 ms away", far, bucket)]
        finally:
            server.stop()


def show(text: str) -> None:
    """Print a paragraph at once: whoever watches sees each result as it comes."""
    sys.stdout.write(f"{text}\n\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--size", type=int, default=256, metavar="MIB", help="size of the object to transfer")
    parser.add_argument("--keys", type=int, default=20_000, help="keys to list")
    options = parser.parse_args()
    machine = (
        f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}, Python {platform.python_version()}"
    )
    show(f"{datetime.now(UTC):%Y-%m-%d}, {machine}")
    with places() as found:
        for place in found:
            for comparison in (*listing.compare(place, options.keys), *transfers.compare(place, options.size)):
                show(str(comparison))


if __name__ == "__main__":
    main()
