"""The CloudFront middleware: signed URLs for pulls. Pushes go straight to S3.

The signed resource is the base URL and the complete bucket key, root directory included, so the distribution's Origin
Path must be empty. Signatures use the canned policy with RSA-SHA1, as
https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/private-content-creating-signed-url-canned-policy.html
demands, and equal those of botocore's CloudFrontSigner byte for byte.
"""

from __future__ import annotations

import base64
import re
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import IPv4Network
from pathlib import Path
from typing import Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from storagedriver.middleware.options import Options, split_base_url
from storagedriver.middleware.ranges import IP_RANGES_URL, AwsAddresses, Fetch, download, shared_addresses
from storagedriver.parameters import ParameterWarning, Secret

DEFAULT_DURATION = "20m"
DEFAULT_UPDATE_FREQUENCY = "12h"
MAX_PEM_BYTES = 64 * 1024
MISSPELT_FREQUENCY = "updatefrenquency"
OPTIONS = (
    "baseurl",
    "privatekey",
    "keypairid",
    "duration",
    "ipfilteredby",
    "awsregion",
    "updatefrequency",
    MISSPELT_FREQUENCY,
    "iprangesurl",
)
_URL_SAFE = str.maketrans("+=/", "-_~")


@dataclass(frozen=True)
class CloudFront:
    """Signs URLs of one distribution. `baseurl` ends in "/"; the private key never prints and is not pickled.

    `addresses` are those that fetch from S3 directly; None sends everybody to CloudFront.
    """

    baseurl: str
    keypairid: str
    duration: timedelta
    privatekey: Secret
    _key: RSAPrivateKey = field(repr=False, compare=False)
    addresses: AwsAddresses | None = None
    warnings: tuple[ParameterWarning, ...] = field(default=(), compare=False)

    @classmethod
    def parse(cls, *, key_files: bool = False, fetch: Fetch = download, **options: object) -> Self:
        """Validate the middleware's options; `fetch` gets the address ranges. Makes no request.

        `privatekey` is the PEM text itself, PKCS#1 or PKCS#8, of an RSA key. Only with `key_files`, for options that
        come from this machine's own configuration, it may be the path of a file instead, as registries have it.
        Raises ParameterErrors with every error per option.
        """
        given = Options(options, OPTIONS)
        baseurl = _base_url(given)
        pem, key = _private_key(given, key_files=key_files)
        keypairid = given.text("keypairid", required="it is the ID of the public key in CloudFront")
        if keypairid and not re.fullmatch(r"[A-Za-z0-9]+", keypairid):
            given.refuse("keypairid", "the keypairid consists of letters and digits, such as K2JCJMDEHXQW5F")
        duration = given.duration("duration", DEFAULT_DURATION)
        addresses = _addresses(given, fetch)
        given.check()
        if key is None:
            raise AssertionError("a key that was not refused was loaded")
        return cls(baseurl, keypairid, duration, Secret(pem), key, addresses, tuple(given.warnings))

    def serves(self, client_ip: str | None) -> bool:
        """Say whether a client is sent to CloudFront: always, unless `ipfilteredby` finds its address inside AWS."""
        return self.addresses is None or not client_ip or client_ip not in self.addresses

    def sign(self, key: str, expires: datetime | int | None = None, *, ip_address: str | None = None) -> str:
        """Return the signed URL of a bucket key.

        `expires` is an aware datetime or Unix seconds; by default the duration. With `ip_address`, an IPv4 address or
        network, the URL works from there only; that takes the longer custom policy, and no registry does it.
        """
        if expires is None:
            expires = int(time.time() + self.duration.total_seconds())
        elif isinstance(expires, datetime):
            if expires.tzinfo is None:
                raise ValueError("expires must be an aware datetime")
            expires = int(expires.timestamp())
        resource = f"{self.baseurl}{key}"
        condition = f'"DateLessThan":{{"AWS:EpochTime":{expires}}}'
        if ip_address is not None:
            try:
                source = IPv4Network(ip_address, strict=False)
            except ValueError as error:
                raise ValueError(f"a CloudFront policy names an IPv4 address or network only: {error}") from None
            condition += f',"IpAddress":{{"AWS:SourceIp":"{source}"}}'
        policy = f'{{"Statement":[{{"Resource":"{resource}","Condition":{{{condition}}}}}]}}'.encode()
        # CloudFront accepts no other hash with a canned policy's default parameters.
        signature = self._key.sign(policy, padding.PKCS1v15(), SHA1())  # noqa: S303
        terms = f"Expires={expires}" if ip_address is None else f"Policy={_encode(policy)}"
        separator = "&" if "?" in resource else "?"
        return f"{resource}{separator}{terms}&Signature={_encode(signature)}&Key-Pair-Id={self.keypairid}"


