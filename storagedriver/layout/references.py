"""Names of repositories and tags, and references such as `team/api:1.2`.

The grammar is that of the OCI distribution specification and of Docker's image references. Names here are local to a
registry: no host is part of them. `without_host` takes it off a name that some tool has written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from .digests import Digest, check_digest
from .errors import InvalidReferenceError, shown

MAX_NAME_LENGTH = 255
MAX_TAG_LENGTH = 128

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_is_component = re.compile(_COMPONENT).fullmatch
_is_name = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*").fullmatch
_is_tag = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}").fullmatch


@lru_cache(maxsize=4096)  # a listing asks for the same name thousands of times in a row
def is_repository(name: str) -> bool:
    """True for lower-case components joined by "/", at most 255 characters in all."""
    return len(name) <= MAX_NAME_LENGTH and _is_name(name) is not None


def is_tag(tag: str) -> bool:
    """True for 1 to 128 of `A-Z a-z 0-9 _ . -`, not beginning with "." or "-"."""
    return _is_tag(tag) is not None


def check_repository(name: str) -> str:
    """Return `name` if it is a repository name, else raise InvalidReferenceError saying what is wrong."""
    if is_repository(name):
        return name
    if not name:
        raise InvalidReferenceError("The repository name is missing.")
    if len(name) > MAX_NAME_LENGTH:
        raise InvalidReferenceError(f"A repository name has at most {MAX_NAME_LENGTH} characters, not {len(name)}.")
    if name.startswith("/") or name.endswith("/") or "//" in name:
        raise InvalidReferenceError(f"{shown(name)} has an empty part: write the parts with one / between them.")
    if name != name.lower():
        raise InvalidReferenceError(f"{shown(name)} has upper-case letters: repository names are lower-case.")
    part = next(part for part in name.split("/") if not _is_component(part))
    raise InvalidReferenceError(
        f"{shown(part)} cannot be part of a repository name: use a-z and 0-9, "
        "with single . or _, a double __, or any number of - between them."
    )


def check_tag(tag: str) -> str:
    """Return `tag` if it is a tag, else raise InvalidReferenceError saying what is wrong."""
    if is_tag(tag):
        return tag
    if not tag:
        raise InvalidReferenceError("The tag is missing.")
    if len(tag) > MAX_TAG_LENGTH:
        raise InvalidReferenceError(f"A tag has at most {MAX_TAG_LENGTH} characters, not {len(tag)}.")
    raise InvalidReferenceError(
        f"{shown(tag)} is not a tag: use letters, digits, _ . and -, and begin with a letter, a digit or _."
    )


@dataclass(frozen=True, slots=True)
class Reference:
    """A repository, and in it a tag, a digest, both (the digest then decides), or neither."""

    repository: str
    tag: str | None = None
    digest: str | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Parse `repository`, `repository:tag`, `repository@digest` or `repository:tag@digest`.

        Raises InvalidReferenceError or DigestError. No tag is made up: who wants `latest` says so.
        """
        rest, at, digest = text.partition("@")
        repository, colon, tag = rest.partition(":")
        if colon and "/" in tag:
            raise InvalidReferenceError(
                f"{shown(text)} begins with a host: give the repository within the registry, {shown(without_host(text))}."
            )
        return cls(
            check_repository(repository),
            check_tag(tag) if colon else None,
            check_digest(digest) if at else None,
        )

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag is not None else ""
        digest = f"@{self.digest}" if self.digest is not None else ""
        return f"{self.repository}{tag}{digest}"


def without_host(text: str) -> str:
    """`text` without its leading registry host, if it has one: `localhost:5000/team/api:1` -> `team/api:1`.

    By Docker's rule the first part is a host if it holds "." or ":", or is `localhost`.
    """
    host, slash, rest = text.partition("/")
    return rest if slash and ("." in host or ":" in host or host == "localhost") else text


_subject_tag = re.compile(r"(sha256|sha384|sha512)-([0-9a-f]+)(?:\.(?:sig|att|sbom))?").fullmatch


def subject_of_tag(tag: str) -> str | None:
    """The digest that a tag such as `sha256-<hex>.sig` speaks about, or None.

    cosign tags signatures, attestations and SBOMs so (`.sig`, `.att`, `.sbom`); the bare form is the OCI distribution
    specification's fallback where a registry has no referrers API.
    """
    if not (found := _subject_tag(tag)):
        return None
    try:
        return str(Digest.parse(f"{found[1]}:{found[2]}"))
    except ValueError:
        return None
