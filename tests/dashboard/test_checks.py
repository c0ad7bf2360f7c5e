"""The system checks refuse an unsafe production, one setting at a time, and say what to set."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from cryptography.fernet import Fernet
from django.conf import settings
from django.core.checks import CheckMessage
from django.test import override_settings

from project import checks

ROOT = Path(__file__).resolve().parents[2]
SAFE: dict[str, Any] = {
    "EMBEDDED": False,
    "DEBUG": False,
    "SECRET_KEY": "k" * 64,
    "SECRET_KEY_GENERATED": False,
    "FIELD_KEYS": [Fernet.generate_key().decode()],
    "FIELD_KEYS_GENERATED": False,
    "REDIS_URL": "redis://redis:6379/0",
    "HTTPS": True,
    "ALLOWED_HOSTS": ["wharfinger.example.org"],
    "ENDPOINT_ALLOW_PRIVATE": False,
}


def found(engine: str = "postgresql", **changed: Any) -> list[CheckMessage]:
    """Return what the checks say about the recommended production with some settings changed."""
    database = {"default": {"ENGINE": f"django.db.backends.{engine}"}}
    # Not override_settings: Django warns of it, for good reason. Nothing opens a connection here.
    with override_settings(**(SAFE | changed)), mock.patch.dict(settings.DATABASES, database):
        return [*checks.field_keys(), *checks.production()]


def test_the_recommended_production_passes() -> None:
    assert found() == []


@pytest.mark.parametrize(
    ("identifier", "setting_to_change", "changed"),
    [
        ("wharfinger.E001", "SECRET_KEY", {"SECRET_KEY_GENERATED": True}),
        ("wharfinger.E002", "FIELD_KEYS", {"FIELD_KEYS_GENERATED": True}),
        ("wharfinger.E003", "FIELD_KEYS", {"FIELD_KEYS": ["too short"]}),
        ("wharfinger.E003", "FIELD_KEYS", {"FIELD_KEYS": []}),
        ("wharfinger.E004", "DEBUG", {"DEBUG": True}),
        ("wharfinger.E005", "DATABASE_URL", {"engine": "sqlite3"}),
        ("wharfinger.E006", "REDIS_URL", {"REDIS_URL": ""}),
        ("wharfinger.E007", "HTTPS", {"HTTPS": False}),
        ("wharfinger.E008", "ALLOWED_HOSTS", {"ALLOWED_HOSTS": []}),
        ("wharfinger.E008", "ALLOWED_HOSTS", {"ALLOWED_HOSTS": ["wharfinger.example.org", "*"]}),
        ("wharfinger.E009", "random", {"SECRET_KEY": "changeme"}),
        ("wharfinger.W001", "ENDPOINT_ALLOWLIST", {"ENDPOINT_ALLOW_PRIVATE": True}),
    ],
)
def test_one_unsafe_setting_is_named(identifier: str, setting_to_change: str, changed: dict[str, Any]) -> None:
    messages = found(**changed)
    assert [message.id for message in messages] == [identifier]
    assert setting_to_change in str(messages[0].hint)


def test_embedded_may_do_all_of_it() -> None:
    unsafe = {"SECRET_KEY_GENERATED": True, "FIELD_KEYS_GENERATED": True, "HTTPS": False, "REDIS_URL": ""}
    assert found("sqlite3", EMBEDDED=True, ENDPOINT_ALLOW_PRIVATE=True, ALLOWED_HOSTS=[], **unsafe) == []


def test_embedded_needs_real_field_keys_too() -> None:
    assert [message.id for message in found(EMBEDDED=True, FIELD_KEYS=["x"])] == ["wharfinger.E003"]


def test_a_bad_key_is_named_by_its_place_and_never_repeated() -> None:
    (message,) = found(FIELD_KEYS=[*SAFE["FIELD_KEYS"], "a-secret-typed-wrong"])
    assert "key 2 " in message.msg
    assert "a-secret-typed-wrong" not in f"{message.msg} {message.hint}"


def check_with(environment: dict[str, str], data: Path, *command: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [sys.executable, *(command or ("manage.py", "check"))],
        cwd=ROOT,
        env=inherited | {"DATA_DIR": str(data)} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_production_from_the_environment_passes(tmp_path: Path) -> None:
    (tmp_path / "field_keys").write_text(Fernet.generate_key().decode())
    done = check_with(
        {
            "DATABASE_URL": "postgres://wharfinger:x@db.invalid:5432/wharfinger",
            "REDIS_URL": "redis://redis.invalid:6379/0",
            "SECRET_KEY": "k" * 64,
            "FIELD_KEYS_FILE": str(tmp_path / "field_keys"),
            "ALLOWED_HOSTS": "wharfinger.example.org",
        },
        tmp_path,
    )
    assert done.returncode == 0, done.stderr


def test_a_careless_production_is_refused_with_every_reason(tmp_path: Path) -> None:
    done = check_with({"REDIS_URL": "redis://redis.invalid:6379/0"}, tmp_path)
    assert done.returncode == 1
    reported = {number for number in range(1, 10) if f"wharfinger.E00{number}" in done.stderr}
    assert reported == {1, 2, 5, 8}


def test_a_worker_refuses_a_careless_production(tmp_path: Path) -> None:
    done = check_with({"REDIS_URL": "redis://127.0.0.1:9/0"}, tmp_path, "-m", "celery", "-A", "project", "worker")
    assert done.returncode == 1
    assert "wharfinger.E001" in done.stderr
