"""The CloudFront middleware: options, and signatures equal to botocore's."""

from __future__ import annotations

import dataclasses
import os
import pickle
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.signers import CloudFrontSigner
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from storagedriver import DriverParameters, ParameterErrors, S3Driver
from storagedriver.middleware.cloudfront import CloudFront
from storagedriver.middleware.options import parse_duration
from storagedriver.middleware.ranges import AwsAddresses

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PKCS1 = KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
PKCS8 = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
ENCRYPTED = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")).decode()
ELLIPTIC = (
    ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
)
PUBLIC = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
KEY_PAIR = "K2JCJMDEHXQW5F"
EXPIRES = datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)
BLOB = "registry-v2/docker/registry/v2/blobs/sha256/ab/abcd/data"


def parse(**options: object) -> CloudFront:
    given: dict[str, object] = {"baseurl": "https://d111.cloudfront.net", "keypairid": KEY_PAIR, "privatekey": PKCS1}
    return CloudFront.parse(**given | options)  # type: ignore[arg-type]


def refuse(**options: object) -> ParameterErrors:
    with pytest.raises(ParameterErrors) as caught:
        parse(**options)
    return caught.value


@pytest.mark.parametrize("pem", [PKCS1, PKCS8, f"\n{PKCS1.strip()}\n\n", PKCS1.replace("\n", "\r\n")])
@pytest.mark.parametrize(
    "baseurl", ["https://d111.cloudfront.net/", "https://cdn.example.com/base", "https://x.net/?a=b"]
)
def test_signatures_equal_those_of_botocore(pem: str, baseurl: str) -> None:
    signer = CloudFrontSigner(KEY_PAIR, lambda message: KEY.sign(message, padding.PKCS1v15(), hashes.SHA1()))
    middleware = parse(privatekey=pem, baseurl=baseurl)
    expected = signer.generate_presigned_url(f"{middleware.baseurl}{BLOB}", date_less_than=EXPIRES)
    assert middleware.sign(BLOB, EXPIRES) == expected


@pytest.mark.parametrize("address", ["192.0.2.1", "192.0.2.0/24"])
@pytest.mark.parametrize("baseurl", ["https://d111.cloudfront.net/", "https://x.net/?a=b"])
def test_signatures_for_one_address_equal_those_of_botocore(address: str, baseurl: str) -> None:
    signer = CloudFrontSigner(KEY_PAIR, lambda message: KEY.sign(message, padding.PKCS1v15(), hashes.SHA1()))
    middleware = parse(baseurl=baseurl)
    resource = f"{middleware.baseurl}{BLOB}"
    policy = signer.build_policy(resource, EXPIRES, ip_address=address)
    assert middleware.sign(BLOB, EXPIRES, ip_address=address) == signer.generate_presigned_url(resource, policy=policy)


@pytest.mark.parametrize("address", ["2001:db8::1", '192.0.2.1"}', ""])
def test_what_no_policy_can_name_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="names an IPv4 address or network only"):
        parse().sign(BLOB, EXPIRES, ip_address=address)


def test_seconds_and_dates_sign_alike() -> None:
    assert parse().sign(BLOB, int(EXPIRES.timestamp())) == parse().sign(BLOB, EXPIRES)


def test_a_naive_date_is_refused() -> None:
    with pytest.raises(ValueError, match="aware"):
        parse().sign(BLOB, EXPIRES.replace(tzinfo=None))


def test_a_url_lasts_for_the_duration() -> None:
    (expires,) = parse_qs(urlsplit(parse(duration="1h30m").sign(BLOB)).query)["Expires"]
    assert 5390 <= int(expires) - time.time() <= 5400


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("d111.cloudfront.net", "https://d111.cloudfront.net/"),
        ("http://d111.cloudfront.net", "http://d111.cloudfront.net/"),
        ("https://cdn.example.com/a/", "https://cdn.example.com/a/"),
        (" https://cdn.example.com ", "https://cdn.example.com/"),
    ],
)
def test_the_base_url_is_completed(given: str, base: str) -> None:
    assert parse(baseurl=given).baseurl == base