def load_rsa_key(pem: str) -> RSAPrivateKey:
    """Load an unencrypted RSA key from PEM text, PKCS#1 or PKCS#8. Raises ValueError saying what to do."""
    if len(pem) > MAX_PEM_BYTES:
        raise ValueError("failed to decode private key as an rsa private key; this is too long to be one")
    try:
        key = load_pem_private_key(pem.strip().encode(), password=None)
    except TypeError:
        raise ValueError("the private key is encrypted; decrypt it: openssl rsa -in key.pem -out plain.pem") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError(
            "failed to decode private key as an rsa private key; paste the whole file, with its BEGIN and END lines"
        ) from None
    if not isinstance(key, RSAPrivateKey):
        raise ValueError(
            "failed to decode private key as an rsa private key; this is another kind of key: make a 2048-bit RSA pair"
        )
    return key


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode().translate(_URL_SAFE)


def _base_url(given: Options) -> str:
    url = given.text("baseurl", required="enter the distribution's address, such as https://d111.cloudfront.net")
    if not url:
        return ""
    if "://" not in url:
        url = f"https://{url}"
    try:
        split_base_url(url)
    except ValueError as error:
        given.refuse("baseurl", f"invalid baseurl: {error}")
    return url if url.endswith("/") else f"{url}/"


def _private_key(given: Options, *, key_files: bool) -> tuple[str, RSAPrivateKey | None]:
    pem = given.text("privatekey", required="paste the PEM text of the key pair's private key")
    try:
        if pem and key_files and "-----BEGIN" not in pem:
            pem = _read_key_file(pem)
        return pem, load_rsa_key(pem) if pem else None
    except ValueError as error:
        given.refuse("privatekey", str(error))
        return "", None


def _read_key_file(name: str) -> str:
    """Return the text of a key file. Raises ValueError; its words come from the system, never from the file."""
    try:
        path = Path(name)
        if path.exists() and not path.is_file():
            raise OSError("it is no regular file")
        with path.open("rb") as file:
            return file.read(MAX_PEM_BYTES + 1).decode("latin-1")
    except OSError as error:
        raise ValueError(f"failed to read privatekey file: {error}") from None


def _addresses(given: Options, fetch: Fetch) -> AwsAddresses | None:
    """Read the four options of address filtering; they are checked even when filtering is off."""
    allowed = "a string {}the following value: none|aws|awsregion"
    filtered_by = given.text("ipfilteredby", wrong=f"ipfilteredby only allows {allowed.format('with ')}").lower()
    if filtered_by not in {"", "none", "aws", "awsregion"}:
        given.refuse("ipfilteredby", f"ipfilteredby only allows {allowed.format('')}")
    frequency_name = "updatefrequency"
    if given.has(MISSPELT_FREQUENCY):
        frequency_name = MISSPELT_FREQUENCY
        given.warn(
            MISSPELT_FREQUENCY,
            "a misspelling of updatefrequency that takes precedence over it; registries 2.7 and 2.8 read only this one,"
            " and use it for duration",
        )
    frequency = given.duration(frequency_name, DEFAULT_UPDATE_FREQUENCY)
    url = given.text("iprangesurl") or IP_RANGES_URL
    try:
        split_base_url(url)
    except ValueError as error:
        given.refuse("iprangesurl", f"invalid iprangesurl: {error}")
    regions = _regions(given) if filtered_by == "awsregion" else ()
    if given.errors or filtered_by in {"", "none"}:
        return None
    return shared_addresses(url, regions, frequency, fetch)


def _regions(given: Options) -> tuple[str, ...]:
    if not given.has("awsregion"):
        given.refuse("awsregion", "awsRegion is not defined; list the regions, such as us-east-1,us-west-2")
        return ()
    wrong = "awsRegion must be a comma separated string of valid aws regions"
    text = given.text("awsregion", wrong=wrong)
    regions = tuple(region.strip().lower() for region in text.split(","))
    if "awsregion" not in given.errors and not all(re.fullmatch(r"[a-z0-9-]+", region) for region in regions):
        given.refuse("awsregion", f"{wrong}, such as us-east-1,us-west-2")
    return regions
