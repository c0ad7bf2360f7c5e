"""How an object is cut into parts, within S3's limits. Pure: no input, no output.

Limits: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
"""

from __future__ import annotations

from typing import NamedTuple

MIB = 2**20
GIB = 2**30
MIN_PART_BYTES = 5 * MIB
MAX_PART_BYTES = 5 * GIB
MAX_PARTS = 10_000
MAX_OBJECT_BYTES = 5 * 1024 * GIB

# Equal parts up to here, as stores such as R2 want them; then sizes double often enough that even the smallest chunk
# reaches MAX_OBJECT_BYTES before part 10,000.
EQUAL_PARTS = 5_000
PARTS_PER_DOUBLING = 480


class Span(NamedTuple):
    """Bytes `first` to `last`, both included, which become part `number`."""

    number: int
    first: int
    last: int


def part_size(number: int, chunk_size: int) -> int:
    """Return the bytes of part `number` (from 1) of a stream whose length is not known. Raises ValueError beyond 10,000."""
    if not 1 <= number <= MAX_PARTS:
        raise ValueError(f"S3 takes parts 1 to {MAX_PARTS:,}, not {number:,}; the object is larger than S3 can hold")
    doublings = 0 if number <= EQUAL_PARTS else (number - EQUAL_PARTS - 1) // PARTS_PER_DOUBLING + 1
    return min(chunk_size << doublings, MAX_PART_BYTES)


def copy_spans(size: int, chunk_size: int, first_number: int = 1) -> list[Span]:
    """Cut `size` known bytes into equal spans of about `chunk_size` and never less than a part, for a part copy.

    The last one takes the remainder, less than a byte for each span: a short one could not be followed by other parts.
    """
    if size == 0:
        return []
    limit = MAX_PARTS - first_number + 1
    longest = MAX_PART_BYTES - MAX_PARTS  # leaves room for the remainder
    count = min(max(size // chunk_size, -(-size // longest)), limit)
    length = size // count
    if size - (count - 1) * length > MAX_PART_BYTES:
        raise ValueError(f"{size:,} bytes do not fit into {limit:,} parts of at most {MAX_PART_BYTES:,} bytes")
    return [
        Span(first_number + index, index * length, (size if index == count - 1 else (index + 1) * length) - 1)
        for index in range(count)
    ]
