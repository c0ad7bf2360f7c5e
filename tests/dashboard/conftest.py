"""A registry row on a real S3 server, empty or with the demo's images, and a spool of the test's own."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import storages

from dashboard.demo.content import build_demo
from dashboard.models import Archive, Registry
from tests.components import S3Process
from tests.dashboard.factories import make_registry

DEMO = build_demo(datetime.now(UTC))


@pytest.fixture
def registry(s3: S3Process, bucket: str) -> Registry:
    """A registry row for a new, empty bucket."""
    return make_registry(
        "alpha", bucket=bucket, region_endpoint=s3.endpoint, access_key=s3.keys[0], secret_key=s3.keys[1]
    )


@pytest.fixture
def demo(registry: Registry, s3: S3Process) -> Registry:
    """The demo's images in that bucket."""
    for item in DEMO.objects:
        s3.client.put_object(Bucket=registry.bucket, Key=item.key, Body=item.content)
    for upload in DEMO.uploads:
        where = {"Bucket": registry.bucket, "Key": upload.key}
        upload_id = s3.client.create_multipart_upload(**where)["UploadId"]
        for number, content in enumerate(upload.parts, start=1):
            s3.client.upload_part(**where, UploadId=upload_id, PartNumber=number, Body=content)
    return registry


@pytest.fixture(autouse=True)
def spool(tmp_path: Path, settings: Any) -> Path:
    """A spool of the test's own."""
    backend = {**settings.STORAGES["spool"], "OPTIONS": {"location": str(tmp_path / "spool")}}
    settings.STORAGES = {**settings.STORAGES, "spool": backend}
    Archive._meta.get_field("file").storage = storages["spool"]
    return tmp_path / "spool"
