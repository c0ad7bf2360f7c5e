"""The bootstrap of the make targets: what it sets up, and the one line it says when it cannot."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from project import bootstrap

SCRIPT = Path(bootstrap.__file__)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A project with nothing in it but the bootstrap and no requirements."""
    (tmp_path / "project").mkdir()
    shutil.copy(SCRIPT, tmp_path / "project")
    (tmp_path / "requirements.txt").write_text("")
    return tmp_path


def run(clone: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "project/bootstrap.py", *arguments],
        cwd=clone,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_makes_an_environment_and_becomes_its_python(clone: Path) -> None:
    first = run(clone, "-c", "import sys; print(sys.prefix)")
    assert (first.returncode, first.stdout.strip()) == (0, str(clone / ".venv"))


def test_a_second_run_installs_nothing(clone: Path) -> None:
    run(clone)
    assert run(clone).stderr == ""


def test_changed_requirements_are_installed(clone: Path) -> None:
    run(clone)
    (clone / "requirements.txt").write_text("# another\n")
    assert "Installing" in run(clone).stderr


def test_a_broken_environment_is_made_again(clone: Path) -> None:
    run(clone)
    (clone / ".venv" / "bin" / "python").unlink()
    assert run(clone, "-c", "print('works')").stdout == "works\n"


def test_a_package_that_does_not_exist_is_named_in_one_line(clone: Path) -> None:
    (clone / "requirements.txt").write_text("--no-index\nno-such-package==1\n")
    failed = run(clone, PIP_FIND_LINKS="", PIP_EXTRA_INDEX_URL="")
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].startswith("no-such-package==1 is not to be had for this Python")


def test_a_failed_install_is_tried_again(clone: Path) -> None:
    (clone / "requirements.txt").write_text("--no-index\nno-such-package==1\n")
    run(clone, PIP_FIND_LINKS="", PIP_EXTRA_INDEX_URL="")
    assert run(clone, PIP_FIND_LINKS="", PIP_EXTRA_INDEX_URL="").returncode == 1


def test_a_data_folder_that_cannot_be_written_is_said_in_one_line(clone: Path) -> None:
    (clone / "file").touch()
    failed = run(clone, "manage.py", "up", DATA_DIR=str(clone / "file" / "data"))
    expected = (
        f"Cannot write to the data folder {clone}/file/data (Not a directory). Choose another: DATA_DIR=/path make up"
    )
    assert (failed.returncode, failed.stderr.splitlines()) == (1, [expected])


def test_an_environment_folder_that_cannot_be_written_is_said_in_one_line(clone: Path) -> None:
    (clone / "file").touch()
    failed = run(clone, VENV="file/venv")
    expected = f"Cannot write to {clone}/file/venv. Choose other folders: VENV=/path/venv DATA_DIR=/path/data make up"
    assert (failed.returncode, failed.stderr.splitlines()[-1]) == (1, expected)


def test_an_old_python_takes_a_newer_one_from_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 18))
    monkeypatch.setattr(bootstrap, "KNOWN_PYTHONS", ("no-such-python", sys.executable))
    assert bootstrap.find_python() == sys.executable


def test_an_old_python_alone_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 18))
    monkeypatch.setattr(bootstrap, "KNOWN_PYTHONS", ("no-such-python",))
    with pytest.raises(bootstrap.SetupError, match=r"needs Python 3\.11 or later and found 3\.9\.18 .*make up PYTHON="):
        bootstrap.find_python()


@pytest.mark.parametrize("name", ["python3.6", "python3.9"])
def test_old_pythons_can_read_it(name: str) -> None:
    """Compiled for the grammar of that version, which the parser checks as far as it knows it."""
    import ast

    minor = int(name.rpartition(".")[2])
    ast.parse(SCRIPT.read_text(), feature_version=(3, minor))


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (
            "error: command 'gcc' failed: No such file or directory\nERROR: Failed building wheel for lxml",
            "lxml has no ready",
        ),
        (
            "ERROR: Failed to build installable wheels for some projects\nerror: command 'cc' failed: No such",
            "compiler",
        ),
        ("ERROR: No matching distribution found for moto==9\n", "moto==9 is not to be had"),
        ("NameResolutionError: Temporary failure in name resolution\nERROR: No matching distribution for x", "network"),
        ("ERROR: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: something else\n", "pip failed: ERROR: something else."),
        ("", "pip failed: no output."),
    ],
)
def test_what_pip_says_becomes_what_to_do(output: str, words: str) -> None:
    assert words in bootstrap.diagnose(output)


def test_missing_packages_are_named_without_root(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap, "PACKAGES", {"no-such-program": "some-package", "sh": "dash"})
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    bootstrap.ensure_packages()
    assert capsys.readouterr().err == (
        "Tests that need some-package are skipped. Install them: apt-get install some-package\n"
    )


def test_no_service_starts_while_packages_are_installed(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    with bootstrap.services_kept_down(policy):
        assert subprocess.run([policy], check=False).returncode == 101
    assert not policy.exists()


def test_a_policy_that_exists_is_left_alone(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 0\n")
    with bootstrap.services_kept_down(policy):
        pass
    assert policy.read_text() == "#!/bin/sh\nexit 0\n"
