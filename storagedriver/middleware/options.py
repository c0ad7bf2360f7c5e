"""Reading a middleware's options: every error per option at once, and a warning for what has no effect."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from urllib.parse import SplitResult, urlsplit

from storagedriver.errors import ParameterErrors
from storagedriver.parameters import ParameterWarning

_UNITS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,  # the micro sign
    "μs": 1e-6,  # the Greek letter, which Go takes too
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_DURATION = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")


def parse_duration(text: str, name: str = "duration") -> timedelta:
    """Parse a positive duration in Go's syntax: `300ms`, `1.5h`, `2h45m`. Raises ValueError naming the option."""
    position, seconds = 0, 0.0
    while match := _DURATION.match(text, position):
        seconds += float(match[1]) * _UNITS[match[2]]
        position = match.end()
    if not text or position != len(text):
        raise ValueError(f"invalid {name}: {text}; write a number with a unit, such as 20m or 1h30m")
    try:
        duration = timedelta(seconds=seconds)
    except OverflowError:
        raise ValueError(f"invalid {name}: {text}; it is too long") from None
    if duration <= timedelta(0):
        raise ValueError(f"invalid {name}: {text}; it must be more than zero")
    return duration


class Options:
    """The options of one middleware as they are read; `check` raises what was wrong."""

    def __init__(self, values: Mapping[str, object], known: Iterable[str]) -> None:
        # A key without a value in YAML is None, and means what an absent key means.
        self._values = {name: value for name, value in values.items() if value is not None}
        self.errors: dict[str, list[str]] = {}
        self.warnings: list[ParameterWarning] = []
        names = list(known)
        for name in self._values:
            if name not in names:
                near = difflib.get_close_matches(str(name).lower(), names, n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                self.warn(str(name), f"unknown option, ignored{hint}")

    def refuse(self, name: str, message: str) -> None:
        """Note an error of an option."""
        self.errors.setdefault(name, []).append(message)

    def warn(self, name: str, message: str) -> None:
        """Note a warning about an option."""
        self.warnings.append(ParameterWarning(name, message))

    def has(self, name: str) -> bool:
        """Say whether an option is given."""
        return name in self._values

    def text(self, name: str, *, required: str = "", wrong: str = "") -> str:
        """Return an option's text, stripped, "" when absent or refused.

        `required` says what to do when it is missing; `wrong` replaces the words for what is not a text.
        """
        value = self._values.get(name, "")
        if not isinstance(value, str):
            self.refuse(name, wrong or f"{name} must be a string")
            return ""
        value = value.strip()
        if not value and required:
            self.refuse(name, f"no {name} provided; {required}")
        return value

    def duration(self, name: str, default: str) -> timedelta:
        """Return an option's duration. A bare number is ignored, as registries ignore it, with a warning."""
        value = self._values.get(name, default)
        if not isinstance(value, str):
            self.warn(
                name, f"ignored, since {value!r} has no unit: {default} is used; write a text such as {default!r}"
            )
            value = default
        try:
            return parse_duration(value.strip(), name)
        except ValueError as error:
            self.refuse(name, str(error))
            return timedelta(0)

    def check(self) -> None:
        """Raise ParameterErrors if anything was refused."""
        if self.errors:
            raise ParameterErrors(self.errors)


def split_base_url(url: str) -> SplitResult:
    """Split an http or https URL of scheme, host, port and path. Raises ValueError saying what is wrong with it."""
    parts = urlsplit(url)
    host, _port = parts.hostname, parts.port
    if parts.scheme not in {"http", "https"}:
        raise ValueError(f"it begins with {parts.scheme}://; write https:// or http://")
    if not host or not _HOST.fullmatch(host):
        raise ValueError(f"{url} names no host; write https://d111.cloudfront.net")
    if parts.username is not None or parts.fragment or not re.fullmatch(r"[!-~]+", url) or '"' in url:
        raise ValueError("use only scheme, host, port and path")
    return parts
