"""Keeps the state of moto's S3 backend, which lives in memory, in a folder.

::

    <folder>/<bucket>/bucket.json              creation date, and the requests that configured the bucket
    <folder>/<bucket>/objects/<n>              one version of one object: a line of JSON, then its bytes
    <folder>/<bucket>/uploads/<id>/upload.json one pending multipart upload
    <folder>/<bucket>/uploads/<id>/<part>      one part of it: a line of JSON, then its bytes

Every file is written beside its place and renamed into it, so a killed process leaves the old state or the new one. Nothing
is synced to the disk: a kill loses nothing, a power cut may lose the last seconds of a demo. A bucket exists once its
bucket.json does. Access control lists of objects are not kept; nothing here reads them.
"""

from __future__ import annotations

import datetime
import itertools
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

from moto.s3.models import FakeBucket, FakeDeleteMarker, FakeKey, FakeMultipart, S3Backend, get_canned_acl
from requests.structures import CaseInsensitiveDict

# The attributes of a moto key that are plain values and make up what S3 tells about an object.
KEY_ATTRIBUTES: Final = (
    "_storage_class",
    "_etag",
    "_version_id",
    "_is_versioned",
    "encryption",
    "kms_key_id",
    "bucket_key_enabled",
    "lock_mode",
    "lock_legal_status",
    "lock_until",
    "checksum_algorithm",
    "checksum_value",
    "checksum_type",
    "checksum_parts",
    "website_redirect_location",
)
UPLOAD_ATTRIBUTES: Final = ("storage", "tags", "sse_encryption", "kms_key_id")

Replay = Callable[[str, str, str, dict[str, str], bytes], None]


class StoredBody:
    """Stands in for the buffer of a moto key: the file is open only while it is read, so no object stays in memory."""

    def __init__(self, path: Path, header: dict[str, Any], offset: int) -> None:
        self.path = path
        self.header = header
        self._offset = offset
        self._position = 0

    def seek(self, position: int) -> None:
        self._position = position

    def read(self, size: int = -1) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self._offset + self._position)
            data = file.read(size)
        self._position += len(data)
        return data

    def close(self) -> None:
        """Nothing is open between reads."""


