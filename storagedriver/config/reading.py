"""From a configuration's tree to typed sections: every error at once, a warning for each thing a registry reads otherwise."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from datetime import timedelta

from storagedriver.config import structure
from storagedriver.config.document import ConfigError, Tree, children, parse_document, plain_of, tree_of
from storagedriver.config.environment import VERBATIM, apply_environment, conform
from storagedriver.config.middlewares import read_middlewares
from storagedriver.config.problems import Problems, Section
from storagedriver.config.scalars import INTEGER, Scalar, go_text, integer
from storagedriver.config.sections import (
    Cache,
    Delete,
    Maintenance,
    Redirect,
    RegistryConfig,
    Tag,
    UploadPurging,
    parameter_defaults,
    storage_warnings,
)
from storagedriver.errors import ParameterErrors
from storagedriver.parameters import PARAMETERS, VERSIONS, DriverParameters, ParameterWarning

EMPTY = "version: 0.1\n"
S3_DRIVERS = ("s3", "s3aws", "s3goamz")
LOG_LEVELS = ("error", "warn", "info", "debug")
_DECIMAL = re.compile(r"[-+]?[0-9]{1,19}")
_PURGE_TROUBLE = "Unable to parse upload purge configuration: "


def parse_config(
    text: str | bytes = EMPTY, version: str = "2.4", environment: Mapping[str, str] | None = None
) -> RegistryConfig:
    """Read a config.yml under REGISTRY_* variables (others are not looked at), as a registry of `version` reads them.

    Raises ConfigError where nothing can be read, ParameterErrors with every refused value by its place in the file.
    """
    problems = Problems()
    tree = load(text, version, environment or {}, problems.warnings)
    return _Reader(tree, version, problems).read()


def reserved(version: str) -> tuple[str, ...]:
    """Return the keys of the storage section that are not drivers."""
    return ("maintenance", "cache", "delete", "redirect", *(("tag",) if version == "3" else ()))


def load(
    text: str | bytes, version: str, environment: Mapping[str, str], warnings: list[ParameterWarning]
) -> dict[str, Tree]:
    """Return the configuration as a tree: the file, then the environment, in the shape that a registry demands.

    Raises ConfigError. Appends to `warnings`.
    """
    if version not in VERSIONS:
        raise ValueError(f"version must be one of {', '.join(VERSIONS)}, not {version!r}")
    root = parse_document(text)[1]
    tree = children(tree_of(root)) if root else {}
    declared = tree.get("version", Scalar(""))
    if not isinstance(declared, Scalar) or declared.text != "0.1":
        raise ConfigError(
            f'unsupported version: "{getattr(declared, "text", "")}"; the file needs the line version: 0.1'
        )
    fields = structure.configuration(version).fields
    for name in ("storage", "auth", "middleware"):
        if name in tree:
            tree[name] = conform(fields[name], tree[name], name)
    if len(found := drivers(tree, version)) > 1:
        raise ConfigError(f"must provide exactly one storage type. Provided: [{' '.join(found)}]; remove all but one")
    tree, ignored = apply_environment(tree, environment, version)
    warnings += ignored
    found = drivers(tree, version)
    if len(found) > 1:
        raise ConfigError(
            f"multiple storage drivers specified in configuration or environment: {', '.join(found)};"
            f" set REGISTRY_STORAGE={found[-1]} to drop what the file says"
        )
    if not found:
        raise ConfigError("no storage configuration provided; write storage: with s3: below it")
    check_log_level(tree)
    return tree


def drivers(tree: Mapping[str, Tree], version: str) -> list[str]:
    """Return the names of the storage drivers in the tree."""
    return [name for name in children(tree.get("storage")) if name not in reserved(version)]


def check_log_level(tree: Mapping[str, Tree]) -> None:
    """Refuse a log level that keeps a registry from starting."""
    for level in (children(tree.get("log")).get("level"), tree.get("loglevel")):
        if isinstance(level, Scalar) and level.text and level.text.lower() not in LOG_LEVELS:
            raise ConfigError(
                f"invalid loglevel {level.text} Must be one of [{', '.join(LOG_LEVELS)}] ({level.origin})"
            )


class _Reader:
    """One reading of a tree."""

    def __init__(self, tree: dict[str, Tree], version: str, problems: Problems) -> None:
        self.tree, self.version, self.problems = tree, version, problems
        self.storage = children(tree["storage"])

    def read(self) -> RegistryConfig:
        self.check_names()
        storage = self.parameters()
        redirect, delete, cache = self.redirect(), self.delete(), self.cache()
        maintenance = self.maintenance()
        tag = self.tag() if self.version == "3" else Tag()
        entries = children(self.tree.get("middleware")).get("storage")
        found = read_middlewares(entries if isinstance(entries, list) else [], self.version, self.problems)
        if storage is None or self.problems.errors:
            raise ParameterErrors(self.problems.errors)
        return RegistryConfig(
            storage=storage,
            middleware=found,
            redirect=redirect,
            delete=delete,
            maintenance=maintenance,
            cache=cache,
            tag=tag,
            warnings=(*self.problems.warnings, *storage_warnings(storage)),
        )

    def check_names(self) -> None:
        known = structure.configuration(self.version).fields
        for name in [name for name in self.tree if name not in known]:
            near = difflib.get_close_matches(name.lower(), known, n=1)
            self.problems.warn(
                name, f"A registry {self.version} ignores this.{f' Did you mean {near[0]}?' if near else ''}"
            )

    def section(self, name: str, *known: str) -> Section:
        return Section(self.problems, f"storage.{name}", children(self.storage.get(name)), known)

    def parameters(self) -> DriverParameters | None:
        """Return the driver's parameters, None after an error."""
        (driver,) = drivers(self.tree, self.version)
        if driver not in S3_DRIVERS or (driver == "s3goamz" and self.version != "2.4"):
            self.problems.error("storage", f"the storage driver is {driver}; Wharfinger works with s3 only")
            return None
        given = children(self.storage[driver])
        values: dict[str, object] = {}
        refused: set[str] = set()
        for name, tree in given.items():
            if name not in PARAMETERS:
                values[name] = plain_of(tree)  # unknown: the parameters' own check says so
            elif isinstance(tree, Scalar):
                values[name] = self.parameter(name, tree)
            else:
                refused.add(name)
                kind = "mapping" if isinstance(tree, dict) else "list"
                self.problems.error(f"storage.s3.{name}", f"{name} must be a single value, not a {kind}")
        try:
            return DriverParameters.parse(values, self.version)
        except ParameterErrors as errors:
            for name, messages in errors.items():
                for message in () if name in refused else messages:
                    self.problems.error(f"storage.s3.{name}", message, given.get(name))
            return None

    def parameter(self, name: str, scalar: Scalar) -> object:
        """Return the value that a registry's driver works with."""
        value = scalar.value
        if value is None:
            return None
        place = f"storage.s3.{name}"
        if name in VERBATIM:
            if go_text(value) != scalar.text:
                message = f"A registry reads a number or a word of YAML in {name}, not this text; put it in quotes."
                self.problems.warn(place, message, scalar)
            return scalar.text
        default = parameter_defaults("3").get(name, "")
        if isinstance(default, bool | None) or name in {"storageclass", "objectacl", "loglevel"}:
            return value
        if isinstance(default, int):
            return self.integer(name, scalar)
        if (text := go_text(value)) != scalar.text:
            self.problems.warn(place, f"A registry reads {text} here; put the text that is meant in quotes.", scalar)
        return text

    def integer(self, name: str, scalar: Scalar) -> object:
        value, place = scalar.value, f"storage.s3.{name}"
        if isinstance(value, float) and value.is_integer():
            self.problems.warn(place, f"A registry refuses a fraction or an exponent here; write {value:.0f}.", scalar)
        elif isinstance(value, int) and scalar.plain and re.match(r"[-+]?0_*[0-7]", scalar.text):
            self.problems.warn(place, f"A leading zero makes this octal; write {value}.", scalar)
        elif isinstance(value, str) and self.version == "3":
            if _DECIMAL.fullmatch(value.strip()):
                return int(value)
            self.problems.warn(
                place, "A registry 3 reads only the decimal digits at the beginning; write them alone.", scalar
            )
        elif isinstance(value, str) and INTEGER.fullmatch(value.replace("_", "")):
            return integer(value.replace("_", ""))
        return value

    def redirect(self) -> Redirect:
        section = self.section("redirect", "disable")
        if "redirect" in self.storage and "disable" not in section:
            section.error("disable", "invalid type for redirect config; write disable: true or disable: false below it")
        return Redirect(disable=bool(section.boolean("disable", "invalid type for redirect config")))

    def delete(self) -> Delete:
        section = self.section("delete", "enabled")
        enabled = section.value("enabled")
        if not isinstance(enabled, bool) and "enabled" in section:
            section.warn("enabled", "Only true without quotes switches deletion on; a registry takes this for false.")
        return Delete(enabled=enabled is True)

    def cache(self) -> Cache:
        section = self.section("cache", "blobdescriptor", "blobdescriptorsize", "layerinfo")
        name = "blobdescriptor" if "blobdescriptor" in section or "layerinfo" not in section else "layerinfo"
        kind = section.value(name)
        if "cache" in self.storage and not (isinstance(kind, str) and kind in {"", "inmemory", "redis"}):
            section.warn(name, "Neither inmemory nor redis: a registry runs without a cache.")
        if kind == "redis" and not self.tree.get("redis"):
            section.warn(name, "A registry refuses to start with this cache unless it has a section redis.")
        if self.version != "3" and "blobdescriptorsize" in section:
            section.warn("blobdescriptorsize", f"A registry {self.version} ignores the cache's size.")
        size = section.value("blobdescriptorsize")
        text = go_text(size) if isinstance(size, str | int) else ""
        if size is not None and not _DECIMAL.fullmatch(text):
            section.error(
                "blobdescriptorsize", f"invalid blobdescriptorsize value {text}; write a number, such as 10000"
            )
        elif text:
            return Cache(blobdescriptor=kind if isinstance(kind, str) else "", blobdescriptorsize=int(text))
        return Cache(blobdescriptor=kind if isinstance(kind, str) else "")

    def tag(self) -> Tag:
        section = self.section("tag", "concurrencylimit")
        limit = section.value("concurrencylimit")
        if limit is None:
            return Tag()
        if isinstance(limit, bool) or not isinstance(limit, int):
            message = "tag lookup concurrency limit config key must have a integer value; write it without quotes"
        elif limit < 0:
            message = "tag lookup concurrency limit should be a non-negative integer value; 0 is the number of CPUs"
        else:
            return Tag(concurrencylimit=limit)
        section.error("concurrencylimit", message)
        return Tag()

    def maintenance(self) -> Maintenance:
        section = self.section("maintenance", "uploadpurging", "readonly")
        for name in ("uploadpurging", "readonly"):
            if name in section and not isinstance(section.at(name), dict):
                section.error(name, f"{name} config key must contain additional keys; write enabled: below it")
        purging, readonly = section.at("uploadpurging"), section.at("readonly")
        return Maintenance(
            uploadpurging=self.upload_purging(purging) if isinstance(purging, dict) else UploadPurging(),
            readonly=self.readonly(readonly) if isinstance(readonly, dict) else False,
        )

    def readonly(self, values: dict[str, Tree]) -> bool:
        section = Section(self.problems, "storage.maintenance.readonly", values, ("enabled",))
        return bool(section.boolean("enabled", "readonly's enabled config key must have a boolean value"))

    def upload_purging(self, values: dict[str, Tree]) -> UploadPurging:
        place = "storage.maintenance.uploadpurging"
        section = Section(self.problems, place, values, ("enabled", "age", "interval", "dryrun"))
        if section.value("enabled") is False:
            # A registry looks no further; what can be read here is kept for the day it is switched on.
            section = Section(Problems(), place, values, values)
            return self.purging(section, enabled=False)
        if "enabled" in section and section.value("enabled") is not True:
            section.warn("enabled", "Only false without quotes switches purging off; a registry takes this for true.")
        for name, example in (("age", "168h"), ("interval", "24h"), ("dryrun", "false")):
            if name not in section:
                section.error(name, f"{_PURGE_TROUBLE}{name} missing; write {name}: {example}")
        return self.purging(section, enabled=True)

    def purging(self, section: Section, *, enabled: bool) -> UploadPurging:
        default = UploadPurging()
        found: dict[str, timedelta] = {"age": default.age, "interval": default.interval}
        for name, fallback in found.items():
            if isinstance(section.value(name), str):
                found[name] = section.duration(name, f"{_PURGE_TROUBLE}Cannot parse {name}: {{}}") or fallback
            elif name in section:
                section.error(name, f"{_PURGE_TROUBLE}{name} is not a string; write a unit, such as 24h")
        dry_run = section.boolean("dryrun", f"{_PURGE_TROUBLE}cannot parse dryrun")
        return UploadPurging(enabled=enabled, dryrun=bool(dry_run), **found)
