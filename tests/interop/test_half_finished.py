"""Uploads cross over in the middle: a registry begins and we go on, and the other way round, in the same bucket."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
import uuid
from datetime import UTC, datetime
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from storagedriver import DriverParameters, PathNotFoundError, S3Driver
from storagedriver.layout import paths
from tests.components import DockerRegistry, S3Process
from tests.components.images import digest_of
from tests.components.registry import Response
from tests.components.s3 import ACCESS_KEY, REGION, SECRET_KEY

HTTP_SECRET = "tests"  # of DockerRegistry
MIB = 2**20
REPOSITORY = "team/api"
CONTENT = random.Random(4).randbytes(17 * MIB)
DIGEST = digest_of(CONTENT)
STREAM = {"Content-Type": "application/octet-stream"}
# Where the first one stops: within a part, at its end, beyond it, in the second one, and with nothing sent.
STOPS = [0, 1, 5 * MIB - 1, 5 * MIB, 5 * MIB + 1, 9 * MIB, 12 * MIB]


@pytest.fixture
def driver(s3: S3Process, bucket: str) -> S3Driver:
    return S3Driver(
        DriverParameters.parse(
            {
                "regionendpoint": s3.endpoint,
                "region": REGION,
                "bucket": bucket,
                "accesskey": ACCESS_KEY,
                "secretkey": SECRET_KEY,
                "chunksize": 5 * MIB,
            },
            version="3",
        )
    )


class RegistryUpload:
    """A client's side of an upload; `state` is the token that a registry hands out and wants back."""

    def __init__(self, docker: DockerRegistry, upload_id: str, state: str) -> None:
        self._docker = docker
        self.id = upload_id
        self.state = state

    @classmethod
    def begin(cls, docker: DockerRegistry) -> RegistryUpload:
        answer = docker.request("POST", f"/v2/{REPOSITORY}/blobs/uploads/")
        assert answer.status == 202, answer.body
        return cls(docker, answer.headers["docker-upload-uuid"], cls._state_of(answer))

    @staticmethod
    def _state_of(answer: Response) -> str:
        (state,) = parse_qs(urlsplit(answer.headers["location"]).query)["_state"]
        return state

    def path(self, **query: str) -> str:
        terms = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
        return f"/v2/{REPOSITORY}/blobs/uploads/{self.id}?{terms}"

    def send(self, content: bytes) -> None:
        answer = self._docker.request("PATCH", self.path(_state=self.state), content, STREAM)
        assert answer.status == 202, answer.body
        self.state = self._state_of(answer)

    def finish(self, digest: str) -> Response:
        return self._docker.request("PUT", self.path(_state=self.state, digest=digest), b"", STREAM)


