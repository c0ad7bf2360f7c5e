"""What an unquoted word of YAML means to a registry, and how its driver turns a value into text.

A registry reads YAML 1.1 as the Go library yaml.v2 does: `yes` and `on` are booleans, `012` is ten, `1_000` a thousand,
`08` the float eight, and there are neither base-60 numbers nor dates. Every rule here was checked against registry 2.8.2
(tests/storagedriver/test_config_registry.py).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from decimal import Decimal

Value = str | int | float | bool | None

_WORDS: dict[str, bool | float | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}
INTEGER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+|0[0-7]*|[1-9][0-9]{0,19})")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_BASES = {"0x": 16, "0o": 8, "0b": 2}


@dataclass(frozen=True, slots=True)
class Scalar:
    """One scalar. `text` is without its quotes and may be a secret; `plain` says that it had none.

    `origin` tells where it stands: "line 7", or an environment variable's name.
    """

    text: str = field(repr=False)
    plain: bool = True
    origin: str = ""

    @property
    def value(self) -> Value:
        """Return what a registry reads here."""
        return resolve(self.text) if self.plain else self.text


def resolve(word: str) -> Value:
    """Return the value of an unquoted word."""
    if word in _WORDS:
        return _WORDS[word]
    if not re.match(r"[-+.0-9]", word):
        return word
    digits = word if word.startswith(".") else word.replace("_", "")
    if INTEGER.fullmatch(digits) and -(2**63) <= (number := integer(digits)) < 2**64:
        return number
    if _FLOAT.fullmatch(digits) and math.isfinite(real := float(digits)):
        return real
    return word


def integer(digits: str) -> int:
    """Return an integer as Go reads it: a leading zero means octal. Raises ValueError."""
    unsigned = digits.lstrip("+-").lower()
    base = _BASES.get(unsigned[:2]) or (8 if unsigned.startswith("0") else 10)
    return int(digits, base)


def go_text(value: Value) -> str:
    """Return the text that the registry's driver makes of a value: `true`, `10`, `1e+06`; "" for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    number = Decimal(repr(value)).normalize()
    exponent = number.adjusted() if value else 0
    if -4 <= exponent < 6:
        return "-0" if math.copysign(1, value) < 0 and not value else f"{number:f}"
    sign, digits, _ = number.as_tuple()
    fraction = "".join(map(str, digits[1:]))
    return f"{'-' if sign else ''}{digits[0]}{'.' if fraction else ''}{fraction}e{exponent:+03d}"
