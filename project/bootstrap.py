"""Makes the virtual environment what the requirements say, then becomes the Python in it.

    python3 project/bootstrap.py [--development] [--packages] [arguments of python ...]

`--development` installs requirements-dev.txt too; `--packages` the Debian packages that the tests use. Each failure is one
line that says what to do. Standard library only, and in the syntax of Python 3.6 (hence the quoted annotations): an old
Python must get as far as to say that it is too old.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / (os.environ.get("VENV") or ".venv")
PYTHON = str(VENV / "bin" / "python")
OPTIONS = ("--development", "--packages")
MINIMUM = (3, 11)
KNOWN_PYTHONS = ("python3.13", "python3.12", "python3.11", "python3.14", "python3")
# Program the tests run: Debian package that has it.
PACKAGES = {
    "docker-registry": "docker-registry",
    "skopeo": "skopeo",
    "umoci": "umoci",
    "redis-server": "redis-server",
    "initdb": "postgresql",
    "chromium": "chromium",
}


class SetupError(Exception):
    """Something the user has to do; the message says what, in one line."""


def main(arguments: "list[str]") -> None:
    rest = [argument for argument in arguments if argument not in OPTIONS]
    os.chdir(str(ROOT))
    if rest[:1] == ["manage.py"]:
        check_data_folder()
    with Path(__file__).open() as lock:  # two first starts at once: the second waits
        fcntl.flock(lock, fcntl.LOCK_EX)
        ensure_environment("requirements-dev.txt" if "--development" in arguments else "requirements.txt")
        if "--packages" in arguments:
            ensure_packages()
    if rest:
        os.execv(PYTHON, [PYTHON, *rest])  # noqa: S606 - no shell is what we want


def check_data_folder() -> None:
    """Refuse a data folder that cannot be written, before Django's settings fail on it."""
    folder = Path(os.environ.get("DATA_DIR") or ROOT / "data")
    probe = folder / f".probe-{os.getpid()}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise SetupError(
            f"Cannot write to the data folder {folder} ({error.strerror}). Choose another: DATA_DIR=/path make up"
        ) from None


def ensure_environment(requirements: str) -> None:
    """Create the virtual environment if there is none that works, and install what changed."""
    if (version_of(PYTHON) or (0,)) < MINIMUM:
        create_environment(find_python())
    stamp = VENV / f".{requirements}.installed"
    wanted = fingerprint(requirements)
    if not stamp.exists() or stamp.read_text() != wanted:
        install(requirements)
        stamp.write_text(wanted)