class StateFolder:
    """Writes what changed in a backend to a folder, and loads it back. The caller lets one thread in at a time."""

    def __init__(self, folder: Path, backend: S3Backend) -> None:
        self._folder = folder
        self._backend = backend
        self._versions: dict[str, dict[str, dict[str, Path]]] = {}  # bucket -> key -> version id -> file
        self._configuration: dict[str, dict[str, Any]] = {}  # bucket -> query string -> request
        self._numbers: Iterator[int] = itertools.count(1)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)

    # Loading

    def load(self, replay: Replay) -> None:
        """Fill the (empty) backend; replay(method, path, query, headers, body) sends one request to it."""
        for folder in sorted(path for path in self._folder.iterdir() if path.is_dir()):
            if not (folder / "bucket.json").exists():
                shutil.rmtree(folder)  # a creation or a deletion that was cut short
                continue
            self._load_bucket(folder, replay)
        highest = max((int(path.name) for path in self._folder.glob("*/objects/*")), default=0)
        self._numbers = itertools.count(highest + 1)

    def _load_bucket(self, folder: Path, replay: Replay) -> None:
        saved = json.loads((folder / "bucket.json").read_bytes())
        self._configuration[folder.name] = saved["requests"]
        for query, request in saved["requests"].items():
            replay("PUT", f"/{folder.name}", query, request["headers"], request["body"].encode("latin-1"))
        bucket = self._backend.get_bucket(folder.name)
        bucket.creation_date = datetime.datetime.fromisoformat(saved["created"])
        stored = [_open(path) for path in sorted((folder / "objects").iterdir()) if not _is_leftover(path)]
        for body in sorted(stored, key=lambda body: body.header["order"]):
            self._load_version(bucket, body)
        for upload in sorted((folder / "uploads").iterdir()):
            if (upload / "upload.json").exists():
                _load_upload(bucket, upload)
            else:
                shutil.rmtree(upload)

    def _load_version(self, bucket: FakeBucket, body: StoredBody) -> None:
        header = body.header
        version: FakeKey | FakeDeleteMarker
        key = _new_key(bucket, header["name"])
        if header["kind"] == "marker":
            version = FakeDeleteMarker(key)
            version._version_id = header["version_id"]
        else:
            _restore_key(key, body)
            key.set_metadata(dict(header["metadata"]), replace=True)
            version = key
            if header["tags"]:
                self._backend.put_object_tagging(key, header["tags"])
        version.last_modified = datetime.datetime.fromisoformat(header["last_modified"])
        bucket.keys.setlist(header["name"], [*bucket.keys.getlist(header["name"], []), version])
        files = self._versions.setdefault(bucket.name, {}).setdefault(header["name"], {})
        files[version.version_id] = body.path

    # Saving

    def configure(self, method: str, bucket_name: str, query: str, headers: dict[str, str], body: bytes) -> None:
        """Remember a successful PUT or DELETE on the bucket itself: it is replayed at the next start."""
        bucket = self._backend.buckets.get(bucket_name)
        folder = self._folder / bucket_name
        if bucket is None:
            self._configuration.pop(bucket_name, None)
            self._versions.pop(bucket_name, None)
            (folder / "bucket.json").unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            return
        requests = self._configuration.setdefault(bucket_name, {})
        if method == "DELETE":
            requests.pop(query, None)
        else:
            requests[query] = {"headers": headers, "body": body.decode("latin-1")}
        self._make_folders(bucket_name)
        saved = {"created": bucket.creation_date.isoformat(), "requests": requests}
        _write(folder / "bucket.json", json.dumps(saved).encode())

    def save(self, bucket_name: str, key_name: str | None = None) -> None:
        """Bring the folder up to date with one key and its uploads, or with the whole bucket."""
        bucket = self._backend.buckets.get(bucket_name)
        if bucket is None:
            return
        self._make_folders(bucket_name)
        saved = self._versions.setdefault(bucket_name, {})
        if key_name is None or (key_name not in bucket.keys and key_name not in saved):
            names = set(bucket.keys) | set(saved)
        else:
            names = {key_name}
        for name in names:
            self._save_key(bucket, name)
        self._save_uploads(bucket)

    def _make_folders(self, bucket_name: str) -> None:
        for name in ("objects", "uploads"):
            (self._folder / bucket_name / name).mkdir(parents=True, exist_ok=True)

    def _save_key(self, bucket: FakeBucket, name: str) -> None:
        saved = self._versions[bucket.name]
        old = saved.get(name, {})
        new = {
            version.version_id: self._save_version(bucket, version, old.get(version.version_id))
            for version in bucket.keys.getlist(name, [])
        }
        for path in set(old.values()) - set(new.values()):
            path.unlink(missing_ok=True)
        if new:
            saved[name] = new
        else:
            saved.pop(name, None)

    def _save_version(self, bucket: FakeBucket, version: FakeKey | FakeDeleteMarker, old: Path | None) -> Path:
        folder = self._folder / bucket.name / "objects"
        header: dict[str, Any] = {"name": version.name, "last_modified": version.last_modified.isoformat()}
        if isinstance(version, FakeDeleteMarker):
            if old is not None:
                return old
            number = next(self._numbers)
            header |= {"kind": "marker", "version_id": version.version_id, "order": number}
            _write(folder / str(number), _line(header))
            return folder / str(number)
        tags = self._backend.tagger.get_tag_dict_for_resource(version.arn)
        header |= {"kind": "object", "metadata": dict(version.metadata), "tags": tags} | _key_header(version)
        if body := _stored_body(version):
            header["order"] = body.header["order"]  # a change of tags must not make an old version the newest
            if header == body.header:
                return body.path
        path = folder / str(next(self._numbers))
        header.setdefault("order", int(path.name))
        _save_body(version, path, header)
        if version.multipart is not None:
            version.multipart.dispose()  # the parts; the object has its own copy
            version.multipart = None
        return path

    def _save_uploads(self, bucket: FakeBucket) -> None:
        root = self._folder / bucket.name / "uploads"
        for gone in {path.name for path in root.iterdir()} - set(bucket.multiparts):
            (root / gone / "upload.json").unlink(missing_ok=True)
            shutil.rmtree(root / gone)
        for upload in bucket.multiparts.values():
            folder = root / upload.id
            folder.mkdir(exist_ok=True)
            for number, part in upload.parts.items():
                if not _stored_body(part):
                    header = {"last_modified": part.last_modified.isoformat()} | _key_header(part)
                    _save_body(part, folder / str(number), header)
            if not (folder / "upload.json").exists():
                header = {"id": upload.id, "key_name": upload.key_name, "initiated": initiated(upload).isoformat()}
                header |= {name: getattr(upload, name) for name in UPLOAD_ATTRIBUTES}
                header["metadata"] = dict(upload.metadata)
                _write(folder / "upload.json", json.dumps(header).encode())


