"""Where a registry keeps things: builders of driver paths, and the parser that says what a listed path is.

The layout is version 2 of the CNCF Distribution registry, unchanged since its first release. Paths are driver paths:
absolute, below the root directory of the storage parameters.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

from .digests import HEX_LENGTHS, Digest
from .errors import LayoutError, shown
from .references import check_repository, check_tag, is_repository, is_tag

ROOT = "/docker/registry/v2"
BLOBS = f"{ROOT}/blobs"
REPOSITORIES = f"{ROOT}/repositories"


class Kind(StrEnum):
    """What an object is for."""

    BLOB = "blob"
    LAYER_LINK = "layer_link"
    REVISION_LINK = "revision_link"
    SIGNATURE_LINK = "signature_link"
    TAG_CURRENT = "tag_current"
    TAG_INDEX = "tag_index"
    UPLOAD_DATA = "upload_data"
    UPLOAD_STARTED_AT = "upload_started_at"
    UPLOAD_HASH_STATE = "upload_hash_state"
    UNKNOWN = "unknown"


class LayoutEntry(NamedTuple):
    """The meaning of one path; fields that its kind does not have are None.

    A named tuple, because a scan makes a million of them and a frozen dataclass takes three times as long to make.
    """

    kind: Kind
    repository: str | None = None
    digest: str | None = None
    """Of the blob, or as the path of the link says; of a signature link, the signature's."""
    tag: str | None = None
    upload_id: str | None = None
    revision: str | None = None
    """Of a signature link only (registries up to 2.4): the schema 1 manifest that the signature signs."""


def blob_data(digest: str) -> str:
    algorithm, hexadecimal = Digest.parse(digest)
    return f"{BLOBS}/{algorithm}/{hexadecimal[:2]}/{hexadecimal}/data"


def repository_root(repository: str) -> str:
    """The directory of a repository. It also holds every repository whose name goes on after a "/"."""
    return f"{REPOSITORIES}/{check_repository(repository)}"


def layer_link(repository: str, digest: str) -> str:
    return f"{repository_root(repository)}/_layers/{_digest_path(digest)}/link"


def revision_link(repository: str, digest: str) -> str:
    return f"{repository_root(repository)}/_manifests/revisions/{_digest_path(digest)}/link"


def tags_root(repository: str) -> str:
    return f"{repository_root(repository)}/_manifests/tags"


def tag_root(repository: str, tag: str) -> str:
    return f"{tags_root(repository)}/{check_tag(tag)}"


def tag_current_link(repository: str, tag: str) -> str:
    return f"{tag_root(repository, tag)}/current/link"


def tag_index_link(repository: str, tag: str, digest: str) -> str:
    return f"{tag_root(repository, tag)}/index/{_digest_path(digest)}/link"


def upload_root(repository: str, upload_id: str) -> str:
    """The directory of one upload; LayoutError unless `upload_id` is a UUID."""
    if not _is_upload_id(upload_id):
        raise LayoutError(f"{shown(upload_id)} is not the id of an upload: it must be a UUID.")
    return f"{repository_root(repository)}/_uploads/{upload_id}"


def upload_data(repository: str, upload_id: str) -> str:
    return f"{upload_root(repository, upload_id)}/data"


def upload_started_at(repository: str, upload_id: str) -> str:
    return f"{upload_root(repository, upload_id)}/startedat"


def upload_hash_state(repository: str, upload_id: str, algorithm: str, offset: int) -> str:
    """Where the state of a hash after `offset` bytes is kept."""
    if algorithm not in HEX_LENGTHS or offset < 0:
        raise LayoutError(f"There is no hash state of {shown(algorithm)} at {offset}.")
    return f"{upload_root(repository, upload_id)}/hashstates/{algorithm}/{offset}"