def version_of(python: str) -> "tuple[int, ...] | None":
    """Return the version of a Python, None when it does not start (a pyenv shim with nothing behind it, for instance)."""
    code = "import sys; print(*sys.version_info[:3])"
    try:
        output = subprocess.check_output([python, "-c", code], stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return None
    return tuple(int(number) for number in output.split())


def find_python() -> str:
    """Return the Python that runs this, or else one on PATH that is new enough."""
    if sys.version_info[:2] >= MINIMUM:
        return sys.executable
    for name in KNOWN_PYTHONS:
        path = shutil.which(name)
        if path and (version_of(path) or (0,)) >= MINIMUM:
            return path
    found = ".".join(map(str, sys.version_info[:3]))
    raise SetupError(
        f"Wharfinger needs Python 3.11 or later and found {found} ({sys.executable}). "
        "Install one (apt-get install python3.11 python3.11-venv), or name it: make up PYTHON=/path/to/python3"
    )


def create_environment(python: str) -> None:
    say(f"Setting up {VENV.name} (once).")
    status, output = run([python, "-m", "venv", "--clear", str(VENV)])
    if status == 0:
        return
    if "ensurepip" in output or "No module named venv" in output:
        version = ".".join(map(str, (version_of(python) or MINIMUM)[:2]))
        raise SetupError(
            f"This Python cannot make virtual environments. Install it: apt-get install python{version}-venv"
        )
    if re.search(r"Errno (1|13|20|30)\b|Permission denied|Read-only file system", output):
        raise SetupError(f"Cannot write to {VENV}. Choose other folders: VENV=/path/venv DATA_DIR=/path/data make up")
    raise SetupError(f"Could not create {VENV}: {last_line(output)}")


def install(requirements: str) -> None:
    say(f"Installing what {requirements} names (once, about a minute).")
    log = VENV / "install.log"
    status, output = run(
        [PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "-r", requirements]
    )
    try:
        log.write_text(output)
    except OSError as error:
        raise SetupError(
            f"Cannot write to {VENV} ({error.strerror}). Choose another: VENV=/path/venv make up"
        ) from None
    if status:
        raise SetupError(f"{diagnose(output)} Log: {log}")


def diagnose(output: str) -> str:
    """Say in a sentence or two why pip failed and what to do."""
    if "No space left on device" in output:
        return "The disk is full: free some space and try again."
    if re.search(r"name resolution|NewConnectionError|ConnectTimeout|Connection refused|ProxyError", output):
        return "The package index cannot be reached: check the network and pip's settings, then try again."
    unbuilt = re.search(
        r"(?:Failed building wheel for|Failed to build(?: installable wheels for)?) '?([\w.-]+)", output
    )
    if unbuilt or re.search(r"(?:gcc|cc|clang|cargo|rustc)'? ?(?:failed: No such|: (?:command )?not found)", output):
        name = unbuilt.group(1) if unbuilt else "A library"
        return (
            f"{name} has no ready-made package for this system and could not be compiled. "
            "Install a compiler: apt-get install build-essential python3-dev."
        )
    missing = re.search(r"No matching distribution found for ([^\s;]+)", output)
    if missing:
        return f"{missing.group(1)} is not to be had for this Python: try another, make up PYTHON=python3.12."
    return f"pip failed: {last_line(output).rstrip('.')}."


def ensure_packages() -> None:
    """Install the programs that the tests run, where this is Debian and we are root; else say what is missing."""
    missing = sorted(package for program, package in PACKAGES.items() if not has_program(program))
    if not missing:
        return
    names = " ".join(missing)
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        say(f"Tests that need {', '.join(missing)} are skipped. Install them: apt-get install {names}")
        return
    say(f"Installing with apt-get: {names}.")
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    with services_kept_down():
        run(["apt-get", "update", "-q"], environment)
        status, output = run(["apt-get", "install", "-q", "-y", "--no-install-recommends", *missing], environment)
    if status:
        say(f"apt-get could not install {names}: {last_line(output)} Tests that need them are skipped.")


def has_program(name: str) -> bool:
    """Look on PATH, and where Debian keeps PostgreSQL's programs."""
    return bool(shutil.which(name) or list(Path("/usr/lib/postgresql").glob(f"*/bin/{name}")))


@contextlib.contextmanager
def services_kept_down(policy: Path = Path("/usr/sbin/policy-rc.d")) -> "Iterator[None]":
    """Debian starts the services it installs; the tests start their own, so no package may (invoke-rc.d(8))."""
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()


def run(command: "list[str]", environment: "dict[str, str] | None" = None) -> "tuple[int, str]":
    """Run a command quietly; return its exit status and its output. When we are told to end, it ends too."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
    )
    try:
        output = process.communicate()[0]
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise
    return process.returncode, output.decode("utf-8", "replace")


def fingerprint(requirements: str) -> str:
    """Return what the environment must have been made from: the requirement files and the version of Python."""
    digest = hashlib.sha256(repr((version_of(PYTHON) or MINIMUM)[:2]).encode())
    for name in sorted({"requirements.txt", requirements}):
        digest.update(Path(name).read_bytes())
    return digest.hexdigest()


def last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else "no output"


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - it is a program


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, interrupted)
    try:
        main(sys.argv[1:])
    except SetupError as failure:
        say(str(failure))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
