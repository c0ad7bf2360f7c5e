"""A pytest plugin for django-storages' own suite: its S3Storage is our RegistryStorage, on a moto server.

It runs in a process of its own, beside a package `tests` that is not ours; see test_django_storages.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.request import Request, urlopen

import moto
import pytest
from moto.server import ThreadedMotoServer
from storages.backends import s3

from storagedriver.storage import RegistryStorage

BUCKET = "test-bucket"  # AWS_STORAGE_BUCKET_NAME of their settings
# The settings of S3Storage that say the same as a parameter of ours. All others are passed on, and refused.
PARAMETERS = {"location": "rootdirectory", "access_key": "accesskey", "secret_key": "secretkey"}


class AdaptedStorage(RegistryStorage):
    """RegistryStorage that takes its bucket, location and keys as django-storages' tests give them."""

    endpoint: str

    def __init__(self, **given: Any) -> None:
        # These tests set the location in a class, too.
        given = {name: getattr(type(self), name) for name in PARAMETERS if hasattr(type(self), name)} | given
        parameters: dict[str, Any] = {
            "version": "3",
            "bucket": BUCKET,
            "region": "us-east-1",
            "regionendpoint": self.endpoint,
            "accesskey": "testing",
            "secretkey": "testing",
        }
        super().__init__(**parameters | {PARAMETERS.get(name, name): value for name, value in given.items()})


def pytest_configure(config: pytest.Config) -> None:
    moto.mock_s3 = lambda test_class: test_class  # type: ignore[attr-defined]  # the server does what this decorator did before moto 5
    s3.S3Storage = AdaptedStorage  # type: ignore[misc]


@pytest.fixture(scope="session", autouse=True)
def server() -> Iterator[None]:
    moto_server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto_server.start()
    host, port = moto_server.get_host_and_port()
    AdaptedStorage.endpoint = f"http://{host}:{port}"
    yield
    moto_server.stop()


@pytest.fixture(autouse=True)
def bucket(server: None) -> None:
    """Begin every test with one empty bucket."""
    with urlopen(Request(f"{AdaptedStorage.endpoint}/moto-api/reset", method="POST")):
        pass
    AdaptedStorage().driver.client.create_bucket(Bucket=BUCKET)
