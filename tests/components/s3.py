"""An S3 server for the tests: moto in a process of its own, with a way to make objects old."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote
from urllib.request import Request, urlopen

import boto3
from botocore.config import Config

from tests.components.process import Process, answers, free_port

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ACCESS_KEY, SECRET_KEY, REGION = "AKIATESTS", "not-a-secret", "us-east-1"


class S3Process:
    """An S3 server at `endpoint`. It takes any key pair, unless `enforce` makes it know only the one of `keys`."""

    def __init__(self, folder: Path, *, enforce: bool = False) -> None:
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.keys = (ACCESS_KEY, SECRET_KEY)
        env = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MOTO_"))}
        if enforce:
            env["INITIAL_NO_AUTH_ACTION_COUNT"] = "3"  # the calls of _make_user
        self._process = Process(
            [sys.executable, "-m", "tests.components.moto_server", str(self.port)], folder / "s3.log", env=env
        )
        self._process.wait_until(lambda: answers(self.port))
        if enforce:
            self.keys = self._make_user()

    @cached_property
    def client(self) -> S3Client:
        """A plain boto3 client, to look at buckets independently of the product."""
        return s3_client(self.endpoint, *self.keys)

    def make_bucket(self, name: str) -> str:
        self.client.create_bucket(Bucket=name)
        return name

    def listing(self, bucket: str) -> dict[str, tuple[int, str]]:
        """Return every key of the bucket with its size and ETag: equal listings are equal buckets."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return {item["Key"]: (item["Size"], item["ETag"]) for page in pages for item in page.get("Contents", [])}

    def uploads(self, bucket: str) -> dict[str, str]:
        """Return the pending multipart uploads of the bucket: upload id to key."""
        pages = self.client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket)
        return {item["UploadId"]: item["Key"] for page in pages for item in page.get("Uploads", [])}

    def age(self, bucket: str, prefix: str, by: timedelta) -> None:
        """Move the dates of all objects and pending parts below a prefix into the past."""
        query = f"bucket={quote(bucket)}&prefix={quote(prefix, safe='')}&seconds={by.total_seconds()}"
        with urlopen(Request(f"{self.endpoint}/_age?{query}", method="POST")):
            pass

    def stop(self) -> None:
        self.client.close()
        self._process.stop()

    def _make_user(self) -> tuple[str, str]:
        iam = boto3.client(
            "iam",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )
        policy = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}'
        iam.create_user(UserName="registry")
        iam.put_user_policy(UserName="registry", PolicyName="all", PolicyDocument=policy)
        key = iam.create_access_key(UserName="registry")["AccessKey"]
        iam.close()
        return key["AccessKeyId"], key["SecretAccessKey"]


def s3_client(endpoint: str, access_key: str = ACCESS_KEY, secret_key: str = SECRET_KEY) -> S3Client:
    """Return a client that the caller closes."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(s3={"addressing_style": "path"}, max_pool_connections=16),
    )