def initiated(upload: FakeMultipart) -> datetime.datetime:
    """When an upload began. moto does not keep it: it counts from the first time anybody asked."""
    moment: datetime.datetime = upload.__dict__.setdefault("initiated", datetime.datetime.now(datetime.UTC))
    return moment


def new_upload(
    bucket: FakeBucket,
    key_name: str,
    upload_id: str,
    moment: datetime.datetime,
    metadata: Mapping[str, str] | None = None,
) -> FakeMultipart:
    """Begin an upload whose id and date are known."""
    upload = FakeMultipart(
        key_name,
        CaseInsensitiveDict(metadata or {}),
        account_id=bucket.account_id,
        region_name=bucket.region_name,
        storage="STANDARD",
        tags={},
        acl=get_canned_acl("private"),
    )
    upload.id = upload_id
    upload.__dict__["initiated"] = moment
    bucket.multiparts[upload_id] = upload
    return upload


def _load_upload(bucket: FakeBucket, folder: Path) -> None:
    header = json.loads((folder / "upload.json").read_bytes())
    moment = datetime.datetime.fromisoformat(header["initiated"])
    upload = new_upload(bucket, header["key_name"], header["id"], moment, header["metadata"])
    for name in UPLOAD_ATTRIBUTES:
        setattr(upload, name, header[name])
    for number in sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit()):
        body = _open(folder / str(number))
        part = upload.set_part(number, b"")
        _restore_key(part, body)
        part.last_modified = datetime.datetime.fromisoformat(body.header["last_modified"])


def _new_key(bucket: FakeBucket, name: str) -> FakeKey:
    return FakeKey(name, b"", bucket.account_id, bucket.region_name, bucket_name=bucket.name)


def _key_header(key: FakeKey) -> dict[str, Any]:
    key._etag = key.etag.strip('"')  # computed on first use
    values = {name: getattr(key, name) for name in KEY_ATTRIBUTES}
    plain = {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}
    return {"attributes": plain, "size": key.size}


def _restore_key(key: FakeKey, body: StoredBody) -> None:
    for name, value in body.header["attributes"].items():
        setattr(key, name, value)
    key.contentsize = body.header["size"]
    _replace_body(key, body)


def _save_body(key: FakeKey, path: Path, header: dict[str, Any]) -> None:
    line = _line(header)
    with key.lock:
        key._value_buffer.seek(0)
        _write(path, line, key._value_buffer)  # type: ignore[arg-type]
    _replace_body(key, StoredBody(path, header, len(line)))


def _replace_body(key: FakeKey, body: StoredBody) -> None:
    key._value_buffer.close()
    key._value_buffer = body  # type: ignore[assignment]


def _stored_body(key: FakeKey) -> StoredBody | None:
    buffer: Any = key._value_buffer
    return buffer if isinstance(buffer, StoredBody) else None


def _line(header: dict[str, Any]) -> bytes:
    return json.dumps(header).encode() + b"\n"


def _open(path: Path) -> StoredBody:
    with path.open("rb") as file:
        line = file.readline()
    return StoredBody(path, json.loads(line), len(line))


def _is_leftover(path: Path) -> bool:
    """Remove what a kill left half-written."""
    leftover = path.suffix == ".new"
    if leftover:
        path.unlink()
    return leftover


def _write(path: Path, data: bytes, rest: BinaryIO | None = None) -> None:
    temporary = path.with_suffix(".new")
    with temporary.open("wb") as file:
        file.write(data)
        if rest is not None:
            shutil.copyfileobj(rest, file, 1 << 20)
    temporary.replace(path)
