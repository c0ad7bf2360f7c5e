"""Copying an object within the bucket: with one request, or in parts side by side. A lost answer is looked up."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from storagedriver.errors import Kind, StorageDriverError, translating
from storagedriver.fileinfo import FileInfo

if TYPE_CHECKING:
    from storagedriver.driver import S3Driver


def copy(driver: S3Driver, source: FileInfo, destination: str) -> None:
    """Copy an object, replacing the destination. Raises PathNotFoundError when the source is gone meanwhile."""
    if source.size <= driver.parameters.multipartcopythresholdsize:
        _copy_at_once(driver, source, destination)
    else:
        _copy_in_parts(driver, source, destination)


def _copy_at_once(driver: S3Driver, source: FileInfo, destination: str) -> None:
    bucket = driver.parameters.bucket
    try:
        with translating(driver.parameters, source.path):
            driver.client.copy_object(
                Bucket=bucket,
                Key=driver.key(destination),
                CopySource={"Bucket": bucket, "Key": driver.key(source.path)},
                CopySourceIfMatch=source.etag,
                **driver.object_headers(destination),
            )
    except StorageDriverError as error:
        if error.kind is not Kind.TRANSIENT or not _is_copied(driver, source, destination):
            raise


def _is_copied(driver: S3Driver, source: FileInfo, destination: str) -> bool:
    """Say whether a destination has the content of the source. Equal ETags are equal content, whoever stored it."""
    with suppress(StorageDriverError):
        found = driver.stat(destination)
        return not found.is_dir and (found.size, found.etag) == (source.size, source.etag)
    return False


def _copy_in_parts(driver: S3Driver, source: FileInfo, destination: str) -> None:
    uploads = driver.uploads
    upload_id = uploads.begin(destination)
    try:
        parts = uploads.copy(source.path, source.etag, destination, upload_id, source.size)
        uploads.complete(destination, upload_id, parts)
    except BaseException:
        with suppress(StorageDriverError):  # the first failure is the one to tell
            uploads.abort(destination, upload_id)
        raise
