"""Pages of rows by keyset: a page is found by its neighbour's sort values, so the last page costs as much as the first."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.core.exceptions import FieldError, ValidationError
from django.db.models import Q, QuerySet

PAGE_ROWS = 100
MAX_INTEGER = 2**63 - 1  # of a column


@dataclass(frozen=True)
class KeysetPage:
    """A page of rows. `previous` and `next` are the `at` of its neighbours, empty where there is none."""

    rows: list[Any] = field(default_factory=list)
    previous: str = ""
    next: str = ""
    is_first: bool = True


def keyset_page(rows: QuerySet[Any], order: Sequence[str], at: str = "", size: int = PAGE_ROWS) -> KeysetPage:
    """Return the page of `rows` that `at` names, the first one for an empty or meaningless `at`.

    `order` are fields or annotations, none null, "-" for descending, together unique; all in one direction.
    """
    descending = order[0].startswith("-")
    names = [name.lstrip("-") for name in order]
    backwards, values = _decode(at, len(names))
    ascending = descending == backwards
    found: list[Any]
    try:
        window = rows.filter(_beyond(names, values, ascending)) if values else rows
        found = list(window.order_by(*(name if ascending else f"-{name}" for name in names))[: size + 1])
    except (FieldError, ValidationError, ValueError, TypeError, OverflowError):  # somebody wrote the address by hand
        backwards, values = False, []
        found = list(rows.order_by(*order)[: size + 1])
    more = len(found) > size
    found = found[:size]
    if backwards:
        found.reverse()
    if not found:
        return KeysetPage(is_first=not values)
    before = more if backwards else bool(values)
    after = bool(values) if backwards else more
    return KeysetPage(
        rows=found,
        previous=_encode("b", found[0], names) if before else "",
        next=_encode("a", found[-1], names) if after else "",
        is_first=not before,
    )


def _beyond(names: Sequence[str], values: Sequence[Any], ascending: bool) -> Q:
    """Return the condition "sorts after the given values", spelled out: SQLite and PostgreSQL then use the index."""
    operator = "gt" if ascending else "lt"
    condition = Q()
    for position, name in enumerate(names):
        equal = {names[earlier]: values[earlier] for earlier in range(position)}
        condition |= Q(**equal, **{f"{name}__{operator}": values[position]})
    # Implied by the rest, but alone it lets the database begin in the middle of its index.
    return Q(**{f"{names[0]}__{operator}e": values[0]}) & condition


def _encode(direction: str, row: Any, names: Sequence[str]) -> str:
    values = [getattr(row, name) for name in names]
    stored = [{"time": value.isoformat()} if isinstance(value, datetime) else value for value in values]
    return base64.urlsafe_b64encode(json.dumps([direction, *stored]).encode()).decode().rstrip("=")


def _decode(text: str, length: int) -> tuple[bool, list[Any]]:
    """Return whether the page lies before the values, and the values; none when the text is not ours."""
    try:
        document = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return False, []
    if not isinstance(document, list) or len(document) != length + 1 or document[0] not in ("a", "b"):
        return False, []
    try:
        return document[0] == "b", [_restore(value) for value in document[1:]]
    except (KeyError, TypeError, ValueError):
        return False, []


def _restore(value: Any) -> str | int | datetime:
    if isinstance(value, dict):
        moment = datetime.fromisoformat(value["time"])
        if moment.tzinfo is None:
            raise ValueError(value)
        return moment
    if isinstance(value, str):
        value.encode()  # no half of a surrogate pair, and no NUL: PostgreSQL stores neither
        if "\0" in value:
            raise ValueError(value)
        return value
    if not isinstance(value, int):
        raise TypeError(value)
    if abs(value) > MAX_INTEGER:
        raise ValueError(value)
    return value
