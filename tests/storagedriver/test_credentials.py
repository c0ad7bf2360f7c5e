"""Credentials sources: each uses what it names, and none falls back to another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from storagedriver import DriverParameters, S3Driver, StorageDriverError, clients
from storagedriver.clients import EndpointPolicy
from storagedriver.errors import EndpointRefusedError, Kind
from tests.storagedriver.conftest import ScriptedServer, respond

Parameters = Callable[..., DriverParameters]
ROLE = "arn:aws:iam::123456789012:role/registry"
LATER = datetime(2099, 1, 1, tzinfo=UTC)
KEYLESS = {"accesskey": "", "secretkey": ""}
ASSUMED = b"""<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
<Credentials><AccessKeyId>ASSUMED%d</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>
<SessionToken>token</SessionToken><Expiration>%s</Expiration></Credentials>
<AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/registry/wharfinger</Arn></AssumedRoleUser>
</AssumeRoleResult></AssumeRoleResponse>"""


@pytest.fixture(autouse=True)
def server_identity(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Give this server an identity in its environment, and a file of profiles."""
    file = tmp_path / "credentials"
    file.write_text(
        "[registry]\naws_access_key_id = PROFILE\naws_secret_access_key = secret\n[blank]\nregion = us-east-1\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "SERVER")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "server")
    policy = clients._cache.policy
    clients.configure(policy=EndpointPolicy())
    yield
    clients.configure(policy=policy)


def signer(driver: S3Driver) -> str:
    """Return the access key that signs a driver's addresses."""
    query = parse_qs(str(driver.redirect_url("/a")).partition("?")[2])
    return query["X-Amz-Credential"][0].partition("/")[0]


class Sts:
    """A service that gives out roles: it numbers the keys and remembers what was asked."""

    def __init__(self, scripted: Callable[..., ScriptedServer], status: int = 200, expires: datetime = LATER) -> None:
        self.asked: list[dict[str, list[str]]] = []
        self.signers: list[str] = []

        def answer(handler: BaseHTTPRequestHandler, number: int) -> None:
            self.asked.append(parse_qs(handler.rfile.read(int(handler.headers["Content-Length"])).decode()))
            self.signers.append(handler.headers["Authorization"].partition("Credential=")[2].partition("/")[0])
            denied = b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>"
            respond(handler, status, ASSUMED % (number, expires.isoformat().encode()) if status == 200 else denied)

        self.endpoint = scripted(answer).endpoint


@pytest.fixture
def sts(scripted: Callable[..., ScriptedServer]) -> Sts:
    return Sts(scripted)


def test_a_session_token_is_sent(parameters: Parameters) -> None:
    assert "X-Amz-Security-Token=temporary" in str(S3Driver(parameters(sessiontoken="temporary")).redirect_url("/a"))


def test_a_profile_comes_before_the_environment(parameters: Parameters) -> None:
    assert signer(S3Driver(parameters(**KEYLESS, profile="registry"))) == "PROFILE"


def test_a_profile_without_keys_does_not_fall_back(parameters: Parameters) -> None:
    with pytest.raises(StorageDriverError, match="No credentials were found"):
        S3Driver(parameters(**KEYLESS, profile="blank")).get_content("/a")


def test_a_missing_profile_is_named_as_the_trouble(parameters: Parameters) -> None:
    with pytest.raises(StorageDriverError, match="no profile of this name; check profile"):
        S3Driver(parameters(**KEYLESS, profile="nobody")).get_content("/a")


class TestRole:
    @pytest.mark.parametrize(
        ("values", "source"), [({}, "AKIDEXAMPLE"), (KEYLESS | {"profile": "registry"}, "PROFILE"), (KEYLESS, "SERVER")]
    )
    def test_its_source_asks_for_it(
        self, parameters: Parameters, sts: Sts, values: dict[str, str], source: str
    ) -> None:
        driver = S3Driver(parameters(**values, rolearn=ROLE, stsendpoint=sts.endpoint))
        assert (signer(driver), sts.signers) == ("ASSUMED1", [source])

    def test_it_names_the_role_and_the_external_id(self, parameters: Parameters, sts: Sts) -> None:
        signer(S3Driver(parameters(rolearn=ROLE, externalid="tenant-7", stsendpoint=sts.endpoint)))
        (asked,) = sts.asked
        assert (asked["RoleArn"], asked["ExternalId"], asked["RoleSessionName"]) == (
            [ROLE],
            ["tenant-7"],
            ["wharfinger"],
        )

    def test_it_is_assumed_when_first_needed_and_once(self, parameters: Parameters, sts: Sts) -> None:
        driver = S3Driver(parameters(rolearn=ROLE, stsendpoint=sts.endpoint))
        assert driver.client
        assert sts.asked == []
        assert [signer(driver), signer(driver), len(sts.asked)] == ["ASSUMED1", "ASSUMED1", 1]

    def test_it_is_renewed_when_it_expires(
        self, scripted: Callable[..., ScriptedServer], parameters: Parameters
    ) -> None:
        soon = datetime.now(UTC) + timedelta(minutes=5)
        driver = S3Driver(parameters(rolearn=ROLE, stsendpoint=Sts(scripted, expires=soon).endpoint))
        assert [signer(driver), signer(driver)] == ["ASSUMED1", "ASSUMED2"]

    def test_one_that_has_expired_already_is_an_error(
        self, scripted: Callable[..., ScriptedServer], parameters: Parameters
    ) -> None:
        past = datetime.now(UTC) - timedelta(minutes=5)
        driver = S3Driver(parameters(rolearn=ROLE, stsendpoint=Sts(scripted, expires=past).endpoint))
        with pytest.raises(StorageDriverError, match="expired already; synchronise this server's clock"):
            driver.get_content("/a")

    def test_a_refusal_says_what_to_check(
        self, scripted: Callable[..., ScriptedServer], parameters: Parameters
    ) -> None:
        driver = S3Driver(parameters(rolearn=ROLE, stsendpoint=Sts(scripted, status=403).endpoint))
        with pytest.raises(
            StorageDriverError, match="let its trust policy name this identity, and check rolearn"
        ) as caught:
            driver.get_content("/a")
        assert caught.value.kind is Kind.DENIED

    def test_its_service_keeps_the_endpoint_policy(self, parameters: Parameters, s3_endpoint: str) -> None:
        clients.configure(
            policy=EndpointPolicy(allow_private=False, allowed_hosts=(s3_endpoint.removeprefix("http://"),))
        )
        driver = S3Driver(parameters(rolearn=ROLE, stsendpoint="http://127.0.0.1:9"))
        with pytest.raises(EndpointRefusedError):
            driver.get_content("/a")
