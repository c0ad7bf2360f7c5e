"""From typed sections to a config.yml, new or as changes to one that exists, and to environment variables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta

from storagedriver.config.document import ConfigError, MappingNode, Node, ScalarNode, SequenceNode, parse_document
from storagedriver.config.editing import REMOVE, Items, Patch, apply_patch, arrange, patched, plain_node, same
from storagedriver.config.emitting import variable
from storagedriver.config.environment import PREFIX, VERBATIM
from storagedriver.config.reading import EMPTY, S3_DRIVERS, parse_config, reserved
from storagedriver.config.scalars import go_text
from storagedriver.config.sections import (
    CloudFrontMiddleware,
    Middleware,
    RedirectMiddleware,
    RegistryConfig,
    RewriteMiddleware,
    parameter_values,
)
from storagedriver.errors import ParameterErrors
from storagedriver.middleware.cloudfront import MISSPELT_FREQUENCY
from storagedriver.parameters import PARAMETERS, DriverParameters

_MICROSECOND = timedelta(microseconds=1)
_UNITS = (("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("us", 1))
_WHOLE = frozenset({"redirect", "uploadpurging", "readonly"})  # a registry wants these complete or not at all


def render_config(config: RegistryConfig, document: str | bytes = EMPTY) -> str:
    """Return `document` made to say what `config` says, for a registry of `config.version`; secrets in clear text.

    Only values that differ are written; comments, unknown keys and other sections stay as they are, byte for byte. What is
    new is written with strings quoted, numbers and booleans typed. Raises ConfigError if the document cannot be read.
    """
    text, root = parse_document(document)
    before = _parsed(text, config.version)
    driver, others = _drivers(root, config.version)
    wanted = _sections(config, driver)
    if before is not None:
        patch = _changes(_sections(before, driver), wanted)
    else:
        patch = patched(_changes(_defaults(config.version, driver), wanted), _restated(wanted, root))
    storage = patch.setdefault("storage", {})
    if misread := _misread(_at(root, "storage", driver), wanted["storage"][driver]):
        storage[driver] = misread | storage.get(driver, {})
    if parameters := storage.get(driver):
        parameters.setdefault("credentials", REMOVE)
    storage |= dict.fromkeys(others, REMOVE)
    declared = _at(root, "version")
    if not isinstance(declared, ScalarNode) or declared.scalar.text != "0.1":
        patch["version"] = "0.1"
    text, middlewares = _middlewares(text, root, before, config.middleware)
    return apply_patch(text, {**patch, **middlewares})


def render_environment(config: RegistryConfig) -> dict[str, str]:
    """Return the variables that say what `config` says, over any config.yml; secrets in clear text.

    REGISTRY_STORAGE empties the section first. What a registry takes only as a whole is one variable.
    """
    found: Patch = {"STORAGE": "s3"}
    for section, values in _changes(_defaults(config.version, "s3"), _sections(config, "s3"))["storage"].items():
        for name, value in values.items():
            found[f"STORAGE_{section}_{name}".upper()] = value
    found["MIDDLEWARE_STORAGE"] = [_entry(middleware) for middleware in config.middleware]
    return {f"{PREFIX}{name}": variable(value) for name, value in found.items()}


def duration_text(duration: timedelta) -> str:
    """Return a duration in Go's syntax: `168h`, `1h30m`, `1500us`."""
    rest, parts = duration // _MICROSECOND, []
    for unit, size in _UNITS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def _sections(config: RegistryConfig, driver: str) -> Patch:
    """Return everything but the middlewares as it stands in a config.yml, defaults included."""
    purging, cache = config.maintenance.uploadpurging, config.cache
    values = parameter_values(config.storage)
    storage: Patch = {
        driver: {name: values[name] for name in sorted(values, key=list(PARAMETERS).index)},
        "delete": {"enabled": config.delete.enabled},
        "redirect": {"disable": config.redirect.disable},
        "cache": {"blobdescriptor": cache.blobdescriptor, "blobdescriptorsize": cache.blobdescriptorsize},
        "maintenance": {
            "uploadpurging": {
                "enabled": purging.enabled,
                "age": duration_text(purging.age),
                "interval": duration_text(purging.interval),
                "dryrun": purging.dryrun,
            },
            "readonly": {"enabled": config.maintenance.readonly},
        },
    }
    if config.version == "3":
        storage["tag"] = {"concurrencylimit": config.tag.concurrencylimit}
    return {"storage": storage}


def _defaults(version: str, driver: str) -> Patch:
    """Return what a registry does without a word about it."""
    minimal = DriverParameters.parse({"region": "us-east-1", "bucket": "bucket"}, version)
    sections = _sections(RegistryConfig(storage=minimal), driver)
    del sections["storage"][driver]["region"], sections["storage"][driver]["bucket"]
    return sections


def _changes(before: Patch, after: Patch) -> Patch:
    """Return the patch that makes `after` of `before`."""
    found: Patch = {name: REMOVE for name in before if name not in after}
    for name, value in after.items():
        old = before.get(name)
        if name in before and same(old, value):
            continue
        if isinstance(old, dict) and isinstance(value, dict) and name not in _WHOLE:
            found[name] = _changes(old, value)
        else:
            found[name] = value
    return found