@pytest.mark.parametrize(
    ("options", "field", "text"),
    [
        ({"baseurl": ""}, "baseurl", "no baseurl provided"),
        ({"baseurl": "ftp://x"}, "baseurl", "invalid baseurl"),
        ({"baseurl": "https://"}, "baseurl", "names no host"),
        ({"baseurl": "https://x/a b"}, "baseurl", "use only scheme, host, port and path"),
        ({"baseurl": 'https://x/"'}, "baseurl", "use only scheme, host, port and path"),
        ({"baseurl": "https://x:port"}, "baseurl", "invalid baseurl"),
        ({"keypairid": " "}, "keypairid", "no keypairid provided"),
        ({"keypairid": "K2&x=y"}, "keypairid", "letters and digits"),
        ({"privatekey": ""}, "privatekey", "no privatekey provided"),
        ({"privatekey": "/etc/docker/key.pem"}, "privatekey", "paste the whole file"),
        ({"privatekey": PKCS1[:500]}, "privatekey", "failed to decode private key as an rsa private key"),
        ({"privatekey": PUBLIC}, "privatekey", "failed to decode private key as an rsa private key"),
        ({"privatekey": ELLIPTIC}, "privatekey", "this is another kind of key"),
        ({"privatekey": ENCRYPTED}, "privatekey", "the private key is encrypted"),
        ({"privatekey": "x" * 10**6}, "privatekey", "too long"),
        ({"duration": "3000"}, "duration", "invalid duration: 3000"),
        ({"updatefrequency": "x"}, "updatefrequency", "invalid updatefrequency: x"),
        ({"updatefrenquency": "x"}, "updatefrenquency", "invalid updatefrenquency: x"),
        ({"iprangesurl": "file:///etc/passwd"}, "iprangesurl", "invalid iprangesurl: it begins with file://"),
        ({"iprangesurl": 7}, "iprangesurl", "iprangesurl must be a string"),
        (
            {"ipfilteredby": "azure"},
            "ipfilteredby",
            "ipfilteredby only allows a string the following value: none|aws|awsregion",
        ),
        (
            {"ipfilteredby": True},
            "ipfilteredby",
            "ipfilteredby only allows a string with the following value: none|aws|awsregion",
        ),
        ({"ipfilteredby": "awsregion"}, "awsregion", "awsRegion is not defined"),
        ({"ipfilteredby": "awsregion", "awsregion": ["us-east-1"]}, "awsregion", "must be a comma separated string"),
        ({"ipfilteredby": "awsregion", "awsregion": "us-east-1,"}, "awsregion", "must be a comma separated string"),
        ({"baseurl": 1}, "baseurl", "baseurl must be a string"),
        ({"privatekey": 1}, "privatekey", "privatekey must be a string"),
        ({"keypairid": 1}, "keypairid", "keypairid must be a string"),
    ],
)
def test_it_refuses(options: dict[str, str], field: str, text: str) -> None:
    errors = refuse(**options)
    assert list(errors) == [field]
    assert text in errors[field][0]


def test_all_errors_come_at_once() -> None:
    assert set(refuse(baseurl="", keypairid="", privatekey="", duration="")) == {
        "baseurl",
        "keypairid",
        "privatekey",
        "duration",
    }


def test_without_options_a_base_url_is_missed_first() -> None:
    with pytest.raises(ParameterErrors) as caught:
        CloudFront.parse()
    assert str(caught.value).startswith("s3aws: no baseurl provided")


class TestKeyFiles:
    """A path instead of the text, for configuration that is this machine's own."""

    def parse(self, path: Path) -> CloudFront:
        return parse(privatekey=str(path), key_files=True)

    def test_a_file_is_read(self, tmp_path: Path) -> None:
        small = rsa.generate_private_key(public_exponent=65537, key_size=1024)
        pem = small.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        (tmp_path / "key.pem").write_bytes(pem)
        assert self.parse(tmp_path / "key.pem").privatekey.reveal() == pem.decode()

    def test_text_is_still_text(self) -> None:
        assert parse(privatekey=PKCS8, key_files=True).privatekey.reveal() == PKCS8.strip()

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ParameterErrors, match=r"failed to read privatekey file: .*key\.pem"):
            self.parse(tmp_path / "key.pem")

    def test_a_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(ParameterErrors, match="failed to read privatekey file: it is no regular file"):
            self.parse(tmp_path / "pipe")

    def test_the_text_of_another_file_is_not_shown(self, tmp_path: Path) -> None:
        (tmp_path / "shadow").write_text("root:hash")
        with pytest.raises(ParameterErrors, match="as an rsa private key") as caught:
            self.parse(tmp_path / "shadow")
        assert "root" not in str(caught.value)


