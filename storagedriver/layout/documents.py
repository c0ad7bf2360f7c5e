"""JSON that somebody else wrote: read within limits, and made fit to be shown and stored."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any, NoReturn

from .errors import LayoutError, shown

KIB = 1024
MIB = 1024 * KIB
MAX_MANIFEST_BYTES = 4 * MIB  # the registry's own limit
MAX_CONFIG_BYTES = 8 * MIB
MAX_DEPTH = 32

# A NUL cannot be stored in a PostgreSQL text, a lone surrogate not even be encoded; both can be written in JSON.
_unstorable = re.compile("[\x00\ud800-\udfff]")


def read_object(
    content: bytes, *, what: str, limit: int, error: type[LayoutError], strict: bool = True
) -> dict[str, Any]:
    """Parse `content`, a JSON object of at most `limit` bytes, nested at most MAX_DEPTH deep; else raise `error`.

    `what` names it in the message ("manifest"). Strict: a key that comes twice, NaN and Infinity are errors; readers
    differ in what they make of these. Otherwise the last of the keys counts.
    """
    if len(content) > limit:
        raise error(f"The {what} has {len(content)} bytes; the limit is {limit // MIB} MiB.")
    hooks: dict[str, Any] = {"object_pairs_hook": _unique, "parse_constant": _refuse_constant} if strict else {}
    try:
        value = json.loads(content.decode(), **hooks)
    except RecursionError:
        raise error(_too_deep(what)) from None
    except _NotAllowedError as problem:
        raise error(f"The {what} {problem}.") from None
    except UnicodeDecodeError:
        raise error(f"The {what} is not JSON: it is not UTF-8 text.") from None
    except json.JSONDecodeError as problem:
        raise error(f"The {what} is not JSON: {problem.msg} at character {problem.pos}.") from None
    except ValueError:  # Python refuses to convert an integer of thousands of digits
        raise error(f"The {what} holds a number of thousands of digits.") from None
    if not isinstance(value, dict):
        raise error(f"The {what} is not a JSON object.")
    if _depth_exceeds(value, MAX_DEPTH):
        raise error(_too_deep(what))
    return value


def storable(text: str) -> str:
    """`text` with what a database cannot hold (NUL, lone surrogates) replaced by U+FFFD."""
    return _unstorable.sub("\ufffd", text)


class _NotAllowedError(ValueError):
    pass


def _unique(items: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(items)
    if len(fields) < len(items):
        twice, _ = Counter(key for key, _ in items).most_common(1)[0]
        raise _NotAllowedError(f"has the key {shown(twice)} twice")
    return fields


def _refuse_constant(name: str) -> NoReturn:
    raise _NotAllowedError(f"holds {name}, which is not JSON")


def _too_deep(what: str) -> str:
    return f"The {what} is nested more than {MAX_DEPTH} levels deep."


def _depth_exceeds(value: object, limit: int) -> bool:
    level: list[object] = [value]
    for _ in range(limit):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)  # type: ignore[attr-defined]
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True
