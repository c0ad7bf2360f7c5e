"""RegistryStorage: the driver as a django-storages backend, for `settings.STORAGES`."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured, SuspiciousFileOperation
from django.core.files.base import File
from django.utils import timezone
from storages.backends.s3 import S3Storage

from storagedriver import clients
from storagedriver.driver import FileInfo, S3Driver
from storagedriver.errors import InvalidPathError, ParameterErrors, PathNotFoundError
from storagedriver.middleware.cloudfront import CloudFront
from storagedriver.parameters import DriverParameters

if TYPE_CHECKING:
    import boto3

    from storagedriver.reader import ObjectReader
    from storagedriver.writer import FileWriter

COPY_BYTES = 2**20


class RegistryFile(File):  # type: ignore[type-arg]  # not generic at run time in Django 5.2
    """An object opened through RegistryStorage: "rb" streams it by range, "wb" writes a multipart upload.

    Closing a written file publishes it; leaving its `with` block by an exception publishes nothing.
    """

    def __init__(self, driver: S3Driver, name: str, path: str, mode: str) -> None:
        if mode not in {"r", "rb", "w", "wb"}:
            raise ValueError(f"mode {mode!r} is not supported; use 'rb' or 'wb'")
        self._writer = driver.writer(path) if mode.startswith("w") else None
        stream: Any = self._writer or driver.reader(path)
        super().__init__(stream, name)
        self.mode = "wb" if self._writer else "rb"
        self._ended = False

    @property
    def size(self) -> int:
        """Return the object's bytes, for a file being written those written so far."""
        stream: ObjectReader | FileWriter = self.file  # type: ignore[assignment]
        return stream.size

    @property
    def closed(self) -> bool:
        return self._ended

    def readable(self) -> bool:
        return not self._ended and self._writer is None

    def writable(self) -> bool:
        return not self._ended and self._writer is not None

    def seekable(self) -> bool:
        return self.readable()

    def write(self, data: Any, /) -> int:
        """Write bytes; text is encoded as UTF-8."""
        if self._writer is None:
            raise io.UnsupportedOperation("the file was opened for reading")
        return self._writer.write(data.encode() if isinstance(data, str) else data)

    def close(self) -> None:
        """Close the file; a written one is published now."""
        if self._ended:
            return
        self._ended = True
        if self._writer is None:
            self.file.close()  # type: ignore[union-attr]
        else:
            with self._writer:
                self._writer.commit()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None and self.writable() and self._writer is not None:
            self._ended = True
            self._writer.__exit__(kind, error, traceback)
        self.close()


