"""skopeo, the client that pushes to and pulls from the real registry."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.components.images import OciLayout
from tests.components.process import need


def copy_image(source: str, destination: str, *options: str) -> None:
    """Copy an image between two places, each written with its transport. Raises AssertionError with skopeo's words."""
    command = [
        need("skopeo"),
        "--insecure-policy",
        "copy",
        "--quiet",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
    ]
    done = subprocess.run([*command, *options, source, destination], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"skopeo copy {source} {destination}: {done.stderr}"


def pull(host: str, repository: str, reference: str, folder: Path) -> OciLayout:
    """Pull an image with all its platforms, by tag or digest, and return it byte for byte as `dir:` keeps it."""
    separator = "@" if reference.startswith("sha256:") else ":"
    copy_image(f"docker://{host}/{repository}{separator}{reference}", f"dir:{folder}", "--all", "--preserve-digests")
    return OciLayout.of_directory(folder)
