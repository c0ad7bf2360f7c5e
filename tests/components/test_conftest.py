"""The rules of tests/conftest.py, seen from outside: pytest runs on files of one test each."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.components.process import ROOT

SKIPS = "import pytest\ndef test_real_server(): pytest.skip('docker-registry is not installed')"
SKIPS_AS_A_FILE = "import pytest\npytest.skip('docker-registry is not installed', allow_module_level=True)"
NIGHTLY = "import pytest\n@pytest.mark.nightly\ndef test_a_terabyte(): pass"
READS_SETTINGS = (
    "from django.conf import settings\n"
    "def test_data(tmp_path): assert settings.DATA_DIR != settings.BASE_DIR / 'data' and settings.EMBEDDED"
)


def run_pytest(folder: Path, text: str, **environment: str) -> str:
    """Run pytest with this project's configuration on one file; return the last line it prints."""
    (folder / "test_one.py").write_text(text)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "REQUIRE_", "RUN_"))}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tests.conftest",
        "-p",
        "no:cacheprovider",
        str(folder / "test_one.py"),
    ]
    done = subprocess.run(command, env=env | environment, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize("text", [SKIPS, SKIPS_AS_A_FILE])
def test_a_skip_is_a_skip(tmp_path: Path, text: str) -> None:
    assert "1 skipped" in run_pytest(tmp_path, text)


@pytest.mark.parametrize(("text", "outcome"), [(SKIPS, "1 failed"), (SKIPS_AS_A_FILE, "1 error")])
def test_a_skip_fails_when_all_is_required(tmp_path: Path, text: str, outcome: str) -> None:
    assert outcome in run_pytest(tmp_path, text, REQUIRE_ALL="1")


def test_nightly_tests_are_left_out(tmp_path: Path) -> None:
    assert "1 deselected" in run_pytest(tmp_path, NIGHTLY)


def test_nightly_tests_run_on_request(tmp_path: Path) -> None:
    assert "1 passed" in run_pytest(tmp_path, NIGHTLY, RUN_NIGHTLY="1")


def test_the_settings_of_the_machine_do_not_reach_the_tests(tmp_path: Path) -> None:
    assert "1 passed" in run_pytest(
        tmp_path, READS_SETTINGS, DATABASE_URL="postgres://production/db", REDIS_URL="redis://x"
    )
