from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storagedriver.layout.digests import Digest, check_digest, digest_of, is_digest, link_etag, parse_link
from storagedriver.layout.errors import DigestError, LinkError

DIGEST = digest_of(b"content")


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_it_accepts_the_three_algorithms(algorithm: str) -> None:
    digest = digest_of(b"content", algorithm)
    assert Digest.parse(digest) == (algorithm, hashlib.new(algorithm, b"content").hexdigest())
    assert str(Digest.parse(digest)) == digest


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is not a digest"),
        ("a" * 64, "sha256: and 64"),
        ("md5:" + "a" * 32, "must be one of sha256, sha384, sha512"),
        ("SHA256:" + "a" * 64, "must be one of"),
        ("sha256:" + "a" * 63, "64 hexadecimal digits, not 63"),
        ("sha256:" + "a" * 128, "not 128"),
        ("sha256:" + "A" * 64, "only the digits 0-9 and a-f"),
        ("sha256:" + "a" * 63 + "\n", "only the digits"),
        ("sha256:" + "a" * 63 + "\u0663", "only the digits"),
    ],
)
def test_it_refuses_anything_else_and_says_why(text: str, problem: str) -> None:
    assert not is_digest(text)
    with pytest.raises(DigestError, match=problem):
        check_digest(text)


@given(st.text())
def test_an_error_can_be_printed_whatever_the_text(text: str) -> None:
    with pytest.raises(DigestError) as error:
        check_digest(text)
    assert str(error.value).isprintable()


def test_a_link_is_exactly_the_digest() -> None:
    assert parse_link(DIGEST.encode()) == DIGEST


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "empty"),
        (b" \n", "only blanks"),
        (DIGEST.encode() + b"\n", "blanks around"),
        (b" " + DIGEST.encode(), "blanks around"),
        (DIGEST.encode()[:40], "64 hexadecimal digits, not 33"),
        (b"\xff\xfe\x00", "does not hold a digest"),
        (b"<html>" * 10000, "does not hold a digest"),
        (DIGEST.encode() + b"\x00", "does not hold a digest"),
    ],
)
def test_a_bad_link_says_what_is_wrong(content: bytes, problem: str) -> None:
    with pytest.raises(LinkError, match=problem) as error:
        parse_link(content)
    assert len(str(error.value)) < 300


@given(st.binary())
def test_parse_link_raises_nothing_but_link_errors(content: bytes) -> None:
    with pytest.raises(LinkError):
        parse_link(content)


def test_the_etag_of_a_link_is_the_md5_of_its_text() -> None:
    assert link_etag(DIGEST) == hashlib.md5(DIGEST.encode()).hexdigest()