class RegistryStorage(S3Storage):
    """A registry's bucket as a storage. OPTIONS take the registry's parameter names:

        STORAGES = {"registry": {"BACKEND": "storagedriver.RegistryStorage",
                                 "OPTIONS": {"bucket": "images", "region": "us-east-1", "rootdirectory": "/registry"}}}

    `version` names the registry's version (default "2.4"); `cloudfront` is a mapping with baseurl, keypairid,
    privatekey (PEM text) and duration. Raises ImproperlyConfigured naming every wrong option.

    Names are driver paths without the leading slash and are never rewritten; saving replaces. `.driver` is the driver
    on the same client and keys. The storage reads no AWS_* settings. It is not pickled: pass its alias or a row's id.
    """

    def __init__(
        self, *, version: str = "2.4", cloudfront: dict[str, Any] | CloudFront | None = None, **parameters: object
    ) -> None:
        unknown = sorted(set(parameters) - set(DriverParameters.__dataclass_fields__))
        if unknown:
            raise ImproperlyConfigured(f"RegistryStorage does not know the option {', '.join(unknown)}")
        try:
            if isinstance(cloudfront, dict):
                cloudfront = CloudFront.parse(**cloudfront)
            parsed = DriverParameters.parse(parameters, version=version)
        except ParameterErrors as errors:
            lines = "; ".join(f"{field}: {' '.join(messages)}" for field, messages in errors.items())
            raise ImproperlyConfigured(f"RegistryStorage: {lines}") from None
        except (TypeError, ValueError) as error:
            raise ImproperlyConfigured(f"RegistryStorage: {error}") from None
        self.driver = S3Driver(parsed, middleware=cloudfront)
        # Django remembers the arguments, credentials included, for migrations; see deconstruct.
        self._constructor_args: tuple[tuple[()], dict[str, object]] = ((), {})
        super().__init__()  # type: ignore[no-untyped-call]

    def __repr__(self) -> str:
        return f"<RegistryStorage {self.driver!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("RegistryStorage holds credentials and is not pickled; pass its alias in settings.STORAGES")

    def deconstruct(self) -> NoReturn:
        """Refuse to be written into a migration, where credentials would stay; give FileField a callable."""
        raise ValueError("RegistryStorage holds credentials: give FileField(storage=...) a callable that returns it")

    def get_default_settings(self) -> dict[str, Any]:
        """Return what the inherited class needs, from the driver's parameters alone: no settings, no environment."""
        parameters = self.driver.parameters
        settings: dict[str, Any] = dict.fromkeys(super().get_default_settings())  # type: ignore[no-untyped-call]
        return settings | {
            "file_overwrite": True,
            "object_parameters": self.driver.object_headers(),
            "bucket_name": parameters.bucket,
            "location": self.driver.keys.root,
            "region_name": parameters.region,
            "endpoint_url": parameters.endpoint_url,
            "use_ssl": parameters.secure,
            "verify": False if parameters.skipverify else None,
            "client_config": clients.config(parameters),
            "querystring_auth": True,
            "querystring_expire": 20 * 60,
            "url_protocol": "https:",
            "file_name_charset": "utf-8",
            "gzip": False,
            "gzip_content_types": (),
            "max_memory_size": 0,
        }

    def _create_session(self) -> boto3.Session:
        return clients.session(self.driver.parameters)

    def path_of(self, name: str) -> str:
        """Return the driver path of a storage name."""
        return f"/{name.removeprefix('/')}" if name not in {"", "."} else "/"

    def _open(self, name: str, mode: str = "rb") -> RegistryFile:
        with _as_file_errors(name):
            return RegistryFile(self.driver, name, self.path_of(name), mode)

    def _save(self, name: str, content: File[Any]) -> str:
        path, chunk = self.path_of(name), self.driver.parameters.chunksize
        with _as_file_errors(name):
            if content.seekable():
                content.seek(0)
            first = _read(content, chunk)
            if len(first) < chunk:
                self.driver.put_content(path, first)
                return name
            with self.driver.writer(path) as writer:
                writer.write(first)
                while piece := _read(content, COPY_BYTES):
                    writer.write(piece)
                writer.commit()
        return name

    def delete(self, name: str) -> None:
        """Delete one object, present or not; never what lies below its name."""
        with _as_file_errors(name):
            self.driver.delete_object(self.path_of(name))

    def exists(self, name: str) -> bool:
        """Say whether an object has this name; a directory has not."""
        try:
            with _as_file_errors(name):
                return not self.driver.stat(self.path_of(name)).is_dir
        except FileNotFoundError:
            return False

    def listdir(self, name: str) -> tuple[list[str], list[str]]:
        """Return the names of directories and of files directly below a name, sorted; empty for what does not exist."""
        with _as_file_errors(name):
            return self.driver.children(self.path_of(name))

    def size(self, name: str) -> int:
        """Return an object's bytes. Raises FileNotFoundError."""
        with _as_file_errors(name):
            return self._stat(name).size

    def get_modified_time(self, name: str) -> datetime:
        """Return when an object was stored: aware with USE_TZ, else naive in local time. Raises FileNotFoundError."""
        with _as_file_errors(name):
            modified = self._stat(name).mod_time
        if modified is None:
            raise FileNotFoundError(f"File does not exist: {name}")
        return modified if django_settings.USE_TZ else timezone.make_naive(modified)

    def url(  # type: ignore[override]  # django-storages' own arguments
        self,
        name: str,
        parameters: dict[str, Any] | None = None,
        expire: int | timedelta | None = None,
        http_method: str | None = None,
    ) -> str:
        """Return a signed URL: CloudFront's when configured, else a presigned one. `expire` is seconds, 20 minutes unset.

        `parameters` are arguments of GetObject, such as ResponseContentDisposition; they need a presigned URL.
        """
        seconds = int(expire.total_seconds()) if isinstance(expire, timedelta) else expire
        with _as_file_errors(name):
            return self.driver.signed_url(
                self.path_of(name), http_method or "GET", seconds=seconds, arguments=parameters
            )

    def get_valid_name(self, name: str) -> str:
        return name

    def generate_filename(self, filename: str | os.PathLike[str]) -> str:
        return os.fspath(filename)

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        """Return the name itself: content-addressed objects are replaced, never renamed."""
        if max_length is not None and len(name) > max_length:
            raise SuspiciousFileOperation(f"The name {name!r} is longer than {max_length} characters.")
        return name

    def _stat(self, name: str) -> FileInfo:
        info = self.driver.stat(self.path_of(name))
        if info.is_dir:
            raise PathNotFoundError(info.path)
        return info


def _read(content: File[Any], count: int) -> bytes:
    """Read until `count` bytes are there or the content ends; text is encoded as UTF-8."""
    pieces, missing = [], count
    while missing > 0 and (piece := content.read(missing)):
        data = piece.encode() if isinstance(piece, str) else piece
        pieces.append(data)
        missing -= len(data)
    return b"".join(pieces)


@contextmanager
def _as_file_errors(name: str) -> Iterator[None]:
    """Raise what Django's callers expect: FileNotFoundError, and SuspiciousFileOperation for a name against the rule."""
    try:
        yield
    except PathNotFoundError as error:
        raise FileNotFoundError(f"File does not exist: {name}") from error
    except InvalidPathError as error:
        raise SuspiciousFileOperation(f"The name {name!r} is no registry path.") from error
