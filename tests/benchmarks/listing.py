"""Listing a bucket, beside boto3's paginator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.request import Request, urlopen

from storagedriver import S3Driver
from tests.benchmarks.measure import Comparison, Place
from tests.components.s3 import s3_client


def compare(place: Place, keys: int) -> Iterator[Comparison]:
    """Compare the listing of one long prefix, and of a registry's tree, which we list by its folders in parallel."""
    driver = place.driver()
    with closing(s3_client(place.endpoint)) as client:
        for title, folder in (("List one prefix", "flat"), ("List a registry", "docker")):
            fill = f"{place.endpoint}/_fill?bucket={place.bucket}&folder={folder}&count={keys}"
            with urlopen(Request(fill, method="POST")):
                pass
            yield compare_folder(
                Comparison(f"{title} of {keys:,} keys, {place.name}", keys / 1000, "1,000 keys"),
                driver,
                client,
                place.bucket,
                folder,
                keys,
            )


def compare_folder(
    comparison: Comparison, driver: S3Driver, client: Any, bucket: str, folder: str, keys: int
) -> Comparison:
    """Compare the listing of one folder that holds `keys` objects."""

    def ours() -> None:
        assert sum(len(page) for page in driver.scan(f"/{folder}")) == keys

    def boto3() -> None:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{folder}/")
        assert sum(len(page["Contents"]) for page in pages) == keys

    comparison.add("driver.scan", ours)
    comparison.add("boto3 paginator", boto3)
    return comparison