def test_a_duration_without_a_unit_is_ignored_with_a_warning() -> None:
    middleware = parse(duration=3000)
    assert middleware.duration == timedelta(minutes=20)
    assert [(warning.field, "has no unit" in warning.message) for warning in middleware.warnings] == [
        ("duration", True)
    ]


def test_an_unknown_option_is_a_warning() -> None:
    (warning,) = parse(baseURL="https://x").warnings
    assert warning == ("baseURL", "unknown option, ignored; did you mean baseurl?")


def test_the_misspelt_frequency_wins_with_a_warning() -> None:
    middleware = parse(ipfilteredby="aws", updatefrequency="1h", updatefrenquency="2h")
    assert middleware.addresses is not None
    assert middleware.addresses.frequency == timedelta(hours=2)
    assert [warning.field for warning in middleware.warnings] == ["updatefrenquency"]


@pytest.mark.parametrize("given", ["", "none", " NONE ", None])
def test_nobody_is_filtered_unless_asked(given: object) -> None:
    assert parse(ipfilteredby=given, awsregion=7).addresses is None


class TestAddressFilter:
    @pytest.mark.parametrize("given", ["aws", " AWS "])
    def test_it_takes_all_regions(self, given: str) -> None:
        addresses = parse(ipfilteredby=given, iprangesurl="https://ranges.example.com/x.json").addresses
        assert addresses is not None
        assert (addresses.url, addresses.regions) == ("https://ranges.example.com/x.json", ())
        assert addresses.frequency == timedelta(hours=12)

    def test_it_takes_the_named_regions(self) -> None:
        addresses = parse(ipfilteredby="awsregion", awsregion="us-east-1, US-west-2").addresses
        assert addresses is not None
        assert addresses.regions == ("us-east-1", "us-west-2")

    def test_equal_options_share_one_list(self) -> None:
        assert parse(ipfilteredby="aws").addresses is parse(ipfilteredby="aws").addresses

    @pytest.mark.parametrize(
        ("client_ip", "served"), [("192.168.1.2", False), ("192.168.0.2", True), ("", True), (None, True), ("x", True)]
    )
    def test_clients_inside_aws_are_not_served(self, client_ip: str | None, served: bool) -> None:
        addresses = AwsAddresses(fetch=lambda url: b'{"prefixes": [{"ip_prefix": "192.168.1.0/24"}]}')
        addresses.refresh()
        assert dataclasses.replace(parse(), addresses=addresses).serves(client_ip) is served

    def test_a_driver_sends_them_to_s3(self, parameters: Callable[..., DriverParameters]) -> None:
        addresses = AwsAddresses(fetch=lambda url: b'{"prefixes": [{"ip_prefix": "192.168.1.0/24"}]}')
        addresses.refresh()
        driver = S3Driver(parameters(), middleware=dataclasses.replace(parse(), addresses=addresses))
        assert "X-Amz-Signature" in str(driver.redirect_url("/x", client_ip="192.168.1.2"))
        assert "d111.cloudfront.net" in str(driver.redirect_url("/x", client_ip="192.168.2.2"))


@pytest.mark.parametrize(
    ("text", "seconds"), [("300ms", 0.3), ("1.5h", 5400), ("2h45m", 9900), ("20m", 1200), (".5s", 0.5), ("1m1m", 120)]
)
def test_durations_in_gos_syntax(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "20", "m", "20 m", "-5m", "0s", "1d", "1h-5m", "9" * 400 + "h", "1e3s", "٣m"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="invalid duration"):
        parse_duration(text)


@given(st.text(max_size=12))
def test_parsing_a_duration_raises_only_value_errors(text: str) -> None:
    try:
        assert parse_duration(text) > timedelta(0)
    except ValueError:
        return


def test_the_key_never_prints() -> None:
    assert PKCS1.splitlines()[1] not in repr(parse())


def test_it_is_not_pickled() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(parse())


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_driver_redirects_pulls_to_it_with_the_whole_key(
    parameters: Callable[..., DriverParameters], method: str
) -> None:
    driver = S3Driver(parameters(), middleware=parse())
    url = str(driver.redirect_url("/docker/x", method=method))
    assert url.startswith(f"https://d111.cloudfront.net/{driver.keys.root}/docker/x?Expires=")


def test_pushes_go_straight_to_s3(parameters: Callable[..., DriverParameters]) -> None:
    assert S3Driver(parameters(), middleware=parse()).redirect_url("/docker/x", method="PUT") is None
