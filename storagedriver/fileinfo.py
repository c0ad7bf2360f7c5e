"""What stat and walk tell of a path."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class FileInfo:
    """What stands at a path: bytes (0 for a directory), time of last change and ETag (None and "" for a directory)."""

    path: str
    size: int
    mod_time: datetime | None
    is_dir: bool
    etag: str = ""
