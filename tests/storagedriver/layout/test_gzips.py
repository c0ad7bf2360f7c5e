from __future__ import annotations

import gzip
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storagedriver.layout.gzips import BLOCK_BYTES, compress


def cut(content: bytes, size: int = BLOCK_BYTES) -> list[bytes]:
    return [content[start : start + size] for start in range(0, len(content), size)]


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, 3 * BLOCK_BYTES + 7])
def test_it_unpacks_to_what_went_in(size: int) -> None:
    content = (b"the same line again and again\n" * (size // 30 + 1))[:size]
    assert gzip.decompress(b"".join(compress(cut(content)))) == content


@given(st.lists(st.binary(min_size=1, max_size=300)))
def test_it_unpacks_whatever_the_blocks(blocks: list[bytes]) -> None:
    assert gzip.decompress(b"".join(compress(blocks))) == b"".join(blocks)


def test_the_number_of_processors_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    content = os.urandom(BLOCK_BYTES) + bytes(5 * BLOCK_BYTES)
    results = set()
    for count in (None, 1, 7):
        monkeypatch.setattr(os, "cpu_count", lambda count=count: count)
        results.add(b"".join(compress(cut(content))))
    assert len(results) == 1


def test_the_header_has_no_time_and_no_platform() -> None:
    assert next(compress([b"x"])) == bytes.fromhex("1f8b08000000000000ff")


def test_it_takes_few_blocks_ahead() -> None:
    taken = 0

    def blocks() -> object:
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield bytes(1000)

    pieces = compress(blocks())  # type: ignore[arg-type]
    for _ in range(2):  # the header and the first block
        next(pieces)
    assert taken <= (os.cpu_count() or 1) + 1
