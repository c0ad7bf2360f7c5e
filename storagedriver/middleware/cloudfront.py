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
from typing import Self
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from storagedriver.errors import ParameterErrors
from storagedriver.parameters import Secret

DEFAULT_DURATION = "20m"
MAX_PEM_BYTES = 64 * 1024
_UNITS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,  # the micro sign
    "μs": 1e-6,  # the Greek letter, which Go takes too
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_DURATION = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_URL_SAFE = str.maketrans("+=/", "-_~")


def parse_duration(text: str) -> timedelta:
    """Parse a positive duration in Go's syntax: `300ms`, `1.5h`, `2h45m`. Raises ValueError."""
    position, seconds = 0, 0.0
    while match := _DURATION.match(text, position):
        seconds += float(match[1]) * _UNITS[match[2]]
        position = match.end()
    if not text or position != len(text):
        raise ValueError(f"invalid duration: {text}; write a number with a unit, such as 20m or 1h30m")
    try:
        duration = timedelta(seconds=seconds)
    except OverflowError:
        raise ValueError(f"invalid duration: {text}; it is too long") from None
    if duration <= timedelta(0):
        raise ValueError(f"invalid duration: {text}; it must be more than zero")
    return duration


@dataclass(frozen=True)
class CloudFront:
    """Signs URLs of one distribution. `baseurl` ends in "/"; the private key never prints and is not pickled."""

    baseurl: str
    keypairid: str
    duration: timedelta
    privatekey: Secret
    _key: RSAPrivateKey = field(repr=False, compare=False)

    @classmethod
    def parse(cls, *, baseurl: str, keypairid: str, privatekey: str, duration: str = DEFAULT_DURATION) -> Self:
        """Validate the middleware's options. `privatekey` is the PEM text itself, PKCS#1 or PKCS#8, of an RSA key.

        Raises ParameterErrors with every error per option.
        """
        errors: dict[str, list[str]] = {}
        key: RSAPrivateKey | None = None
        lifetime = timedelta(0)
        url = baseurl.strip()
        if "://" not in url:
            url = f"https://{url}"
        if problem := _base_url_problem(baseurl, url):
            errors["baseurl"] = [problem]
        if not privatekey.strip():
            errors["privatekey"] = ["no privatekey provided; paste the PEM text of the key pair's private key"]
        else:
            try:
                key = load_rsa_key(privatekey)
            except ValueError as error:
                errors["privatekey"] = [str(error)]
        if not keypairid.strip():
            errors["keypairid"] = ["no keypairid provided; it is the ID of the public key in CloudFront"]
        elif not re.fullmatch(r"[A-Za-z0-9]+", keypairid.strip()):
            errors["keypairid"] = ["the keypairid consists of letters and digits, such as K2JCJMDEHXQW5F"]
        try:
            lifetime = parse_duration(duration.strip())
        except ValueError as error:
            errors["duration"] = [str(error)]
        if errors or key is None:
            raise ParameterErrors(errors)
        return cls(
            baseurl=url if url.endswith("/") else f"{url}/",
            keypairid=keypairid.strip(),
            duration=lifetime,
            privatekey=Secret(privatekey),
            _key=key,
        )

    def sign(self, key: str, expires: datetime | int | None = None) -> str:
        """Return the signed URL of a bucket key. `expires` is an aware datetime or Unix seconds; by default the duration."""
        if expires is None:
            expires = int(time.time() + self.duration.total_seconds())
        elif isinstance(expires, datetime):
            if expires.tzinfo is None:
                raise ValueError("expires must be an aware datetime")
            expires = int(expires.timestamp())
        resource = f"{self.baseurl}{key}"
        policy = f'{{"Statement":[{{"Resource":"{resource}","Condition":{{"DateLessThan":{{"AWS:EpochTime":{expires}}}}}}}]}}'
        # CloudFront accepts no other hash with a canned policy's default parameters.
        signature = self._key.sign(policy.encode(), padding.PKCS1v15(), SHA1())  # noqa: S303
        encoded = base64.b64encode(signature).decode().translate(_URL_SAFE)
        separator = "&" if "?" in resource else "?"
        return f"{resource}{separator}Expires={expires}&Signature={encoded}&Key-Pair-Id={self.keypairid}"


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


def _base_url_problem(given: str, url: str) -> str:
    if not given.strip():
        return "no baseurl provided; enter the distribution's address, such as https://d111.cloudfront.net"
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        return f"invalid baseurl: {error}"
    if parts.scheme not in {"http", "https"}:
        return f"invalid baseurl: it begins with {parts.scheme}://; CloudFront serves https:// and http://"
    if not host or not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", host):
        return f"invalid baseurl: {given.strip()} names no host; write https://d111.cloudfront.net"
    if parts.username is not None or parts.fragment or not re.fullmatch(r"[!-~]+", url) or '"' in url:
        return "invalid baseurl: use only scheme, host, port and path"
    return ""
