"""What is wrong in a configuration, collected: errors and warnings by place, each naming its line or variable."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from datetime import timedelta

from storagedriver.config.document import Tree
from storagedriver.config.scalars import Scalar
from storagedriver.middleware.options import parse_duration
from storagedriver.parameters import ParameterWarning


class Problems:
    """Errors and warnings by dotted place, such as `storage.delete.enabled`."""

    def __init__(self) -> None:
        self.errors: dict[str, list[str]] = {}
        self.warnings: list[ParameterWarning] = []

    def error(self, place: str, message: str, at: Tree | None = None) -> None:
        self.errors.setdefault(place, []).append(f"{message}{_origin(at)}")

    def warn(self, place: str, message: str, at: Tree | None = None) -> None:
        self.warnings.append(ParameterWarning(place, f"{message}{_origin(at)}"))


class Section:
    """One mapping of the configuration. Names other than `known` give a warning.

    The readers return None for what is not there, and after they noted an error.
    """

    def __init__(self, problems: Problems, place: str, values: dict[str, Tree], known: Collection[str]) -> None:
        self.problems, self.place, self.values = problems, place, values
        for name in values:
            if name not in known:
                near = difflib.get_close_matches(name.lower(), known, n=1)
                problems.warn(
                    f"{place}.{name}",
                    f"Unknown key; ignored.{f' Did you mean {near[0]}?' if near else ''}",
                    values[name],
                )

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def at(self, name: str) -> Tree | None:
        return self.values.get(name)

    def value(self, name: str) -> object:
        """Return the value; a list or mapping as it is."""
        found = self.values.get(name)
        return found.value if isinstance(found, Scalar) else found

    def error(self, name: str, message: str) -> None:
        self.problems.error(f"{self.place}.{name}", message, self.at(name))

    def warn(self, name: str, message: str) -> None:
        self.problems.warn(f"{self.place}.{name}", message, self.at(name))

    def boolean(self, name: str, message: str) -> bool | None:
        """Return true or false; a text is none of them to a registry."""
        value = self.value(name)
        if isinstance(value, bool):
            return value
        if name in self:
            self.error(name, f"{message}; write {name}: true or {name}: false, without quotes")
        return None

    def duration(self, name: str, message: str) -> timedelta | None:
        """Return a positive duration written in Go's syntax. `message` has one place for the parser's words."""
        try:
            return parse_duration(str(self.value(name)).strip(), name)
        except ValueError as problem:
            self.error(name, message.format(problem))
            return None


def _origin(at: Tree | None) -> str:
    return f" ({at.origin})" if isinstance(at, Scalar) and at.origin else ""
