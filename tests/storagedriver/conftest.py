"""A moto server in this process, and drivers on fresh roots of one bucket."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
from moto.server import ThreadedMotoServer

from storagedriver import DriverParameters, S3Driver

BUCKET = "wharfinger-driver"
MIB = 2**20


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    S3Driver(_parameters(endpoint)).client.create_bucket(Bucket=BUCKET)
    yield endpoint
    server.stop()


def _parameters(endpoint: str, **values: object) -> DriverParameters:
    given = {
        "regionendpoint": endpoint,
        "region": "us-east-1",
        "bucket": BUCKET,
        "accesskey": "AKIDEXAMPLE",
        "secretkey": "wJalrXUtnFEMI-canary",
        "chunksize": 5 * MIB,
    }
    return DriverParameters.parse(given | values, version="3")


_roots = itertools.count()


@pytest.fixture
def parameters(s3_endpoint: str) -> Callable[..., DriverParameters]:
    """Make parameters for one fresh root directory; keyword arguments replace single ones."""
    root = f"root-{next(_roots)}"

    def make(**values: object) -> DriverParameters:
        return _parameters(s3_endpoint, **{"rootdirectory": root} | values)

    return make


@pytest.fixture
def driver(parameters: Callable[..., DriverParameters]) -> S3Driver:
    """Return a driver on a fresh, empty root directory."""
    return S3Driver(parameters())
