"""Turns the values of a registry's `storage.s3` section into typed fields, in the registry's order of checking."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from storagedriver.buckets import bucket_problems
from storagedriver.errors import ParameterErrors
from storagedriver.parts import GIB, MAX_PART_BYTES, MIN_PART_BYTES
from storagedriver.schema import (
    CONTROL,
    CREDENTIALS,
    DEFAULT_CHUNK_BYTES,
    DEFAULT_CONCURRENCY,
    DEFAULT_COPY_BYTES,
    DEFAULT_COPY_CONCURRENCY,
    EXTERNAL_ID,
    FALSE,
    FOREIGN,
    HOST,
    LOG_LEVELS,
    MAX_CONCURRENCY,
    MAX_NUMBER_LETTERS,
    MAX_ROOT_BYTES,
    OBJECT_ACLS,
    PARAMETERS,
    ROLE_ARN,
    SIGV2_REGIONS,
    STORAGE_CLASSES,
    TRUE,
    VERSIONS,
    ParameterWarning,
    is_amazon,
    known_regions,
    with_scheme,
)
from storagedriver.secret import Secret


class Parser:
    """One run over the values: collects the typed fields, the errors and the warnings."""

    def __init__(self, values: Mapping[str, object], version: str) -> None:
        self.values = {name: value for name, value in values.items() if value is not None}
        self.version = version
        self.errors: dict[str, list[str]] = {}
        self.warnings: list[ParameterWarning] = []

    def run(self) -> dict[str, Any]:
        self.check_names()
        endpoint = self.endpoint("regionendpoint")
        fields: dict[str, Any] = {
            "forcepathstyle": self.boolean("forcepathstyle", None),
            "regionendpoint": endpoint,
            "region": self.region(endpoint),
            "bucket": self.bucket(),
            "encrypt": self.boolean("encrypt", False),
            "secure": self.boolean("secure", True),
            "skipverify": self.boolean("skipverify", False),
            "v4auth": self.boolean("v4auth", self.version != "2.4"),
            "chunksize": self.integer("chunksize", DEFAULT_CHUNK_BYTES, MIN_PART_BYTES, MAX_PART_BYTES),
            "multipartcopychunksize": self.integer(
                "multipartcopychunksize", DEFAULT_COPY_BYTES, MIN_PART_BYTES, MAX_PART_BYTES
            ),
            "multipartcopymaxconcurrency": self.integer(
                "multipartcopymaxconcurrency", DEFAULT_COPY_CONCURRENCY, 1, 2**63 - 1
            ),
            "multipartcopythresholdsize": self.integer("multipartcopythresholdsize", DEFAULT_COPY_BYTES, 0, 5 * GIB),
            "concurrency": self.integer("concurrency", DEFAULT_CONCURRENCY, 1, MAX_CONCURRENCY),
            "storageclass": self.storage_class(),
            "storageclassblobsonly": self.boolean("storageclassblobsonly", False),
            "objectacl": self.choice("objectacl", "private", OBJECT_ACLS, "invalid value for objectacl parameter: {}"),
            "usedualstack": self.boolean("usedualstack", False),
            "accelerate": self.boolean("accelerate", False),
            "usefipsendpoint": self.boolean("usefipsendpoint", False),
            "loglevel": self.log_level(),
            "rootdirectory": self.root_directory(),
            "useragent": self.text("useragent"),
            "keyid": self.text("keyid"),
            "accesskey": self.text("accesskey"),
            "secretkey": Secret(self.text("secretkey")),
            "sessiontoken": Secret(self.text("sessiontoken")),
            "profile": self.text("profile"),
            "rolearn": self.text("rolearn"),
            "externalid": self.text("externalid"),
            "stsendpoint": self.endpoint("stsendpoint"),
        }
        fields["credentials"] = self.credentials(fields)
        self.check_signature(fields)
        fields["redirectendpoint"] = self.redirect_endpoint()
        self.check_acceleration(fields)
        self.advise(fields)
        if self.errors:
            raise ParameterErrors(self.errors)
        fields["warnings"] = tuple(self.warnings)
        return fields

    def error(self, name: str, message: str) -> None:
        self.errors.setdefault(name, []).append(message)

    def warn(self, name: str, message: str) -> None:
        self.warnings.append(ParameterWarning(name, message))

    def check_names(self) -> None:
        for name in map(str, self.values):
            since = PARAMETERS.get(name)
            if since is None and name in FOREIGN:
                self.warn(name, f"{name} is in no release of the registry; ignored.")
            elif since is None:
                near = difflib.get_close_matches(name.lower(), PARAMETERS, n=1)
                self.warn(name, f"Unknown parameter; ignored.{f' Did you mean {near[0]}?' if near else ''}")
            elif since and VERSIONS.index(since) > VERSIONS.index(self.version):
                self.warn(name, f"A registry of version {self.version} ignores {name}; only Wharfinger uses it.")

    def text(self, name: str) -> str:
        text = str(self.values.get(name, "")).strip() if name != "rootdirectory" else str(self.values.get(name, ""))
        if CONTROL.search(text):
            self.error(name, f"the {name} parameter contains a control character; enter it on one line without tabs")
            return ""
        return text

    def boolean(self, name: str, default: bool | None) -> bool | None:
        value = self.values.get(name, default)
        if isinstance(value, bool) or value is None:
            return value
        if isinstance(value, str) and value in TRUE | FALSE:
            return value in TRUE
        self.error(name, f"the {name} parameter should be a boolean; write true or false")
        return default

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        value = self.values.get(name, default)
        try:
            if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
                raise ValueError(value)
            if isinstance(value, str) and len(value) > MAX_NUMBER_LETTERS:  # Python writes no number of 4,301 digits
                raise ValueError(value)
            number = int(value.strip(), 0) if isinstance(value, str) else int(value)  # type: ignore[call-overload]
        except (TypeError, ValueError, OverflowError):
            self.error(name, f"{name} parameter must be an integer, {value} invalid; write bytes, such as {default}")
            return default
        if not low <= number <= high:
            if name == "chunksize" and self.version == "2.4" and number < low:
                text = f"The chunksize {number} parameter should be a number that is larger than or equal to {low}"
            else:
                text = f"the {name} {number} parameter should be a number between {low} and {high} (inclusive)"
            self.error(name, text)
            return default
        return number

    def choice(self, name: str, default: str, choices: Iterable[str], message: str) -> str:
        value = self.values.get(name, default)
        if isinstance(value, str) and value in choices:
            return value
        self.error(name, f"{message.format(value)}; use one of {', '.join(choices)}")
        return default

    def log_level(self) -> str:
        """Return the level, "off" for whatever is none: the registry refuses nothing here."""
        level = self.values.get("loglevel")
        return level.lower() if isinstance(level, str) and level.lower() in LOG_LEVELS else "off"

    def storage_class(self) -> str:
        value = self.values.get("storageclass", "STANDARD")
        classes = STORAGE_CLASSES[self.version]
        if isinstance(value, str) and value.upper() in classes:
            return value.upper()
        message = f"the storageclass parameter must be one of [{' '.join(classes)}], {value} invalid"
        if isinstance(value, str) and value.upper() in STORAGE_CLASSES["3"]:
            message += f"; a registry of version {self.version} refuses it"
        elif isinstance(value, str) and value.upper() in {"GLACIER", "DEEP_ARCHIVE"}:
            message += "; archived objects cannot be pulled"
        self.error("storageclass", message)
        return "STANDARD"

    def region(self, endpoint: str) -> str:
        region = self.text("region")
        amazon = not endpoint or is_amazon(urlsplit(with_scheme(endpoint, secure=True)).hostname or "")
        if not region and "region" not in self.errors:
            if endpoint and not amazon and self.version == "3":
                return "us-east-1"
            advice = "most S3-compatible services take us-east-1" if endpoint else "use the bucket's, such as us-east-1"
            self.error("region", f"no region parameter provided; {advice}")
        elif not re.fullmatch(
            r"[A-Za-z0-9]([A-Za-z0-9_-]{0,62}[A-Za-z0-9])?" if endpoint else r"[a-z0-9-]{1,63}", region
        ):
            self.error("region", f"invalid region provided: {region}; it looks like us-east-1")
        elif amazon and region not in known_regions():
            near = difflib.get_close_matches(region, known_regions(), n=1)
            self.warn("region", f"{region} is not a known region.{f' Did you mean {near[0]}?' if near else ''}")
        return region

    def bucket(self) -> str:
        bucket = self.text("bucket")
        if not bucket:
            self.error("bucket", "no bucket parameter provided; enter the name of an existing bucket")
            return bucket
        for problem in bucket_problems(bucket):
            self.error("bucket", problem)
        return bucket

    def endpoint(self, name: str) -> str:
        """Return an endpoint as host or scheme://host, with an optional port and nothing else."""
        endpoint = self.text(name)
        if not endpoint:
            return ""
        try:
            parts = urlsplit(with_scheme(endpoint, secure=True))
            host, _port = parts.hostname or "", parts.port
            if ":" in host:
                ip_address(host)
        except ValueError as problem:
            self.error(name, f"unable to parse {name}: {problem}; write https://host or https://host:port")
            return ""
        if parts.scheme not in {"http", "https"}:
            self.error(name, f"the {name} parameter should begin with http:// or https://, not {parts.scheme}://")
        elif not host or not HOST.fullmatch(f"[{host}]" if ":" in host else host):
            self.error(name, f"no host specified for {name}; write https://host or https://host:port")
        elif parts.username is not None or parts.password is not None:
            self.error(name, f"{name} cannot contain a user or password; use accesskey and secretkey")
        elif parts.path not in {"", "/"}:
            self.error(name, f"{name} cannot contain a base path: {parts.path}; keys go under rootdirectory")
        elif parts.query or parts.fragment:
            self.error(name, f"{name} cannot contain query parameters")
        return endpoint.removesuffix("/")

    def redirect_endpoint(self) -> str:
        endpoint = self.text("redirectendpoint")
        if endpoint and "://" not in endpoint:
            self.error("redirectendpoint", "no scheme specified for redirectendpoint; write https://host")
            return ""
        return self.endpoint("redirectendpoint")

    def root_directory(self) -> str:
        root = self.text("rootdirectory")
        if {".", ".."} & set(root.split("/")):
            self.error("rootdirectory", 'the rootdirectory parameter must not contain "." or ".." as a folder')
        if len(root.encode()) > MAX_ROOT_BYTES:
            self.error("rootdirectory", f"the rootdirectory parameter has at most {MAX_ROOT_BYTES} bytes")
        return root

    def credentials(self, fields: Mapping[str, Any]) -> str:
        """Return the source. A half-filled pair of keys, or a name that belongs to another source, is an error."""
        keys = {name for name in ("accesskey", "secretkey") if fields[name]}
        implied = "role" if fields["rolearn"] else "profile" if fields["profile"] else "static" if keys else "chain"
        source = self.text("credentials") or implied
        if source not in CREDENTIALS:
            self.error(
                "credentials", f"the credentials parameter must be one of {', '.join(CREDENTIALS)}, {source} invalid"
            )
            return source
        if source == "static" or (source == "role" and keys):
            for name in sorted({"accesskey", "secretkey"} - keys - self.errors.keys()):
                self.error(name, f"no {name} parameter provided; {source} credentials need accesskey and secretkey")
        elif source == "chain" and keys:
            self.error("credentials", "accesskey and secretkey are set; remove them to use this server's own identity")
        elif source == "profile" and keys:
            self.error("credentials", "accesskey and secretkey are set; remove them to use a profile")
        if source == "profile" and not fields["profile"]:
            self.error("profile", "no profile parameter provided; name one of this server's AWS configuration")
        if source == "role" and not ROLE_ARN.fullmatch(fields["rolearn"]):
            self.error(
                "rolearn",
                f"invalid rolearn provided: {fields['rolearn']}; it looks like arn:aws:iam::123456789012:role/registry",
            )
        if fields["externalid"] and not EXTERNAL_ID.fullmatch(fields["externalid"]):
            self.error("externalid", "the externalid parameter has 2 to 1,224 letters, digits and +=,.@:/-_")
        if keys and fields["profile"] and source == "role":
            self.error("profile", "a role is assumed with keys or with a profile; remove one of them")
        for name, sources in (
            ("profile", {"profile", "role"}),
            ("rolearn", {"role"}),
            ("externalid", {"role"}),
            ("stsendpoint", {"role"}),
        ):
            if fields[name] and source not in sources and name not in self.errors:
                self.error(name, f"{name} does not go with {source} credentials; remove it, or change credentials")
        return source

    def check_acceleration(self, fields: Mapping[str, Any]) -> None:
        if not fields["accelerate"] or fields["regionendpoint"]:
            return
        if "." in fields["bucket"]:
            self.error("accelerate", "transfer acceleration takes no bucket name with a dot; set accelerate to false")
        if fields["forcepathstyle"]:
            self.error(
                "accelerate", "transfer acceleration knows no path style; set accelerate or forcepathstyle to false"
            )
        if fields["usefipsendpoint"]:
            self.error(
                "accelerate", "transfer acceleration has no FIPS endpoints; set accelerate or usefipsendpoint to false"
            )

    def check_signature(self, fields: Mapping[str, Any]) -> None:
        endpoint, region = fields["regionendpoint"], fields["region"]
        amazon = not endpoint or is_amazon(urlsplit(with_scheme(endpoint, secure=True)).hostname or "")
        if fields["v4auth"]:
            return
        if amazon and self.version != "2.4":
            self.error(
                "v4auth", "on Amazon S3 this storage driver can only be used with v4 authentication; set v4auth to true"
            )
        elif amazon and region and region not in SIGV2_REGIONS:
            self.error("v4auth", f"region {region} takes only signature version 4; set v4auth to true")
        elif amazon:
            self.warn(
                "v4auth",
                "Amazon refuses signature version 2 on buckets made after 24 June 2020; set v4auth to true."
                " (Registries 2.4 and 2.5 always sign with version 4, whatever v4auth says.)",
            )
        else:
            self.warn("v4auth", "Signature version 2 is deprecated and many services refuse it; set v4auth to true.")

    def advise(self, fields: Mapping[str, Any]) -> None:
        amazon_default = not fields["regionendpoint"]
        cases = (
            (fields["keyid"] and not fields["encrypt"], "keyid", "keyid is ignored unless encrypt is true."),
            (
                fields["skipverify"],
                "skipverify",
                "TLS certificates are not verified: anyone between can read and alter images.",
            ),
            (
                not fields["secure"] and amazon_default,
                "secure",
                "Requests travel unencrypted; set secure to true.",
            ),
            (
                "secure" in self.values
                and fields["regionendpoint"].startswith("http://" if fields["secure"] else "https://"),
                "secure",
                "regionendpoint names the scheme, so secure is ignored.",
            ),
            (
                self.version == "3" and not amazon_default and fields["forcepathstyle"] is None,
                "forcepathstyle",
                "A registry 3 uses virtual-hosted addresses unless forcepathstyle is true; Wharfinger uses path style here.",
            ),
            *(
                (
                    fields[name] and not amazon_default,
                    name,
                    f"{name} has no effect, because regionendpoint is set.",
                )
                for name in ("accelerate", "usedualstack", "usefipsendpoint")
            ),
            (
                fields["credentials"] == "role"
                and not (fields["accesskey"] or fields["profile"] or fields["externalid"]),
                "externalid",
                "Whoever may enter roles here can use any that trusts this server; let roles demand an externalid.",
            ),
            (
                fields["storageclassblobsonly"] and fields["storageclass"] in {"NONE", "STANDARD"},
                "storageclassblobsonly",
                "storageclassblobsonly has no effect on STANDARD.",
            ),
            (fields["sessiontoken"], "sessiontoken", "The registry never reads sessiontoken; only Wharfinger uses it."),
            (
                fields["objectacl"] == "none",
                "objectacl",
                "none is Wharfinger's own; a registry refuses it: use bucket-owner-full-control there.",
            ),
            (
                fields["objectacl"].startswith("public-"),
                "objectacl",
                "Every object becomes readable by anyone who knows its address.",
            ),
            (
                fields["storageclass"] == "REDUCED_REDUNDANCY",
                "storageclass",
                "REDUCED_REDUNDANCY is deprecated: it loses objects and costs more than STANDARD.",
            ),
            (
                fields["storageclass"] in {"STANDARD_IA", "ONEZONE_IA", "GLACIER_IR"}
                and not fields["storageclassblobsonly"],
                "storageclass",
                "Small link objects are billed as 128 KB each in this class; with storageclassblobsonly they stay STANDARD.",
            ),
            (
                fields["loglevel"] != "off",
                "loglevel",
                "loglevel has no effect here; set the level of the botocore logger.",
            ),
        )
        for applies, name, message in cases:
            if applies:
                self.warn(name, message)
