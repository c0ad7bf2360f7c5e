"""The CloudFront middleware: options, and signatures equal to botocore's."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
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
from storagedriver.middleware.cloudfront import CloudFront, parse_duration

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


def parse(**options: str) -> CloudFront:
    given = {"baseurl": "https://d111.cloudfront.net", "keypairid": KEY_PAIR, "privatekey": PKCS1}
    return CloudFront.parse(**given | options)


def refuse(**options: str) -> ParameterErrors:
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
