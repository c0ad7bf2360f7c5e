from __future__ import annotations

import io

import pytest

from storagedriver.layout.blobs import ArchiveBlob
from storagedriver.layout.digests import digest_of
from storagedriver.layout.errors import ArchiveError

CONTENT = bytes(range(256)) * 1000


def blob(content: bytes, digest: str = digest_of(CONTENT), size: int = len(CONTENT)) -> ArchiveBlob:
    return ArchiveBlob(digest, size, "", lambda: io.BytesIO(content))


@pytest.mark.parametrize("step", [1000, 7, 10**6, -1])
def test_it_gives_the_content(step: int) -> None:
    with ArchiveBlob.of(CONTENT, "").open() as stream:
        assert b"".join(iter(lambda: stream.read(step), b"")) == CONTENT


def test_it_can_be_opened_again() -> None:
    sample = ArchiveBlob.of(CONTENT, "")
    assert sample.open().read() == sample.open().read() == CONTENT


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (CONTENT[:-1], "ends 1 bytes early"),
        (b"", "ends 256000 bytes early"),
        (CONTENT + b"x", "longer than promised"),
        (CONTENT[:-1] + b"x", f"{digest_of(CONTENT)} does not match its digest"),
    ],
)
def test_it_never_gives_the_whole_of_a_wrong_content(content: bytes, problem: str) -> None:
    got: list[bytes] = []
    with blob(content).open() as stream, pytest.raises(ArchiveError, match=problem):
        got.extend(iter(lambda: stream.read(4096), b""))
    assert len(b"".join(got)) < len(CONTENT)


def test_an_empty_blob_is_verified_when_it_is_opened() -> None:
    assert ArchiveBlob.of(b"", "").open().read() == b""
    with pytest.raises(ArchiveError, match="does not match"):
        blob(b"", size=0).open()


@pytest.mark.parametrize("algorithm", ["sha384", "sha512"])
def test_other_algorithms_are_verified_too(algorithm: str) -> None:
    assert blob(CONTENT, digest_of(CONTENT, algorithm)).open().read() == CONTENT
    with pytest.raises(ArchiveError, match="does not match"):
        blob(CONTENT, digest_of(b"", algorithm)).open().read()
