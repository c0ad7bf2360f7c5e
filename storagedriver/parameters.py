"""Every parameter of the driver: parse, coerce, validate, defaults by registry version.

Names, limits and order of checking are those of the registry's `storage.s3` section. `version` names the registry whose
rules apply: "2.4" (2.4 and 2.5), "2.8" (2.6 to 2.8) or "3". All errors are reported at once, per field; what is
accepted but ignored, deprecated or harmful gives a warning with its reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from storagedriver.buckets import BUCKET_RULES, Rule, bucket_problems
from storagedriver.parsing import Parser
from storagedriver.schema import (
    DEFAULT_CHUNK_BYTES,
    DEFAULT_CONCURRENCY,
    DEFAULT_COPY_BYTES,
    DEFAULT_COPY_CONCURRENCY,
    OBJECT_ACLS,
    PARAMETERS,
    STORAGE_CLASSES,
    VERSIONS,
    ParameterWarning,
    is_amazon,
    known_regions,
    with_scheme,
)
from storagedriver.secret import Secret

__all__ = [
    "BUCKET_RULES",
    "DEFAULT_CHUNK_BYTES",
    "OBJECT_ACLS",
    "PARAMETERS",
    "STORAGE_CLASSES",
    "VERSIONS",
    "DriverParameters",
    "ParameterWarning",
    "Rule",
    "Secret",
    "bucket_problems",
    "known_regions",
]


@dataclass(frozen=True, kw_only=True)
class DriverParameters:
    """The driver's parameters, typed. Sizes are bytes. Make one with `parse`, which validates."""

    bucket: str
    region: str
    accesskey: str = ""
    secretkey: Secret = field(default_factory=lambda: Secret(""))
    sessiontoken: Secret = field(default_factory=lambda: Secret(""))
    credentials: str = "static"
    profile: str = ""
    rolearn: str = ""
    externalid: str = ""
    stsendpoint: str = ""
    regionendpoint: str = ""
    encrypt: bool = False
    keyid: str = ""
    secure: bool = True
    skipverify: bool = False
    v4auth: bool = True
    chunksize: int = DEFAULT_CHUNK_BYTES
    multipartcopychunksize: int = DEFAULT_COPY_BYTES
    multipartcopymaxconcurrency: int = DEFAULT_COPY_CONCURRENCY
    multipartcopythresholdsize: int = DEFAULT_COPY_BYTES
    rootdirectory: str = ""
    concurrency: int = DEFAULT_CONCURRENCY
    storageclass: str = "STANDARD"
    storageclassblobsonly: bool = False
    objectacl: str = "private"
    useragent: str = ""
    forcepathstyle: bool | None = None
    accelerate: bool = False
    usedualstack: bool = False
    usefipsendpoint: bool = False
    loglevel: str = "off"
    redirectendpoint: str = ""
    version: str = "2.4"
    warnings: tuple[ParameterWarning, ...] = field(default=(), compare=False)

    @classmethod
    def parse(cls, values: Mapping[str, object], version: str = "2.4") -> DriverParameters:
        """Validate the values of a registry's `storage.s3` section. Raises ParameterErrors with every error per field.

        An absent key and None mean the default. Unknown names are ignored with a warning.
        """
        if version not in VERSIONS:
            raise ValueError(f"version must be one of {', '.join(VERSIONS)}, not {version!r}")
        return cls(**Parser(values, version).run(), version=version)

    @property
    def amazon(self) -> bool:
        """Say whether the endpoint is Amazon's."""
        return not self.regionendpoint or is_amazon(urlsplit(self.endpoint_url or "").hostname or "")

    @property
    def endpoint_url(self) -> str | None:
        """Return the endpoint with its scheme, or None where the region decides."""
        return with_scheme(self.regionendpoint, secure=self.secure) if self.regionendpoint else None

    @property
    def sts_url(self) -> str | None:
        """Return the endpoint of the service that gives out roles, None for Amazon's in the region."""
        return with_scheme(self.stsendpoint, secure=self.secure) if self.stsendpoint else None

    @property
    def endpoint_host(self) -> str:
        """Return host and port for messages."""
        return urlsplit(self.endpoint_url).netloc if self.endpoint_url else f"s3.{self.region}.amazonaws.com"

    @property
    def addressing_style(self) -> str:
        """Return "path" or "virtual". By itself: path for endpoints that are not Amazon's, as those expect it.

        A bucket with a dot needs path style over https, because no certificate covers its host name.
        """
        if self.accelerate and not self.regionendpoint:
            return "virtual"
        if self.forcepathstyle is not None:
            return "path" if self.forcepathstyle else "virtual"
        encrypted = (self.endpoint_url or ("https:" if self.secure else "http:")).startswith("https:")
        return "path" if not self.amazon or (encrypted and "." in self.bucket) else "virtual"
