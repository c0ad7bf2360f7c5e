"""What we read and write beside a real registry: the meaning of words, and configurations that it serves from."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from storagedriver import DriverParameters, ParameterErrors, S3Driver
from storagedriver.config import (
    Cache,
    CloudFrontMiddleware,
    Delete,
    Maintenance,
    RegistryConfig,
    UploadPurging,
    parse_config,
    render_config,
    render_environment,
)
from storagedriver.config.scalars import go_text, resolve
from tests.components import Process, S3Process, free_port, need

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "REGISTRY_", "OTEL_"))}


@pytest.fixture(scope="module")
def registry() -> str:
    return need("docker-registry")


def complaint(registry: str, path: Path, text: str) -> str:
    """Return what a registry says that cannot make its driver."""
    path.write_text(text)
    done = subprocess.run(
        [registry, "garbage-collect", "--dry-run", path],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    return next(line for line in (done.stdout + done.stderr).splitlines() if "construct" in line)


# The words of test_config_yaml.py whose text differs from the word, and those that look like numbers and are none.
@pytest.mark.parametrize(
    "word",
    [
        *(
            "yes",
            "Y",
            "On",
            "oN",
            "n",
            "OFF",
            "012",
            "0o12",
            "0x1F",
            "0b11",
            "-0b11",
            "+12",
            "1_000",
            "0_7",
            "-0",
            "08",
        ),
        *("1e3", ".5", "+.5", "1.", "1.5_0", "1e400", "18446744073709551615", "18446744073709551616", ".inf", "-.INF"),
        *(
            "1:30",
            "2024-01-01",
            "_7",
            "._5",
            "0b",
            "12a",
            "=",
            ".nan",
            "999999.0",
            "1000000.0",
            "123456789.5",
            "0.00001",
        ),
        *("-1e-5", "1.5e300", "0.0", "-0.0", "9" * 40, "'012'", '"yes"'),
    ],
)
def test_a_word_means_to_a_registry_what_we_say(registry: str, tmp_path: Path, word: str) -> None:
    text = f"version: 0.1\nstorage: {{s3: {{region: us-east-1, bucket: images, storageclass: {word}}}}}\n"
    said = complaint(registry, tmp_path / "config.yml", text).partition("REDUNDANCY], ")[2].removesuffix(" invalid")
    assert said == (word[1:-1] if word[0] in "'\"" else go_text(resolve(word)))


@pytest.mark.parametrize(
    "word", ["5242879", "023777777", "5_242_879", "0x4fffff", "'5242879'", "'023777777'", "'0x4fffff'", "'5_242_879'"]
)
def test_a_number_is_to_a_registry_what_we_read(registry: str, tmp_path: Path, word: str) -> None:
    text = f"version: 0.1\nstorage: {{s3: {{region: us-east-1, bucket: images, chunksize: {word}}}}}\n"
    said = "the chunksize 5242879 parameter should be a number between 5242880 and 5368709120 (inclusive)"
    assert complaint(registry, tmp_path / "config.yml", text).endswith(said)
    with pytest.raises(ParameterErrors) as caught:
        parse_config(text, "2.8")
    assert caught.value["storage.s3.chunksize"][0].startswith(said)


class Stay(HTTPRedirectHandler):
    """Follows no redirect."""

    def redirect_request(self, *args: object) -> None:
        return None


def ask(host: str, method: str, path: str, body: bytes | None = None) -> tuple[int, Mapping[str, str]]:
    url = path if path.startswith("http") else f"http://{host}{path}"
    request = Request(url, body, {"Content-Type": "application/octet-stream"}, method=method)
    try:
        with build_opener(Stay).open(request, timeout=30) as response:
            return response.status, response.headers
    except HTTPError as error:
        with error:
            return error.code, error.headers


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "cloudfront.pem"
    key = generate_private_key(65537, 2048)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
    return path


@pytest.fixture
def config(s3: S3Process, bucket: str, key_file: Path) -> RegistryConfig:
    """Return a configuration in which every section says something that shows from outside."""
    values = {
        "accesskey": "AKIA",
        "secretkey": "012345",
        "region": "us-east-1",
        "regionendpoint": s3.endpoint,
        "bucket": bucket,
        "rootdirectory": "1e5",
        "chunksize": 6 * 2**20,
    }
    return RegistryConfig(
        storage=DriverParameters.parse(values, "2.8"),
        middleware=(
            CloudFrontMiddleware(
                baseurl="https://d111.cloudfront.net/base",
                privatekey=str(key_file),
                keypairid="K2JCJMDEHXQW5F",
                duration=timedelta(minutes=90),
            ),
        ),
        delete=Delete(enabled=True),
        cache=Cache(blobdescriptor="inmemory"),
        maintenance=Maintenance(uploadpurging=UploadPurging(age=timedelta(hours=1), dryrun=True)),
    )


@pytest.fixture(params=["file", "edited file", "variables"])
def host(request: pytest.FixtureRequest, registry: str, config: RegistryConfig, tmp_path: Path) -> Iterator[str]:
    """A registry that runs on what we wrote."""
    host = f"127.0.0.1:{free_port()}"
    file = "version: 0.1\nstorage: filesystem # was here\n"
    environment: dict[str, str] = {}
    if request.param == "file":
        file = render_config(config)
    elif request.param == "edited file":
        file = render_config(config, file)
    else:
        environment = render_environment(config)
    path = tmp_path / "config.yml"
    path.write_text(file)
    environment |= ENVIRONMENT | {"REGISTRY_HTTP_ADDR": host, "REGISTRY_HTTP_SECRET": "tests"}

    def ready() -> bool:
        try:
            return ask(host, "GET", "/v2/")[0] == 200
        except (URLError, ConnectionError):
            return False

    with Process([registry, "serve", path], tmp_path / "registry.log", env=environment) as process:
        process.wait_until(ready)
        yield host


def test_a_registry_serves_from_what_we_write(host: str, config: RegistryConfig) -> None:
    blob = b"layer"
    digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
    _, headers = ask(host, "POST", "/v2/library/test/blobs/uploads/")
    assert ask(host, "PUT", f"{headers['Location']}&digest={digest}", blob)[0] == 201
    path = f"/docker/registry/v2/blobs/sha256/{digest[7:9]}/{digest[7:]}/data"
    driver = S3Driver(config.storage)
    assert driver.get_content(path) == blob
    status, headers = ask(host, "GET", f"/v2/library/test/blobs/{digest}")
    assert status == 307
    assert headers["Location"].startswith(f"https://d111.cloudfront.net/base/{driver.key(path)}?Expires=")
    assert headers["Location"].endswith("&Key-Pair-Id=K2JCJMDEHXQW5F")
    assert ask(host, "DELETE", f"/v2/library/test/blobs/{digest}")[0] == 202
