"""Uploading and reading one large object, beside boto3 and django-storages."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from contextlib import closing
from typing import IO, Any

from storages.backends.s3 import S3Storage

from tests.benchmarks.measure import MIB, Comparison, Place
from tests.components.s3 import ACCESS_KEY, REGION, SECRET_KEY, s3_client

BLOCK = random.Random(1).randbytes(MIB)


class Source(io.RawIOBase):
    """A readable stream of `size` MiB that costs nothing to make."""

    def __init__(self, size: int) -> None:
        self._left = size * MIB

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        wanted = min(self._left, MIB if size < 0 else size)
        self._left -= wanted
        return (BLOCK * (wanted // MIB + 1))[:wanted]


def django_storage(place: Place) -> S3Storage:
    return S3Storage(  # type: ignore[no-untyped-call]
        bucket_name=place.bucket,
        endpoint_url=place.endpoint,
        region_name=REGION,
        access_key=ACCESS_KEY,
        secret_key=SECRET_KEY,
        addressing_style="path",
    )


def compare(place: Place, size: int) -> Iterator[Comparison]:
    """Compare the upload of `size` MiB, then the reading of it in one stream."""
    with closing(s3_client(place.endpoint)) as client:
        yield compare_uploads(place, size, client)
        yield compare_reading(place, size, client)


def compare_uploads(place: Place, size: int, client: Any) -> Comparison:
    comparison = Comparison(f"Upload {size} MiB, {place.name}", size, "MiB")
    driver, storage = place.driver(), django_storage(place)

    def check() -> None:
        assert client.head_object(Bucket=place.bucket, Key="upload")["ContentLength"] == size * MIB
        client.delete_object(Bucket=place.bucket, Key="upload")

    def ours() -> None:
        with driver.writer("/upload") as writer:
            fill(writer)
            writer.commit()

    def fill(target: Any) -> None:
        for _ in range(size):
            target.write(BLOCK)

    def django() -> None:
        with storage.open("upload", "wb") as file:
            fill(file)

    comparison.add("driver.writer", ours, check)
    comparison.add("boto3 upload_fileobj", lambda: client.upload_fileobj(Source(size), place.bucket, "upload"), check)
    comparison.add('django-storages open("wb")', django, check)
    return comparison


def compare_reading(place: Place, size: int, client: Any) -> Comparison:
    comparison = Comparison(f"Read {size} MiB, {place.name}", size, "MiB")
    driver, storage = place.driver(), django_storage(place)
    client.upload_fileobj(Source(size), place.bucket, "object")

    def drain(stream: IO[bytes] | Any) -> None:
        found = 0
        while content := stream.read(MIB):
            found += len(content)
        assert found == size * MIB

    def ours() -> None:
        with driver.reader("/object") as reader:
            drain(reader)

    def django() -> None:
        with storage.open("object", "rb") as file:
            drain(file)

    comparison.add("driver.reader", ours)
    comparison.add("boto3 get_object", lambda: drain(client.get_object(Bucket=place.bucket, Key="object")["Body"]))
    comparison.add('django-storages open("rb")', django)
    client.delete_object(Bucket=place.bucket, Key="object")
    return comparison