def make_state(upload_id: str, offset: int, started: str) -> str:
    """Make the token of an upload as a registry with the same secret would, for an upload that another one began."""
    document = {"Name": REPOSITORY, "UUID": upload_id, "Offset": offset, "StartedAt": started}
    text = json.dumps(document, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(hmac.digest(HTTP_SECRET.encode(), text, hashlib.sha256) + text).decode()


def continue_by_registry(docker: DockerRegistry, driver: S3Driver, upload_id: str, offset: int) -> RegistryUpload:
    started = driver.get_content(paths.upload_started_at(REPOSITORY, upload_id)).decode()
    return RegistryUpload(docker, upload_id, make_state(upload_id, offset, started))


def write_here(driver: S3Driver, upload_id: str, content: bytes, *, begin: bool = False) -> None:
    """Write a session of our own and close it."""
    with driver.writer(paths.upload_data(REPOSITORY, upload_id), append=not begin) as writer:
        writer.write(content)
        writer.close()


def begin_here(driver: S3Driver, content: bytes) -> str:
    """Begin an upload as a registry does, and write its first bytes."""
    upload_id = str(uuid.uuid4())
    started = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    driver.put_content(paths.upload_started_at(REPOSITORY, upload_id), started.encode())
    write_here(driver, upload_id, content, begin=True)
    return upload_id


def publish_here(driver: S3Driver, upload_id: str, content: bytes) -> None:
    """Write the rest, commit, and put the blob where a registry would."""
    data = paths.upload_data(REPOSITORY, upload_id)
    with driver.writer(data, append=True) as writer:
        writer.write(content)
        writer.commit()
    driver.move(data, paths.blob_data(DIGEST))
    driver.put_content(paths.layer_link(REPOSITORY, DIGEST), DIGEST.encode())
    driver.delete(paths.upload_root(REPOSITORY, upload_id))


def assert_served(docker: DockerRegistry, driver: S3Driver) -> None:
    """The blob is served whole, and nothing of the upload is left."""
    answer = docker.request("GET", f"/v2/{REPOSITORY}/blobs/{DIGEST}")
    assert (answer.status, digest_of(answer.body)) == (200, DIGEST)
    assert list(driver.multipart_uploads("/")) == []
    with pytest.raises(PathNotFoundError):
        driver.list(f"/docker/registry/v2/repositories/{REPOSITORY}/_uploads")


@pytest.mark.parametrize("stop", STOPS)
def test_a_registry_begins_and_we_publish(docker: DockerRegistry, driver: S3Driver, stop: int) -> None:
    upload = RegistryUpload.begin(docker)
    upload.send(CONTENT[:stop])
    publish_here(driver, upload.id, CONTENT[stop:])
    assert_served(docker, driver)


@pytest.mark.parametrize("stop", STOPS)
def test_we_begin_and_a_registry_publishes(docker: DockerRegistry, driver: S3Driver, stop: int) -> None:
    upload_id = begin_here(driver, CONTENT[:stop])
    upload = continue_by_registry(docker, driver, upload_id, stop)
    upload.send(CONTENT[stop:])
    assert upload.finish(DIGEST).status == 201
    assert_served(docker, driver)


def test_what_we_closed_is_published_by_a_registry_without_another_byte(
    docker: DockerRegistry, driver: S3Driver
) -> None:
    upload_id = begin_here(driver, CONTENT)
    assert continue_by_registry(docker, driver, upload_id, len(CONTENT)).finish(DIGEST).status == 201
    assert_served(docker, driver)


@pytest.mark.parametrize("stops", [(1 * MIB, 2 * MIB, 3 * MIB), (6 * MIB, 7 * MIB, 13 * MIB)])
def test_an_upload_changes_hands_again_and_again(
    docker: DockerRegistry, driver: S3Driver, stops: tuple[int, int, int]
) -> None:
    first, second, third = stops
    upload = RegistryUpload.begin(docker)
    upload.send(CONTENT[:first])
    write_here(driver, upload.id, CONTENT[first:second])
    upload = continue_by_registry(docker, driver, upload.id, second)
    upload.send(CONTENT[second:third])
    publish_here(driver, upload.id, CONTENT[third:])
    assert_served(docker, driver)


def test_a_registry_refuses_to_go_on_at_another_byte(docker: DockerRegistry, driver: S3Driver) -> None:
    """The size it sees is that of what we stored: a token of another offset does not fit."""
    upload_id = begin_here(driver, CONTENT[: 6 * MIB])
    upload = continue_by_registry(docker, driver, upload_id, 6 * MIB - 1)
    # A few bytes only: it answers without reading them.
    answer = docker.request("PATCH", upload.path(_state=upload.state), CONTENT[6 * MIB :][:1000], STREAM)
    assert answer.json()["errors"][0]["code"] == "BLOB_UPLOAD_INVALID"


def test_a_registry_refuses_content_of_another_digest(docker: DockerRegistry, driver: S3Driver) -> None:
    upload_id = begin_here(driver, CONTENT[: 6 * MIB])
    upload = continue_by_registry(docker, driver, upload_id, 6 * MIB)
    upload.send(CONTENT[: 6 * MIB])
    assert upload.finish(DIGEST).status == 400
    assert docker.request("GET", f"/v2/{REPOSITORY}/blobs/{DIGEST}").status == 404


def test_a_registry_sees_how_far_we_are(docker: DockerRegistry, driver: S3Driver) -> None:
    upload_id = begin_here(driver, CONTENT[: 6 * MIB])
    upload = continue_by_registry(docker, driver, upload_id, 6 * MIB)
    answer = docker.request("GET", upload.path(_state=upload.state))
    assert (answer.status, answer.headers["range"]) == (204, f"0-{6 * MIB - 1}")


def test_what_a_registry_cancels_is_gone_for_us(docker: DockerRegistry, driver: S3Driver) -> None:
    upload = RegistryUpload.begin(docker)
    upload.send(CONTENT[: 6 * MIB])
    assert docker.request("DELETE", upload.path(_state=upload.state)).status == 204
    with pytest.raises(PathNotFoundError):
        driver.writer(paths.upload_data(REPOSITORY, upload.id), append=True)


def test_what_we_cancel_is_gone_for_a_registry(docker: DockerRegistry, driver: S3Driver) -> None:
    upload = RegistryUpload.begin(docker)
    upload.send(CONTENT[: 6 * MIB])
    with driver.writer(paths.upload_data(REPOSITORY, upload.id), append=True) as writer:
        writer.cancel()
    driver.delete(paths.upload_root(REPOSITORY, upload.id))
    assert upload.finish(DIGEST).status == 404


def test_our_token_is_the_registrys(docker: DockerRegistry, driver: S3Driver) -> None:
    upload = RegistryUpload.begin(docker)
    started = json.loads(base64.urlsafe_b64decode(upload.state)[32:])["StartedAt"]
    assert make_state(upload.id, 0, started) == upload.state
