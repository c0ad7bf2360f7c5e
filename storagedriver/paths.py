"""The path rule, and the mapping between driver paths and bucket keys.

A driver path is absolute and independent of the root directory: `/docker/registry/v2/blobs/...`. The rule is the
reference's `^(/[A-Za-z0-9._-]+)+$`; beyond it, components "." and ".." are refused, since browsers and CDNs fold them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from storagedriver.errors import InvalidPathError

_PATH = re.compile(r"(?:/(?!\.\.?(?:/|\Z))[A-Za-z0-9._-]+)+")


def check_path(path: str, *, root: bool = False) -> str:
    """Return `path` if it keeps the path rule ("/" too when `root`). Raises InvalidPathError."""
    if (root and path == "/") or _PATH.fullmatch(path):
        return path
    raise InvalidPathError(path)


@dataclass(frozen=True, slots=True)
class KeyMap:
    """Driver paths to bucket keys and back, under one root directory."""

    root: str

    @classmethod
    def under(cls, rootdirectory: str) -> KeyMap:
        """Return the mapping for a `rootdirectory`; its leading and trailing slashes do not matter."""
        return cls(rootdirectory.strip("/"))

    def key(self, path: str) -> str:
        """Return the key of a path. "" and "/" give the root itself: with an empty root an empty key."""
        return f"{self.root}{path}" if self.root else path.lstrip("/")

    def prefix(self, path: str) -> str:
        """Return the key prefix of everything below a path; it ends in "/", or is "" for the whole bucket."""
        key = self.key(path)
        return key if key == "" or key.endswith("/") else f"{key}/"

    def path(self, key: str) -> str:
        """Return the path of a key. Raises ValueError for a key that is not below the root directory."""
        if not self.root:
            return f"/{key}"
        if not key.startswith(f"{self.root}/"):
            raise ValueError(f"key {key!r} is not below the root directory {self.root!r}")
        return key[len(self.root) :]
