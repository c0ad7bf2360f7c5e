"""The shape of a registry's configuration, as far as environment variables need it to find their way.

Field names are the ones of config.yml. A field that is none of Struct, Mapping and List takes one word.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

WORD: Final = "word"  # a text, number, boolean or duration
ANY: Final = "any"  # whatever YAML says


@dataclass(frozen=True)
class Struct:
    """Named fields; what has another name is ignored."""

    fields: dict[str, Kind]


@dataclass(frozen=True)
class Mapping:
    """Free names, all with values of one kind. `shorthand`: one word stands for a mapping with that one empty key."""

    values: Kind
    shorthand: bool = False


@dataclass(frozen=True)
class List:
    """Values of one kind."""

    items: Kind


Kind = str | Struct | Mapping | List

PARAMETERS = Mapping(ANY)


def _words(*names: str) -> dict[str, Kind]:
    return dict.fromkeys(names, WORD)


def _hook() -> Struct:
    smtp = Struct(_words("addr", "username", "password", "insecure"))
    mail = Struct({"smtp": smtp, "from": WORD, "to": List(WORD)})
    return Struct({**_words("disabled", "type"), "levels": List(WORD), "options": mail})


def _endpoint() -> Struct:
    return Struct(
        {
            **_words("name", "disabled", "url", "timeout", "threshold", "backoff"),
            "headers": Mapping(List(WORD)),
            "ignoredmediatypes": List(WORD),
            "ignore": Struct({"mediatypes": List(WORD), "actions": List(WORD)}),
        }
    )


def _health() -> Struct:
    file = _words("interval", "file", "threshold")
    http = {**_words("timeout", "interval", "uri", "threshold"), "headers": Mapping(List(WORD))}
    tcp = _words("timeout", "interval", "addr", "threshold")
    return Struct(
        {
            "filecheckers": List(Struct(file)),
            "httpcheckers": List(Struct(http)),
            "tcpcheckers": List(Struct(tcp)),
            "storagedriver": Struct(_words("enabled", "interval", "threshold")),
        }
    )


def _http(version: str) -> Struct:
    lets_encrypt: dict[str, Kind] = {**_words("cachefile", "email", "directoryurl"), "hosts": List(WORD)}
    tls = {
        **_words("certificate", "key", "clientauth", "minimumtls"),
        "clientcas": List(WORD),
        "ciphersuites": List(WORD),
        "letsencrypt": Struct(lets_encrypt),
    }
    fields = {
        **_words("addr", "net", "host", "prefix", "secret", "relativeurls", "draintimeout"),
        "tls": Struct(tls),
        "headers": Mapping(List(WORD)),
        "debug": Struct({"addr": WORD, "prometheus": Struct(_words("enabled", "path"))}),
        "http2": Struct(_words("disabled")),
    }
    if version == "3":
        fields["h2c"] = Struct(_words("enabled"))
    return Struct(fields)


def _redis(version: str) -> Struct:
    if version != "3":
        pool = Struct(_words("maxidle", "maxactive", "idletimeout"))
        v2 = ("addr", "username", "password", "db", "dialtimeout", "readtimeout", "writetimeout")
        return Struct({**_words(*v2), "pool": pool})
    names = (
        *("clientname", "db", "protocol", "username", "password", "sentinelusername", "sentinelpassword"),
        *("maxretries", "minretrybackoff", "maxretrybackoff", "dialtimeout", "readtimeout", "writetimeout"),
        *("contexttimeoutenabled", "poolfifo", "poolsize", "pooltimeout", "minidleconns", "maxidleconns"),
        *("maxactiveconns", "connmaxidletime", "connmaxlifetime", "maxredirects", "readonly", "routebylatency"),
        *("routerandomly", "mastername", "disableindentity", "identitysuffix", "unstableresp3"),
    )
    options: dict[str, Kind] = {**_words(*names), "addrs": List(WORD)}
    tls: Kind = Struct({**_words("certificate", "key"), "rootcas": List(WORD), "clientcas": List(WORD)})
    return Struct({**options, "options": Struct(options), "tls": tls})


def configuration(version: str) -> Struct:
    """Return the shape for a registry's version."""
    log: dict[str, Kind] = {
        **_words("level", "formatter", "reportcaller"),
        "accesslog": Struct(_words("disabled")),
        "fields": PARAMETERS,
        "hooks": List(_hook()),
    }
    proxy: dict[str, Kind] = {
        **_words("remoteurl", "username", "password", "ttl", "cachewritetimeout"),
        "exec": Struct(_words("command", "lifetime")),
    }
    manifests = Struct(
        {
            "urls": Struct({"allow": List(WORD), "deny": List(WORD)}),
            "indexes": Struct({"platforms": WORD, "platformlist": List(Struct(_words("architecture", "os")))}),
        }
    )
    fields: dict[str, Kind] = {
        **_words("version", "loglevel"),
        "log": Struct(log),
        "storage": Mapping(PARAMETERS, shorthand=True),
        "auth": Mapping(PARAMETERS, shorthand=True),
        "middleware": Mapping(List(Struct({**_words("name", "disabled"), "options": PARAMETERS}))),
        "http": _http(version),
        "notifications": Struct(
            {"events": Struct(_words("includereferences")), "endpoints": List(_endpoint())},
        ),
        "redis": _redis(version),
        "health": _health(),
        "catalog": Struct(_words("maxentries")),
        "proxy": Struct(proxy),
        "validation": Struct({**_words("enabled", "disabled"), "manifests": manifests}),
        "policy": Struct({"repository": Struct({"classes": List(WORD)})}),
    }
    if version == "3":
        fields["tags"] = Struct(_words("maxtags"))
    else:
        fields["reporting"] = Struct(
            {
                "bugsnag": Struct(_words("apikey", "releasestage", "endpoint")),
                "newrelic": Struct(_words("licensekey", "name", "verbose")),
            }
        )
        fields["compatibility"] = Struct({"schema1": Struct(_words("trustkey", "enabled"))})
    return Struct(fields)
