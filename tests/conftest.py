"""What every test stands on: a throw-away DATA_DIR, loopback only, and real servers that start when first asked for.

What a machine lacks is skipped with its reason; with REQUIRE_ALL=1 a skip is a failure. Tests marked `nightly` run with
RUN_NIGHTLY=1 only.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path

import django
import pytest

from tests.components import Postgres, Redis, S3Process

# Before Django reads its settings: neither the developer's data nor a production's variables may reach a test.
DATA_DIR = Path(tempfile.mkdtemp(prefix="wharfinger-tests-"))
SETTINGS = [
    *("ALLOWED_HOSTS", "ARCHIVE_MAX_BYTES", "DATABASE_URL", "DEBUG", "ENDPOINT_ALLOWLIST", "ENDPOINT_ALLOW_PRIVATE"),
    *("FIELD_KEYS", "HTTPS", "JOB_LEASE_SECONDS", "REDIS_URL", "SECRET_KEY", "SPOOL_DIR", "TRUST_PROXY"),
    "VISIBILITY_TIMEOUT",
]
for _name in (*SETTINGS, *(f"{name}_FILE" for name in SETTINGS)):
    os.environ.pop(_name, None)
for _name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[_name]
os.environ |= {
    "DATA_DIR": str(DATA_DIR),
    "DJANGO_SETTINGS_MODULE": "project.settings",
    "AWS_EC2_METADATA_DISABLED": "true",
}
(DATA_DIR / "static").mkdir()


from django.conf import settings  # noqa: E402 - it reads the environment

settings.STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # fast; nothing here is a secret
for _folder in ("messages", "control", "processed"):
    (settings.BROKER_DIR / _folder).mkdir(parents=True, exist_ok=True)
django.setup()  # before the conftests below import models


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(DATA_DIR, ignore_errors=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get("RUN_NIGHTLY") == "1":
        return
    nightly = [item for item in items if item.get_closest_marker("nightly")]
    config.hook.pytest_deselected(items=nightly)
    items[:] = [item for item in items if item not in nightly]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_skip(report)
    return report


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and os.environ.get("REQUIRE_ALL") == "1" and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"REQUIRE_ALL=1 lets nothing be skipped. {reason}"


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Process]:
    """An S3 server that takes any key pair."""
    server = S3Process(tmp_path_factory.mktemp("s3"))
    yield server
    server.stop()


@pytest.fixture
def bucket(s3: S3Process) -> str:
    """A new, empty bucket."""
    return s3.make_bucket(f"images-{uuid.uuid4().hex[:12]}")


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    server = Redis(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    yield server
    server.stop()
