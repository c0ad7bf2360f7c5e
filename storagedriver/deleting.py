"""Deleting in batches, and naming every key that stayed."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from storagedriver.errors import (
    Kind,
    PathNotFoundError,
    StorageDriverError,
    StorageDriverErrors,
    classify,
    translating,
)
from storagedriver.listing import Lister

if TYPE_CHECKING:
    from storagedriver.driver import S3Driver

BATCH_KEYS = 1_000


def delete_below(driver: S3Driver, path: str) -> None:
    """Delete the object at a path and everything below it; see `S3Driver.delete`."""
    lister, key = Lister(driver), driver.key(path)
    found = any(entry.path == path for entry in lister.page(key, limit=1).entries)
    batch = [key] if found else []
    errors: list[StorageDriverError] = []
    for page in lister.pages(driver.keys.prefix(path)):
        keys = [driver.key(entry.path) for entry in page.entries] + page.markers
        found = found or bool(keys)
        batch += keys
        while len(batch) >= BATCH_KEYS:
            errors += driver.delete_keys(batch[:BATCH_KEYS])
            batch = batch[BATCH_KEYS:]
    errors += driver.delete_keys(batch)
    if errors:
        raise StorageDriverErrors(errors)
    if not found:
        raise PathNotFoundError(path)


def delete_keys(driver: S3Driver, keys: Sequence[str]) -> list[StorageDriverError]:
    """Delete up to 1,000 keys; see `S3Driver.delete_keys`."""
    if not keys:
        return []
    try:
        with translating(driver.parameters):
            answer = driver.client.delete_objects(
                Bucket=driver.parameters.bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
            )
    except StorageDriverError as error:
        if error.code not in {"NotImplemented", "MethodNotAllowed", "501"}:
            raise
        return _delete_one_by_one(driver, keys)
    return [
        StorageDriverError(
            f"{failure.get('Key', '')} was not deleted: {failure.get('Message', '')} ({failure.get('Code', '')})",
            kind=classify(ClientError({"Error": {"Code": failure.get("Code", "")}}, "DeleteObjects")),
            code=failure.get("Code", ""),
            operation="DeleteObjects",
        )
        for failure in answer.get("Errors", ())
    ]


def _delete_one_by_one(driver: S3Driver, keys: Sequence[str]) -> list[StorageDriverError]:
    def delete(key: str) -> StorageDriverError | None:
        try:
            with translating(driver.parameters):
                driver.client.delete_object(Bucket=driver.parameters.bucket, Key=key)
        except StorageDriverError as error:
            if error.kind is Kind.TRANSIENT:
                raise
            return error
        return None

    with ThreadPoolExecutor(driver.parameters.concurrency, thread_name_prefix="delete") as executor:
        return [error for error in executor.map(delete, keys) if error is not None]
