"""The registry's S3 storage driver in Python: the StorageDriver interface, its parameters, and a storage backend."""

from __future__ import annotations

from storagedriver.driver import FileInfo, S3Driver
from storagedriver.errors import (
    InvalidOffsetError,
    InvalidPathError,
    ParameterErrors,
    PathNotFoundError,
    SkipDir,
    StopWalk,
    StorageDriverError,
    UnsupportedMethodError,
)
from storagedriver.listing import Entry
from storagedriver.parameters import DriverParameters, Secret, bucket_problems
from storagedriver.storage import RegistryStorage
from storagedriver.uploads import MultipartUpload
from storagedriver.versions import ObjectVersion
from storagedriver.writer import FileWriter

__all__ = [
    "DriverParameters",
    "Entry",
    "FileInfo",
    "FileWriter",
    "InvalidOffsetError",
    "InvalidPathError",
    "MultipartUpload",
    "ObjectVersion",
    "ParameterErrors",
    "PathNotFoundError",
    "RegistryStorage",
    "S3Driver",
    "Secret",
    "SkipDir",
    "StopWalk",
    "StorageDriverError",
    "UnsupportedMethodError",
    "bucket_problems",
]
