from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storagedriver.layout.errors import InvalidReferenceError, LayoutError
from storagedriver.layout.references import (
    Reference,
    check_repository,
    check_tag,
    is_repository,
    is_tag,
    subject_of_tag,
    without_host,
)

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize("name", ["a", "0", "a/b/c", "a.b", "a_b", "a__b", "a-b", "a---b", "a" * 255, "a1/2b"])
def test_it_accepts_repository_names(name: str) -> None:
    assert check_repository(name) == name


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "missing"),
        ("a" * 256, "at most 255 characters, not 256"),
        ("/a", "empty part"),
        ("a/", "empty part"),
        ("a//b", "empty part"),
        ("Team/api", "upper-case"),
        ("a..b", "'a..b' cannot be part"),
        ("a___b", "cannot be part"),
        ("ok/.hidden", "'.hidden' cannot be part"),
        ("ok/..", "cannot be part"),
        ("_manifests", "cannot be part"),
        ("a\n", "cannot be part"),
        ("a b", "cannot be part"),
        ("é", "cannot be part"),
        ("a\\b", "cannot be part"),
        ("a\x00", "cannot be part"),
        ("\u1e9e", "upper-case"),
    ],
)
def test_it_refuses_other_names_and_says_why(name: str, problem: str) -> None:
    with pytest.raises(InvalidReferenceError, match=problem):
        check_repository(name)


@given(st.text(max_size=300))
def test_every_refused_name_has_a_reason(name: str) -> None:
    if is_repository(name):
        assert check_repository(name) == name
    else:
        with pytest.raises(InvalidReferenceError):
            check_repository(name)


@pytest.mark.parametrize("tag", ["latest", "1.2.3-rc_1", "_", "A" * 128])
def test_it_accepts_tags(tag: str) -> None:
    assert check_tag(tag) == tag


@pytest.mark.parametrize(
    ("tag", "problem"),
    [("", "missing"), (".a", "is not a tag"), ("-a", "is not a tag"), ("a/b", "is not a tag"), ("a" * 129, "not 129")],
)
def test_it_refuses_other_tags_and_says_why(tag: str, problem: str) -> None:
    assert not is_tag(tag)
    with pytest.raises(InvalidReferenceError, match=problem):
        check_tag(tag)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("team/api", Reference("team/api")),
        ("team/api:1.2", Reference("team/api", "1.2")),
        (f"team/api@{DIGEST}", Reference("team/api", None, DIGEST)),
        (f"team/api:1.2@{DIGEST}", Reference("team/api", "1.2", DIGEST)),
    ],
)
def test_a_reference_goes_there_and_back(text: str, expected: Reference) -> None:
    assert Reference.parse(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "repository name is missing"),
        ("api:", "tag is missing"),
        (":1", "repository name is missing"),
        ("api@", "is not a digest"),
        ("api@sha256:1", "64 hexadecimal digits"),
        ("localhost:5000/api:1", "begins with a host.*'api:1'"),
        ("api:1:2", "is not a tag"),
    ],
)
def test_a_bad_reference_says_what_is_wrong(text: str, problem: str) -> None:
    with pytest.raises(LayoutError, match=problem):
        Reference.parse(text)


@given(st.from_regex(re.compile(r"[a-z0-9/._:@-]{0,40}"), fullmatch=True))
def test_what_parses_prints_as_it_was(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except LayoutError:
        return
    assert str(reference) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("docker.io/library/alpine:3", "library/alpine:3"),
        ("localhost/api:1", "api:1"),
        ("host:5000/a/b", "a/b"),
        ("team/api:1.2", "team/api:1.2"),
        ("api:1.2", "api:1.2"),
    ],
)
def test_without_host(text: str, expected: str) -> None:
    assert without_host(text) == expected


@pytest.mark.parametrize(
    ("tag", "subject"),
    [
        ("sha256-" + "ab" * 32, DIGEST),
        ("sha256-" + "ab" * 32 + ".sig", DIGEST),
        ("sha256-" + "ab" * 32 + ".att", DIGEST),
        ("sha256-" + "ab" * 32 + ".sbom", DIGEST),
        ("sha256-abcd.sig", None),
        ("sha256-" + "ab" * 32 + ".zip", None),
        ("latest", None),
    ],
)
def test_the_subject_of_a_tag(tag: str, subject: str | None) -> None:
    assert subject_of_tag(tag) == subject
