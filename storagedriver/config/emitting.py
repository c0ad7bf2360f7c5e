"""Values as YAML that every registry reads alike: strings quoted, numbers and booleans typed, nothing folded."""

from __future__ import annotations

import json
import math
import re

from storagedriver.config.document import Plain
from storagedriver.config.scalars import Value, resolve

INDENT = 2
_BARE_KEY = re.compile(r"[A-Za-z][A-Za-z0-9]*")
_BARE_TEXT = re.compile(r"[A-Za-z0-9/](?:[A-Za-z0-9._/+=:-]*[A-Za-z0-9._/+=-])?")


def inline(value: Plain) -> str:
    """Return a value on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key(name)}: {inline(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    return _scalar(value)


def block(value: Plain, indent: int) -> str:
    """Return a non-empty mapping or list as lines, each indented by `indent` spaces and ended."""
    margin = " " * indent
    if isinstance(value, dict):
        return "".join(f"{margin}{key(name)}:{tail(item, indent)}" for name, item in value.items())
    # An item's first line begins behind the dash, so its own margin goes.
    nested = (
        block(item, indent + INDENT) if item and isinstance(item, dict | list) else f"{inline(item)}\n"
        for item in value
    )
    return "".join(f"{margin}- {text.lstrip(' ')}" for text in nested)


def tail(value: Plain, indent: int) -> str:
    """Return what stands after a key's colon, and the lines below it."""
    if value and isinstance(value, dict | list):
        return f"\n{block(value, indent + INDENT)}"
    return f" {inline(value)}\n"


def key(name: str) -> str:
    """Return a key, quoted where a parser could take it for something else than text."""
    return name if _BARE_KEY.fullmatch(name) and isinstance(resolve(name), str) else _quote(name)


def variable(value: Plain) -> str:
    """Return a value for an environment variable: bare where it reads as itself, for many tools keep or drop quotes."""
    if isinstance(value, str) and _BARE_TEXT.fullmatch(value) and resolve(value) == value:
        return value
    return inline(value)


def _scalar(value: Value) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _quote(value)
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    return repr(value)


def _quote(text: str) -> str:
    """Quote as JSON does, which YAML reads, but leave letters of all scripts and escape what YAML does not print."""
    return "".join(
        char if char.isprintable() else f"\\U{ord(char):08x}" if ord(char) > 0xFFFF else json.dumps(char)[1:-1]
        for char in json.dumps(text, ensure_ascii=False)
    )