def parse(path: str) -> LayoutEntry:
    """What `path` is for. Never raises: whatever a registry would not have written is Kind.UNKNOWN."""
    if path.startswith(_BLOBS):
        if (found := _is_blob(path, len(_BLOBS))) and len(found["hex"]) == HEX_LENGTHS[found[1]]:
            return LayoutEntry(Kind.BLOB, digest=f"{found[1]}:{found['hex']}")
        return UNKNOWN
    # No part of a repository's name begins with "_", so the first that does ends the name.
    end = path.find("/_", len(REPOSITORIES))
    if end < 0 or not path.startswith(_REPOSITORIES):
        return UNKNOWN
    repository = path[len(_REPOSITORIES) : end]
    if not is_repository(repository):
        return UNKNOWN
    match path[end + 1 :].split("/"):
        case ["_layers", algorithm, hexadecimal, "link"]:
            if digest := _digest(algorithm, hexadecimal):
                return LayoutEntry(Kind.LAYER_LINK, repository, digest)
        case ["_manifests", "revisions", *parts]:
            return _revision_entry(repository, parts)
        case ["_manifests", "tags", tag, *parts]:
            if is_tag(tag):
                return _tag_entry(repository, tag, parts)
        case ["_uploads", upload_id, *parts]:
            if _is_upload_id(upload_id):
                return _upload_entry(repository, upload_id, parts)
    return UNKNOWN


UNKNOWN = LayoutEntry(Kind.UNKNOWN)

_BLOBS = f"{BLOBS}/"
_REPOSITORIES = f"{REPOSITORIES}/"
_is_blob = re.compile(rf"({'|'.join(HEX_LENGTHS)})/([0-9a-f]{{2}})/(?P<hex>\2[0-9a-f]+)/data").fullmatch
_is_hex = re.compile(r"[0-9a-f]+").fullmatch
_is_offset = re.compile(r"[0-9]{1,20}").fullmatch
_is_upload_id = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}").fullmatch


def _revision_entry(repository: str, parts: list[str]) -> LayoutEntry:
    match parts:
        case [algorithm, hexadecimal, "link"]:
            if digest := _digest(algorithm, hexadecimal):
                return LayoutEntry(Kind.REVISION_LINK, repository, digest)
        case [signed_algorithm, signed_hexadecimal, "signatures", algorithm, hexadecimal, "link"]:
            revision = _digest(signed_algorithm, signed_hexadecimal)
            if revision and (digest := _digest(algorithm, hexadecimal)):
                return LayoutEntry(Kind.SIGNATURE_LINK, repository, digest, revision=revision)
    return UNKNOWN


def _tag_entry(repository: str, tag: str, parts: list[str]) -> LayoutEntry:
    match parts:
        case ["current", "link"]:
            return LayoutEntry(Kind.TAG_CURRENT, repository, None, tag)
        case ["index", algorithm, hexadecimal, "link"]:
            if digest := _digest(algorithm, hexadecimal):
                return LayoutEntry(Kind.TAG_INDEX, repository, digest, tag)
    return UNKNOWN


def _upload_entry(repository: str, upload_id: str, parts: list[str]) -> LayoutEntry:
    match parts:
        case ["data"]:
            return LayoutEntry(Kind.UPLOAD_DATA, repository, upload_id=upload_id)
        case ["startedat"]:
            return LayoutEntry(Kind.UPLOAD_STARTED_AT, repository, upload_id=upload_id)
        case ["hashstates", algorithm, offset]:
            if algorithm in HEX_LENGTHS and _is_offset(offset):
                return LayoutEntry(Kind.UPLOAD_HASH_STATE, repository, upload_id=upload_id)
    return UNKNOWN


def _digest(algorithm: str, hexadecimal: str) -> str | None:
    if HEX_LENGTHS.get(algorithm) == len(hexadecimal) and _is_hex(hexadecimal):
        return f"{algorithm}:{hexadecimal}"
    return None


def _digest_path(digest: str) -> str:
    return "/".join(Digest.parse(digest))
