"""Clients: shared and bounded, guarded, counted, and signing what the parameters say."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Literal

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from storagedriver import DriverParameters, S3Driver, StorageDriverError, clients
from storagedriver.clients import EndpointPolicy, Timeouts
from storagedriver.errors import EndpointRefusedError, Kind
from tests.storagedriver.conftest import ScriptedServer, respond

Parameters = Callable[..., DriverParameters]
PUBLIC_ONLY = EndpointPolicy(allow_private=False)


@pytest.fixture(autouse=True)
def fresh_clients() -> Iterator[None]:
    """Forget the policy and the clients of a test."""
    policy = clients._cache.policy
    yield
    clients.configure(policy=policy)


class TestSharing:
    def test_equal_parameters_share_connections(self, parameters: Parameters) -> None:
        first, second = (S3Driver(parameters()).client._endpoint for _ in range(2))  # type: ignore[attr-defined]
        assert first.http_session is second.http_session

    def test_event_handlers_stay_with_their_driver(self, parameters: Parameters) -> None:
        first, second = S3Driver(parameters()), S3Driver(parameters())
        seen: list[str] = []
        first.client.meta.events.register("before-send.s3", lambda **_: seen.append("first"))
        second.put_content("/a", b"")
        assert seen == []

    @pytest.mark.parametrize("values", [{"secretkey": "other"}, {"rootdirectory": "x"}, {"region": "eu-west-1"}])
    def test_other_parameters_have_their_own(self, parameters: Parameters, values: dict[str, str]) -> None:
        assert clients.connect(parameters()) is not clients.connect(parameters(**values))

    def test_the_cache_is_bounded(self, parameters: Parameters, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(clients, "MAX_CLIENTS", 2)
        clients.configure(policy=EndpointPolicy())
        first = clients.connect(parameters())
        for number in range(2):
            clients.connect(parameters(rootdirectory=f"other-{number}"))
        assert len(clients._cache.clients) == 2
        assert clients.connect(parameters()) is not first

    def test_a_forked_child_starts_afresh(self, parameters: Parameters) -> None:
        before = id(clients.connect(parameters()))
        reading, writing = os.pipe()
        if (child := os.fork()) == 0:  # pragma: no cover - the child's coverage is not collected
            kept = bool(clients._cache.clients)
            os.write(writing, b"kept" if kept else b"afresh")
            os._exit(0)
        os.waitpid(child, 0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            assert pipe.read() == b"afresh"
        assert id(clients.connect(parameters())) == before

    def test_making_a_driver_calls_no_network(self, parameters: Parameters) -> None:
        S3Driver(parameters(regionendpoint="http://nowhere.invalid"))


class TestCredentials:
    def test_blank_static_keys_never_fall_back(self, parameters: Parameters, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "SERVER")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "server")
        with pytest.raises(ValueError, match="static credentials need accesskey and secretkey"):
            clients.connect(DriverParameters(bucket="images", region="us-east-1"))

    def test_the_chain_uses_the_servers_identity(self, parameters: Parameters, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "SERVER")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "server")
        clients.configure(policy=EndpointPolicy())
        url = S3Driver(parameters(accesskey="", secretkey="")).redirect_url("/a")
        assert "Credential=SERVER" in str(url)

    def test_an_endpoint_in_the_environment_is_ignored(
        self, parameters: Parameters, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://elsewhere.example")
        clients.configure(policy=EndpointPolicy())
        url = S3Driver(parameters(regionendpoint="", bucket="images")).redirect_url("/a")
        assert str(url).startswith("https://images.s3.us-east-1.amazonaws.com/")

    @pytest.mark.parametrize("flag", ["accelerate", "usedualstack", "usefipsendpoint"])
    def test_flags_of_amazon_leave_another_endpoint_alone(self, parameters: Parameters, flag: str) -> None:
        endpoint = "http://minio.internal:9000"
        url = S3Driver(parameters(regionendpoint=endpoint, **{flag: True})).redirect_url("/a")
        assert str(url).startswith(f"{endpoint}/")

    @pytest.mark.parametrize(
        ("flag", "host"),
        [
            ("accelerate", "images.s3-accelerate.amazonaws.com"),
            ("usedualstack", "images.s3.dualstack.eu-west-1.amazonaws.com"),
            ("usefipsendpoint", "images.s3-fips.us-east-1.amazonaws.com"),
        ],
    )
    def test_flags_choose_amazons_endpoint(self, parameters: Parameters, flag: str, host: str) -> None:
        region = "us-east-1" if flag == "usefipsendpoint" else "eu-west-1"
        values = {"regionendpoint": "", "bucket": "images", "region": region, flag: True}
        url = S3Driver(parameters(**values)).redirect_url("/a")
        assert str(url).startswith(f"https://{host}/")

    def test_signature_version_2(self, parameters: Parameters) -> None:
        url = S3Driver(parameters(v4auth=False)).redirect_url("/a")
        assert "AWSAccessKeyId=AKIDEXAMPLE" in str(url)


class TestConfig:
    @pytest.mark.parametrize(
        ("values", "expected"),
        [({}, "when_required"), ({"regionendpoint": ""}, "when_supported")],
    )
    def test_checksums(self, parameters: Parameters, values: dict[str, str], expected: str) -> None:
        assert clients.config(parameters(**values)).request_checksum_calculation == expected  # type: ignore[attr-defined]

    @pytest.mark.parametrize(
        ("values", "header", "value"),
        [
            ({"region": "eu-west-1"}, "x-amz-content-sha256", hashlib.sha256(b"part").hexdigest()),
            ({"regionendpoint": "http://minio.internal"}, "x-amz-content-sha256", hashlib.sha256(b"part").hexdigest()),
            ({"regionendpoint": "http://minio.internal", "v4auth": False}, "content-md5", "9Mk4XxkC9zNLALm07NFk3g=="),
        ],
    )
    def test_parts_carry_one_hash_and_no_trailer(
        self, parameters: Parameters, values: dict[str, Any], header: str, value: str
    ) -> None:
        """Even where botocore would add one: S3 refuses it in an upload that a registry began."""
        driver, sent = S3Driver(parameters(**({"regionendpoint": "", "bucket": "images"} | values))), []

        def answer(request: Any, **_: object) -> None:
            sent.append({name.lower(): found for name, found in request.headers.items()})
            raise ConnectionResetError

        driver.client.meta.events.register("before-send.s3.UploadPart", answer)
        with pytest.raises(StorageDriverError):
            driver.uploads.send("/a", "id", 1, b"part")
        found = sent[0][header]
        assert (found.decode() if isinstance(found, bytes) else found) == value
        assert len({"x-amz-content-sha256", "content-md5"} & sent[0].keys()) == 1
        assert not any(name.startswith("x-amz-checksum") or name == "x-amz-trailer" for name in sent[0])

    @pytest.mark.parametrize(("version", "whole"), [("2.8", True), ("3", False)])
    def test_the_user_agent(self, parameters: Parameters, version: str, whole: bool) -> None:
        config = clients.config(dataclasses.replace(parameters(useragent="registry/1"), version=version))
        found = (config.user_agent, config.user_agent_extra)  # type: ignore[attr-defined]
        assert found == (("registry/1", None) if whole else (None, "registry/1"))


class TestRequests:
    def test_retries_are_counted(self, scripted: Callable[..., ScriptedServer], parameters: Parameters) -> None:
        def answer(handler: BaseHTTPRequestHandler, number: int) -> None:
            handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
            respond(handler, 503 if number < 3 else 200, ETag='"e"')

        driver = S3Driver(parameters(regionendpoint=scripted(answer).endpoint))
        driver.put_content("/a", b"content")
        assert driver.requests == {"PutObject": 3}

    def test_a_driver_counts_only_its_own(self, parameters: Parameters) -> None:
        first, second = S3Driver(parameters()), S3Driver(parameters())
        first.put_content("/a", b"")
        second.stat("/a")
        assert (first.requests, second.requests) == ({"PutObject": 1}, {"HeadObject": 1})

    def test_threads_of_a_driver_count_together(self, parameters: Parameters) -> None:
        driver = S3Driver(parameters())
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: driver.put_content(f"/{number}", b""), range(40)))
        assert driver.requests == {"PutObject": 40}

    @pytest.mark.parametrize("mode", ["standard", "adaptive"])
    def test_what_stays_after_the_retries_is_transient(
        self, scripted: Callable[..., ScriptedServer], parameters: Parameters, mode: Literal["standard", "adaptive"]
    ) -> None:
        body = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate</Message></Error>"
        server = scripted(lambda handler, number: respond(handler, 503, body, x_amz_request_id="4442587FB7D0A2F9"))
        driver = S3Driver(parameters(regionendpoint=server.endpoint), timeouts=Timeouts(attempts=2, retries=mode))
        with pytest.raises(StorageDriverError, match="asks for fewer requests") as caught:
            driver.get_content("/a")
        assert (caught.value.kind, caught.value.code) == (Kind.TRANSIENT, "SlowDown")
        assert (caught.value.request_id, len(server.requests)) == ("4442587FB7D0A2F9", 2)

    def test_a_wrong_region_is_not_followed(
        self, scripted: Callable[..., ScriptedServer], parameters: Parameters
    ) -> None:
        body = b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>"
        server = scripted(lambda handler, number: respond(handler, 400, body))
        with pytest.raises(StorageDriverError, match="set region to eu-west-1"):
            S3Driver(parameters(regionendpoint=server.endpoint)).list("/")
        assert len(server.requests) == 1

    def test_batch_deletes_carry_an_md5(self, scripted: Callable[..., ScriptedServer], parameters: Parameters) -> None:
        server = scripted(lambda handler, number: respond(handler, 200, b"<DeleteResult></DeleteResult>"))
        S3Driver(parameters(regionendpoint=server.endpoint)).delete_keys(["a"])
        assert "Content-MD5" in server.requests[0][2]


class TestEndpointPolicy:
    @pytest.mark.parametrize(
        "host",
        [
            *("127.0.0.1", "localhost", "10.0.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "[::1]", "[::]"),
            *(
                "[::ffff:127.0.0.1]",
                "[fe80::1]",
                "[fd00:ec2::254]",
                "[64:ff9b::7f00:1]",
                "[2002:7f00:1::]",
                "224.0.0.1",
            ),
            *("0x7f.1", "2130706433", "100.64.0.1"),
        ],
    )
    def test_it_refuses_what_is_not_public(self, host: str) -> None:
        with pytest.raises(EndpointRefusedError):
            PUBLIC_ONLY.check(host, 80)

    @pytest.mark.parametrize("host", ["1.1.1.1", "[2606:4700:4700::1111]", "nowhere.invalid"])
    def test_it_lets_public_and_unknown_hosts_pass(self, host: str) -> None:
        PUBLIC_ONLY.check(host, 443)

    @pytest.mark.parametrize("allowed", ["LocalHost", "localhost:9000"])
    def test_it_lets_listed_hosts_pass(self, allowed: str) -> None:
        EndpointPolicy(allow_private=False, allowed_hosts=(allowed,)).check("localhost", 9000)

    def test_a_listed_port_is_no_other_port(self) -> None:
        with pytest.raises(EndpointRefusedError, match="add localhost to ENDPOINT_ALLOWLIST"):
            EndpointPolicy(allow_private=False, allowed_hosts=("localhost:9000",)).check("localhost", 22)

    def test_a_driver_does_not_get_through(self, driver: S3Driver) -> None:
        clients.configure(policy=PUBLIC_ONLY)
        with pytest.raises(EndpointRefusedError) as caught:
            driver.put_content("/a", b"")
        assert caught.value.kind is Kind.DENIED

    def test_a_listed_endpoint_works(self, driver: S3Driver, s3_endpoint: str) -> None:
        clients.configure(
            policy=EndpointPolicy(allow_private=False, allowed_hosts=(s3_endpoint.removeprefix("http://"),))
        )
        driver.put_content("/a", b"content")
        assert driver.get_content("/a") == b"content"

    def test_a_changing_dns_answer_gains_nothing(
        self, scripted: Callable[..., ScriptedServer], parameters: Parameters, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The name is public when it is checked and loopback when it is connected to."""
        server = scripted(lambda handler, number: respond(handler, 200))
        port = int(server.endpoint.rpartition(":")[2])
        real, answers = socket.getaddrinfo, []

        def resolve(host: str, *arguments: Any, **options: Any) -> Any:
            if host != "rebinding.example":
                return real(host, *arguments, **options)
            answers.append("8.8.8.8" if len(answers) < 2 else "127.0.0.1")
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers[-1], port))]

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        clients.configure(policy=PUBLIC_ONLY)
        driver = S3Driver(parameters(regionendpoint=f"http://rebinding.example:{port}"), timeouts=Timeouts(attempts=1))
        with pytest.raises(EndpointRefusedError, match=r"rebinding\.example \(127\.0\.0\.1\) is not a public address"):
            driver.put_content("/a", b"")
        assert server.requests == []


class TestTls:
    @pytest.fixture
    def endpoint(self, tmp_path: Path) -> Iterator[str]:
        """Serve a listing over TLS with a certificate that nobody trusts."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .sign(key, hashes.SHA256())
        )
        file = tmp_path / "server.pem"
        file.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + certificate.public_bytes(Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        server = ScriptedServer(lambda handler, number: respond(handler, 200, b"", ETag='"e"'), context)
        yield f"https://localhost:{server.endpoint.rpartition(':')[2]}"
        server.stop()

    def test_an_unknown_certificate_is_refused(self, parameters: Parameters, endpoint: str) -> None:
        with pytest.raises(StorageDriverError, match="certificate verify failed") as caught:
            S3Driver(parameters(regionendpoint=endpoint), timeouts=Timeouts(attempts=1)).put_content("/a", b"")
        assert caught.value.kind is Kind.PERMANENT

    @pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
    def test_skipverify_takes_it(self, parameters: Parameters, endpoint: str) -> None:
        driver = S3Driver(parameters(regionendpoint=endpoint, skipverify=True))
        driver.put_content("/a", b"")
        assert driver.requests == {"PutObject": 1}