def _restated(wanted: Patch, node: Node | None) -> Patch:
    """Return the wanted values of what the document has, whatever it says there."""
    found: Patch = {}
    for name, value in wanted.items():
        inner = _at(node, name)
        if inner is not None:
            nested = isinstance(value, dict) and isinstance(inner, MappingNode) and name not in _WHOLE
            found[name] = _restated(value, inner) if nested else value
    return found


def _misread(node: Node | None, wanted: Patch) -> Patch:
    """Return what the document means but a registry reads otherwise, such as a secret key that looks like a number."""
    if not isinstance(node, MappingNode):
        return {}
    found = {name: entry.node.scalar for name, entry in node.entries.items() if isinstance(entry.node, ScalarNode)}
    return {
        name: wanted[name]
        for name, scalar in found.items()
        if (name in VERBATIM and go_text(scalar.value) != wanted.get(name, ""))
        or (isinstance(scalar.value, float) and isinstance(wanted.get(name), int))
    }


def _parsed(text: str, version: str) -> RegistryConfig | None:
    """Return what the document says already, None where a registry of this version would refuse it."""
    try:
        return parse_config(text, version)
    except (ConfigError, ParameterErrors):
        return None


def _at(node: Node | None, *path: str) -> Node | None:
    for name in path:
        if not isinstance(node, MappingNode) or name not in node.entries:
            return None
        node = node.entries[name].node
    return node


def _drivers(root: Node | None, version: str) -> tuple[str, list[str]]:
    """Return the name under which the document has S3, or shall have it, and the drivers that must go."""
    storage = _at(root, "storage")
    names = (
        [name for name in storage.entries if name not in reserved(version)] if isinstance(storage, MappingNode) else []
    )
    driver = next((name for name in names if name in S3_DRIVERS[:2]), "s3")
    return driver, [name for name in names if name != driver]


def _middlewares(
    text: str, root: Node | None, before: RegistryConfig | None, wanted: tuple[Middleware, ...]
) -> tuple[str, Patch]:
    """Return the text with its middlewares in the wanted order, and the patch of the section."""
    current = _at(root, "middleware", "storage")
    if current is None and not wanted:
        return text, {}
    items = current.items if isinstance(current, SequenceNode) else []
    names = [_at(item, "name") for item in items]
    have = _numbered(name.scalar.text if isinstance(name, ScalarNode) else "" for name in names)
    numbers = _numbered(middleware.name for middleware in wanted)
    known = (
        dict(zip(_numbered(entry.name for entry in before.middleware), before.middleware, strict=True))
        if before
        else {}
    )
    kept = {
        number: _entry_patch(known.get(number), new)
        for number, new in zip(numbers, wanted, strict=True)
        if number in have
    }
    order = [have.index(number) if number in kept else _entry(new) for number, new in zip(numbers, wanted, strict=True)]
    if isinstance(current, SequenceNode) and (order == list(range(len(items))) or (order and not current.flow)):
        changes = Items({numbers.index(number): patch for number, patch in kept.items() if patch})
        return arrange(text, current, order), {"middleware": {"storage": changes}} if changes else {}
    whole = [
        patched(plain_node(items[place]), kept[number]) if isinstance(place, int) else place
        for number, place in zip(numbers, order, strict=True)
    ]
    return text, {"middleware": {"storage": whole}}


def _numbered(names: Iterable[str]) -> list[tuple[str, int]]:
    """Tell entries of one name apart: the first, the second."""
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        found.append((name, seen[name]))
        seen[name] += 1
    return found


def _entry_patch(old: Middleware | None, new: Middleware) -> Patch:
    """Return the patch of an entry, which is about everything where the old one could not be read."""
    patch: Patch = {}
    if old is None or old.disabled != new.disabled:
        patch["disabled"] = new.disabled
    options = _changes(_options(old) if old else {}, _options(new))
    if "updatefrequency" in options and isinstance(new, CloudFrontMiddleware):
        options[MISSPELT_FREQUENCY] = REMOVE
    return patch | ({"options": options} if options else {})


def _entry(middleware: Middleware) -> Patch:
    """Return an entry as it is written anew."""
    options = _options(middleware)
    if isinstance(middleware, CloudFrontMiddleware):
        needed = ("baseurl", "privatekey", "keypairid", "duration")
        usual = _options(CloudFrontMiddleware(baseurl="", privatekey="", keypairid=""))
        options = {name: value for name, value in options.items() if name in needed or value != usual[name]}
    elif isinstance(middleware, RewriteMiddleware):
        options = {name: value for name, value in options.items() if value}
    disabled: Patch = {"disabled": True} if middleware.disabled else {}
    return {"name": middleware.name, **disabled, "options": options}


def _options(middleware: Middleware) -> Patch:
    """Return every option as it stands in a config.yml, defaults included."""
    if isinstance(middleware, CloudFrontMiddleware):
        return {
            "baseurl": middleware.baseurl,
            "privatekey": middleware.privatekey,
            "keypairid": middleware.keypairid,
            "duration": duration_text(middleware.duration),
            "ipfilteredby": middleware.ipfilteredby,
            "awsregion": ",".join(middleware.awsregion),
            "updatefrequency": duration_text(middleware.updatefrequency),
            "iprangesurl": middleware.iprangesurl,
        }
    if isinstance(middleware, RedirectMiddleware):
        return {"baseurl": middleware.baseurl}
    if isinstance(middleware, RewriteMiddleware):
        return {
            "scheme": middleware.scheme,
            "host": middleware.host,
            "trimpathprefix": middleware.trimpathprefix,
        }
    return dict(middleware.options)
