"""What a config.yml says about storage, typed.

Defaults are what a registry does when the section is absent. Durations are timedeltas.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar

from storagedriver.errors import ParameterErrors
from storagedriver.middleware.ranges import IP_RANGES_URL
from storagedriver.parameters import DriverParameters, ParameterWarning, Secret

IP_FILTERS = ("none", "aws", "awsregion")


@dataclass(frozen=True, kw_only=True)
class CloudFrontMiddleware:
    """The options of the cloudfront middleware. `privatekey` is a file's path on the registry's host, not the key."""

    name: ClassVar[str] = "cloudfront"
    baseurl: str
    privatekey: str
    keypairid: str
    duration: timedelta = timedelta(minutes=20)
    ipfilteredby: str = "none"
    awsregion: tuple[str, ...] = ()
    updatefrequency: timedelta = timedelta(hours=12)
    iprangesurl: str = IP_RANGES_URL
    disabled: bool = False


@dataclass(frozen=True, kw_only=True)
class RedirectMiddleware:
    """The option of the redirect middleware: every pull goes to `baseurl` and the driver's path."""

    name: ClassVar[str] = "redirect"
    baseurl: str
    disabled: bool = False


@dataclass(frozen=True, kw_only=True)
class RewriteMiddleware:
    """The options of the rewrite middleware, which changes parts of the URL the driver gives; "" leaves a part alone."""

    name: ClassVar[str] = "rewrite"
    scheme: str = ""
    host: str = ""
    trimpathprefix: str = ""
    disabled: bool = False


@dataclass(frozen=True, kw_only=True)
class UnknownMiddleware:
    """A middleware of which only the registry knows the meaning; its options may hold secrets and are not printed."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    disabled: bool = False


Middleware = CloudFrontMiddleware | RedirectMiddleware | RewriteMiddleware | UnknownMiddleware


@dataclass(frozen=True, kw_only=True)
class Redirect:
    """Whether pulls are streamed through the registry (`disable`) or sent to S3 or a middleware's URL."""

    disable: bool = False


@dataclass(frozen=True, kw_only=True)
class Delete:
    """Whether the registry's API deletes manifests and blobs."""

    enabled: bool = False


@dataclass(frozen=True, kw_only=True)
class UploadPurging:
    """The registry's own removal of uploads that nobody finished: older than `age`, every `interval`."""

    enabled: bool = True
    age: timedelta = timedelta(hours=168)
    interval: timedelta = timedelta(hours=24)
    dryrun: bool = False


@dataclass(frozen=True, kw_only=True)
class Maintenance:
    """Upload purging, and whether the registry refuses every write."""

    uploadpurging: UploadPurging = UploadPurging()
    readonly: bool = False


@dataclass(frozen=True, kw_only=True)
class Cache:
    """The blob descriptor cache: "inmemory", "redis", or another text for none. `blobdescriptorsize` <= 0: no limit."""

    blobdescriptor: str = ""
    blobdescriptorsize: int = 10_000


@dataclass(frozen=True, kw_only=True)
class Tag:
    """How many tags a registry 3 looks up at once; 0 is the number of CPUs."""

    concurrencylimit: int = 0


@dataclass(frozen=True, kw_only=True)
class RegistryConfig:
    """The sections of a registry's configuration that concern storage. `storage.version` is the registry's version.

    CloudFront stands first among the middlewares, however they are given: behind another one a registry skips it.
    Holds secrets in `storage`, which neither print nor pickle.
    """

    storage: DriverParameters
    middleware: tuple[Middleware, ...] = ()
    redirect: Redirect = Redirect()
    delete: Delete = Delete()
    maintenance: Maintenance = Maintenance()
    cache: Cache = Cache()
    tag: Tag = Tag()
    warnings: tuple[ParameterWarning, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        first = sorted(self.middleware, key=lambda entry: not isinstance(entry, CloudFrontMiddleware))
        object.__setattr__(self, "middleware", tuple(first))
        if self.version != "3" and self.tag != Tag():
            message = (
                f"a registry {self.version} takes the section tag for a second storage driver; use it with version 3"
            )
            raise ParameterErrors({"storage.tag": [message]})

    @property
    def version(self) -> str:
        """Return the version of the registry: 2.4, 2.8 or 3."""
        return self.storage.version

    def for_version(self, version: str) -> RegistryConfig:
        """Return the configuration with which another version does the same. Raises ParameterErrors where none does.

        What has no meaning there is left out, with a warning.
        """
        source, given = self.storage, parameter_values(self.storage)
        warnings: list[ParameterWarning] = []
        changes: dict[str, object] = {}
        if version == "3" != source.version and source.regionendpoint and source.forcepathstyle is None:
            # Before version 3 an endpoint alone meant path style.
            changes["forcepathstyle"] = True
        if version != "2.4" == source.version and not source.v4auth:
            changes["v4auth"] = True
            warnings.append(
                ParameterWarning("storage.s3.v4auth", "Set to true: registries 2.4 and 2.5 always sign with version 4.")
            )
        defaults = parameter_defaults(version)
        values = {name: value for name, value in given.items() if value != defaults.get(name)} | changes
        try:
            storage = DriverParameters.parse(values, version)
        except ParameterErrors as errors:
            raise ParameterErrors({f"storage.s3.{name}": messages for name, messages in errors.items()}) from None
        tag = self.tag
        if version != "3" and tag != Tag():
            tag = Tag()
            warnings.append(
                ParameterWarning("storage.tag", f"Left out: a registry {version} does not know this section.")
            )
        warnings += storage_warnings(storage)
        return dataclasses.replace(self, storage=storage, tag=tag, warnings=tuple(warnings))


def parameter_values(storage: DriverParameters) -> dict[str, Any]:
    """Return every parameter by its name in config.yml, secrets in clear text. None means that it is not set."""
    values: dict[str, Any] = {}
    for item in dataclasses.fields(storage):
        if item.name in {"version", "warnings"}:
            continue
        value = getattr(storage, item.name)
        values[item.name] = value.reveal() if isinstance(value, Secret) else value
    # A registry has no such parameter: the others tell. Only another source than they tell needs words.
    try:
        told = DriverParameters.parse({**values, "credentials": None}, storage.version).credentials
    except ParameterErrors:
        told = ""
    if told == storage.credentials:
        del values["credentials"]
    return values


@functools.cache
def parameter_defaults(version: str) -> dict[str, Any]:
    """Return what parameters are without a word about them; region and bucket have no default."""
    values = parameter_values(DriverParameters.parse({"region": "us-east-1", "bucket": "bucket"}, version))
    del values["region"], values["bucket"]
    return values


def storage_warnings(storage: DriverParameters) -> list[ParameterWarning]:
    """Return the parameters' warnings under their place in config.yml."""
    return [ParameterWarning(f"storage.s3.{name}", message) for name, message in storage.warnings]
