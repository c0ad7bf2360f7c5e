"""The list under `middleware: storage:`, typed. The options' own rules are those of `storagedriver.middleware`."""

from __future__ import annotations

import re
from typing import Any

from storagedriver.config.document import Tree, children, plain_of
from storagedriver.config.problems import Problems, Section
from storagedriver.config.scalars import Scalar
from storagedriver.config.sections import (
    IP_FILTERS,
    CloudFrontMiddleware,
    Middleware,
    RedirectMiddleware,
    RewriteMiddleware,
    UnknownMiddleware,
)
from storagedriver.errors import ParameterErrors
from storagedriver.middleware.cloudfront import (
    DEFAULT_DURATION,
    DEFAULT_UPDATE_FREQUENCY,
    MISSPELT_FREQUENCY,
    OPTIONS,
)
from storagedriver.middleware.options import Options, split_base_url
from storagedriver.middleware.ranges import IP_RANGES_URL
from storagedriver.middleware.redirect import Redirect
from storagedriver.middleware.rewrite import Rewrite

_SINCE_2_7 = ("ipfilteredby", "awsregion", "updatefrequency", MISSPELT_FREQUENCY, "iprangesurl")


def read_middlewares(entries: list[Tree], version: str, problems: Problems) -> tuple[Middleware, ...]:
    """Return the entries in their order. What is wrong with them goes to `problems`."""
    found: list[Middleware] = []
    for index, entry in enumerate(entries):
        section = Section(problems, f"middleware.storage[{index}]", children(entry), ("name", "disabled", "options"))
        try:
            found += _read(section, version, problems)
        except ParameterErrors as refused:
            options = children(section.at("options"))
            for name, messages in refused.items():
                for message in messages:
                    problems.error(f"{section.place}.options.{name}", message, options.get(name))
    if any(isinstance(entry, CloudFrontMiddleware) for entry in found[1:]) and found[0].name != "cloudfront":
        problems.warn("middleware.storage", "A registry skips cloudfront behind another middleware; it is put first.")
    return tuple(found)


def _read(entry: Section, version: str, problems: Problems) -> list[Middleware]:
    """Return the entry, nothing after an error in itself. Raises ParameterErrors about its options."""
    named = entry.at("name")
    name = named.text if isinstance(named, Scalar) else ""
    if not name:
        entry.error("name", "a storage middleware has no name; write name: cloudfront, redirect or rewrite")
        return []
    disabled = entry.value("disabled") is not None and bool(entry.boolean("disabled", "disabled must be a boolean"))
    if disabled:
        entry.warn("disabled", f"A registry ignores disabled: {name} stays active there. Remove the entry instead.")
    trees = children(entry.at("options"))
    options = {key: plain_of(value) for key, value in trees.items()}
    if name == "redirect":
        warnings = Redirect.parse(**options).warnings
        found: Middleware = RedirectMiddleware(baseurl=options["baseurl"].strip(), disabled=disabled)
    elif name == "rewrite":
        if version != "3":
            entry.warn("name", f"A registry {version} has no middleware rewrite and refuses to start with it.")
        rewrite = Rewrite.parse(**options)
        warnings = rewrite.warnings
        found = RewriteMiddleware(
            scheme=rewrite.scheme, host=rewrite.host, trimpathprefix=rewrite.trimpathprefix, disabled=disabled
        )
    elif name == "cloudfront":
        given = Options(options, OPTIONS)
        found = _cloudfront(given, version, disabled=disabled)
        warnings = tuple(given.warnings)
    else:
        entry.warn("name", f"No registry has a storage middleware {name} of its own; kept as it is.")
        return [UnknownMiddleware(name=name, options=options, disabled=disabled)]
    for option, message in warnings:
        problems.warn(f"{entry.place}.options.{option}", message, trees.get(option))
    return [found]


def _cloudfront(given: Options, version: str, *, disabled: bool) -> CloudFrontMiddleware:
    if version == "2.4":
        for name in filter(given.has, _SINCE_2_7):
            given.warn(name, f"a registry 2.4 ignores {name}; only Wharfinger uses it")
    baseurl = given.text("baseurl", required="enter the distribution's address, such as https://d111.cloudfront.net")
    _check_url(given, "baseurl", baseurl)
    privatekey = given.text("privatekey", required="enter the path of its PEM file on the registry's host")
    if "-----BEGIN" in privatekey:
        given.refuse("privatekey", "privatekey is the path of a PEM file on the registry's host, not the key itself")
    filtered = given.text("ipfilteredby", wrong=_filters(" with")).lower() or "none"
    if filtered not in IP_FILTERS:
        given.refuse("ipfilteredby", _filters(""))
    wrong = "awsRegion must be a comma separated string of valid aws regions"
    names = given.text("awsregion", wrong=wrong).lower().split(",")
    regions = tuple(name.strip() for name in names if name.strip())
    if filtered == "awsregion" and not regions:
        given.refuse("awsregion", "awsRegion is not defined; list the regions, such as us-east-1,us-west-2")
    elif not all(re.fullmatch(r"[a-z0-9-]+", region) for region in regions):
        given.refuse("awsregion", f"{wrong}, such as us-east-1,us-west-2")
    iprangesurl = given.text("iprangesurl") or IP_RANGES_URL
    _check_url(given, "iprangesurl", iprangesurl)
    values: dict[str, Any] = {
        "keypairid": given.text("keypairid", required="it is the ID of the public key in CloudFront"),
        "duration": given.duration("duration", DEFAULT_DURATION),
        "updatefrequency": given.duration(_frequency(given, version), DEFAULT_UPDATE_FREQUENCY),
    }
    given.check()
    return CloudFrontMiddleware(
        baseurl=baseurl,
        privatekey=privatekey,
        ipfilteredby=filtered,
        awsregion=regions,
        iprangesurl=iprangesurl,
        disabled=disabled,
        **values,
    )


def _frequency(given: Options, version: str) -> str:
    """Return under which name the update frequency stands."""
    if given.has(MISSPELT_FREQUENCY):
        if version == "2.8":
            given.warn(MISSPELT_FREQUENCY, "a registry 2.8 takes this for the duration of signed URLs")
        else:
            given.warn(MISSPELT_FREQUENCY, "misspelt, and goes before updatefrequency; write updatefrequency")
        return MISSPELT_FREQUENCY
    if given.has("updatefrequency") and version == "2.8":
        given.warn("updatefrequency", "a registry 2.8 ignores this and reads the addresses every 12 hours")
    return "updatefrequency"


def _check_url(given: Options, name: str, url: str) -> None:
    try:
        if url:
            split_base_url(url if "://" in url else f"https://{url}")
    except ValueError as problem:
        given.refuse(name, f"invalid {name}: {problem}")


def _filters(extra: str) -> str:
    return f"ipfilteredby only allows a string{extra} the following value: none|aws|awsregion"
