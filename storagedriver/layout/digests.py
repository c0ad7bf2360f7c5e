"""Digests, and the link objects that hold one."""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

from .errors import DigestError, LinkError, shown

# Algorithms that a registry serves, with the length of their lower-case hex (go-digest registers the same three).
HEX_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}
# For embedding into larger patterns; one group for the algorithm and one for the hex would make them unreadable.
DIGEST_PATTERN = "|".join(f"{algorithm}:[0-9a-f]{{{length}}}" for algorithm, length in HEX_LENGTHS.items())

_is_digest = re.compile(DIGEST_PATTERN).fullmatch


class Digest(NamedTuple):
    """A digest in its two parts. Everywhere else a digest is the text `algorithm:hex`."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Split `text`; DigestError unless it is `sha256:`, `sha384:` or `sha512:` and hex of the right length."""
        if not _is_digest(text):
            raise DigestError(_problem(text))
        algorithm, _, hexadecimal = text.partition(":")
        return cls(algorithm, hexadecimal)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


def is_digest(text: str) -> bool:
    return _is_digest(text) is not None


def check_digest(text: str) -> str:
    """Return `text` if it is a digest, else raise DigestError."""
    if not _is_digest(text):
        raise DigestError(_problem(text))
    return text


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def parse_link(content: bytes) -> str:
    """The digest that a link object holds.

    A link is the digest and nothing else. The registry fails on blanks or a line break around it, so they are
    an error here too: what we accept and it does not would be shown as healthy.
    """
    if not content:
        raise LinkError("The link is empty: its write was interrupted. Push the image again, or delete the link.")
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError:
        raise LinkError(f"The link does not hold a digest: {shown(content)}.") from None
    if not text.strip():
        raise LinkError("The link holds only blanks: its write was interrupted. Push the image again.")
    if text != text.strip():
        raise LinkError(f"The link has blanks around its digest, which the registry refuses: {shown(text)}.")
    if not _is_digest(text):
        raise LinkError(f"The link does not hold a digest. {_problem(text)}")
    return text


def link_etag(digest: str) -> str:
    """The ETag, without quotes, of a link to `digest` where ETags are MD5: which digest a link holds shows in the
    listing, without reading it."""
    return hashlib.md5(digest.encode("ascii"), usedforsecurity=False).hexdigest()


def _problem(text: str) -> str:
    algorithm, colon, hexadecimal = text.partition(":")
    if not colon:
        return f"{shown(text)} is not a digest: write it as sha256: and 64 hexadecimal digits."
    length = HEX_LENGTHS.get(algorithm)
    if length is None:
        return f"{shown(text)} is not a digest: the algorithm must be one of {', '.join(HEX_LENGTHS)}."
    if len(hexadecimal) != length:
        return f"{shown(text)} is not a digest: {algorithm} has {length} hexadecimal digits, not {len(hexadecimal)}."
    return f"{shown(text)} is not a digest: only the digits 0-9 and a-f may follow {algorithm}:."
