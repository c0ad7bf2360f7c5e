"""The REGISTRY_* environment variables, applied over a config.yml as a registry applies them.

A name is split at every "_" into a path; variables are applied in byte order of their names, so REGISTRY_STORAGE, which
replaces the whole section, comes before REGISTRY_STORAGE_S3_BUCKET; values are YAML. Where a registry would refuse to start
or look away and the intention is plain, the value is taken, with a warning that says what to write instead.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping as Environ

from storagedriver.config import structure
from storagedriver.config.document import ConfigError, Tree, parse_value
from storagedriver.config.scalars import Scalar
from storagedriver.parameters import ParameterWarning

PREFIX = "REGISTRY_"
# Kept letter by letter: YAML would make 5349 of the key 012345.
VERBATIM = frozenset({"accesskey", "secretkey", "sessiontoken", "keyid", "bucket"})


def apply_environment(
    tree: dict[str, Tree], environment: Environ[str, str], version: str
) -> tuple[dict[str, Tree], list[ParameterWarning]]:
    """Return the configuration under the variables, and warnings named after them. Raises ConfigError."""
    warnings: list[ParameterWarning] = []
    pieces: set[tuple[str, ...]] = set()
    shape = structure.configuration(version)
    for name in sorted(environment, key=lambda name: name.encode(errors="surrogateescape")):
        if name.startswith(PREFIX):
            variable = _Variable(name, environment[name], version, warnings, pieces)
            tree = variable.struct(shape, tree, ())
    return tree, warnings


def conform(kind: structure.Kind, tree: Tree, where: str) -> Tree:
    """Return the tree in the shape of `kind`. Raises ConfigError where a registry could not read it.

    `where` names the place for the message. Nothing (null) is an empty mapping, list or word.
    """
    empty = isinstance(tree, Scalar) and tree.value is None
    if isinstance(kind, structure.Struct | structure.Mapping):
        if empty:
            return {}
        if isinstance(kind, structure.Mapping) and kind.shorthand and isinstance(tree, Scalar):
            return {tree.text: {}}
        if not isinstance(tree, dict):
            raise ConfigError(f"{_place(where, tree)} must be a mapping, such as {{key: value}}")
        if isinstance(kind, structure.Mapping):
            return {key: conform(kind.values, value, f"{where}.{key}") for key, value in tree.items()}
        known = kind.fields
        return {key: conform(known.get(key, structure.ANY), value, f"{where}.{key}") for key, value in tree.items()}
    if isinstance(kind, structure.List):
        if empty:
            return []
        if not isinstance(tree, list):
            raise ConfigError(f"{_place(where, tree)} must be a list, such as [value]")
        return [conform(kind.items, item, f"{where}[{index}]") for index, item in enumerate(tree)]
    if kind == structure.WORD and not isinstance(tree, Scalar):
        raise ConfigError(f"{where} must be a single value, not a {'mapping' if isinstance(tree, dict) else 'list'}")
    return tree


def _place(where: str, tree: Tree) -> str:
    return f"{where} ({tree.origin})" if isinstance(tree, Scalar) and tree.origin not in {"", where} else where


class _Variable:
    """One variable on its way down the tree. Each step returns what stands there afterwards.

    `pieces` are the paths of mappings that variables before this one made key by key.
    """

    def __init__(
        self, name: str, value: str, version: str, warnings: list[ParameterWarning], pieces: set[tuple[str, ...]]
    ) -> None:
        self.name, self.value, self.version = name, value, version
        self.path = tuple(name.split("_"))[1:]
        self.warnings, self.pieces = warnings, pieces

    def warn(self, message: str) -> None:
        self.warnings.append(ParameterWarning(self.name, message))

    def rest(self, done: tuple[str, ...]) -> tuple[str, ...]:
        return self.path[len(done) :]

    def below(self, kind: structure.Kind, current: Tree | None, done: tuple[str, ...]) -> Tree:
        """Set what `done` leads to, or what is below it."""
        if not self.rest(done):
            return self.parsed(kind)
        if isinstance(kind, structure.Struct):
            return self.struct(kind, self.mapping_at(current, done), done)
        if isinstance(kind, structure.Mapping):
            return self.mapping(kind, self.mapping_at(current, done), done)
        if isinstance(kind, structure.List) or isinstance(current, list):
            items = kind.items if isinstance(kind, structure.List) else structure.ANY
            return self.list(items, current if isinstance(current, list) else [], done)
        if kind == structure.WORD or (isinstance(current, Scalar) and current.value is not None):
            self.warn(f"Ignored, as a registry does: {_name(done)} is a single value and has nothing below it.")
            return current if current is not None else Scalar("")
        return self.free(current if isinstance(current, dict) else None, done)

    def mapping_at(self, current: Tree | None, done: tuple[str, ...]) -> dict[str, Tree]:
        if isinstance(current, dict):
            return current
        if current is None or (isinstance(current, Scalar) and current.value is None):
            return {}
        raise ConfigError(f"{_place('.'.join(done).lower(), current)} must be a mapping, such as {{key: value}}")

    def struct(self, kind: structure.Struct, current: dict[str, Tree], done: tuple[str, ...]) -> dict[str, Tree]:
        part = self.rest(done)[0]
        field = part.lower()
        if part != part.upper() or field not in kind.fields:
            near = difflib.get_close_matches(field, kind.fields, n=1)
            advice = f" Did you mean {_name((*done, near[0].upper()))}?" if near else ""
            self.warn(f"Ignoring unrecognized environment variable {self.name}.{advice}")
            return current
        return current | {field: self.below(kind.fields[field], current.get(field), (*done, part))}

    def mapping(self, kind: structure.Mapping, current: dict[str, Tree], done: tuple[str, ...]) -> dict[str, Tree]:
        part = self.rest(done)[0]
        found = part.lower()
        if len(self.rest(done)) > 1:
            # Only on the way down: what is set itself goes under its lower-case name beside another spelling.
            found = next((key for key in current if key.upper() == part and not _absent(current[key])), found)
        inner = current.get(found) if found.upper() == part else None
        return current | {found: self.below(kind.values, inner, (*done, part))}

    def free(self, current: dict[str, Tree] | None, done: tuple[str, ...]) -> Tree:
        """Go on below a parameter, where a registry has no rule that works."""
        whole = f"{_name(done)}='{{key: value}}'"
        if current is not None and done not in self.pieces:
            self.warn(
                f"A registry ignores this, as {_name(done)} is set as a whole; Wharfinger takes it. Write {whole}."
            )
        else:
            self.pieces.add(done)
            if done[:2] == ("STORAGE", "MAINTENANCE"):
                self.warn(f"A registry refuses to start with this; Wharfinger takes it. Write {whole}.")
        return self.mapping(structure.PARAMETERS, current or {}, done)

    def list(self, items: structure.Kind, current: list[Tree], done: tuple[str, ...]) -> list[Tree]:
        part = self.rest(done)[0]
        if self.version != "3":
            self.warn(f"A registry {self.version} sets lists only as a whole; ignored. Write {_name(done)}='[value]'.")
            return current
        if not part.isascii() or not part.isdigit():
            raise ConfigError(f"{self.name}: non-numeric index: {part}; number the items from 0")
        if int(part) > len(current):
            raise ConfigError(
                f"{self.name}: undefined index: {int(part)}; the list has {len(current)} items so far"
                " (variables are applied in byte order of their names: 10 comes before 2)"
            )
        index = int(part)
        inner = current[index] if index < len(current) else None
        return [*current[:index], self.below(items, inner, (*done, part)), *current[index + 1 :]]

    def parsed(self, kind: structure.Kind) -> Tree:
        """Return the variable's value as `kind`."""
        if not self.value.isascii() and any("\ud800" <= char <= "\udfff" for char in self.value):
            raise ConfigError(f"{self.name}: the value is not UTF-8 text")
        verbatim = kind == structure.ANY and self.path[0] == "STORAGE" and self.path[-1].lower() in VERBATIM
        raw = Scalar(self.value.strip(), plain=False, origin=self.name)
        try:
            tree = parse_value(self.value, self.name)
        except ConfigError:
            if not verbatim:
                raise
            self.warn(
                f"A registry does not read this value as it stands; Wharfinger takes it letter by letter. {_QUOTE}"
            )
            return raw
        if verbatim and (not isinstance(tree, Scalar) or (tree.plain and tree.text != raw.text)):
            self.warn(
                f"A registry reads this as YAML, not as it stands; Wharfinger takes it letter by letter. {_QUOTE}"
            )
            return raw
        return conform(kind, tree, self.name)


_QUOTE = """Put it in single quotes inside the variable: NAME="'value'"."""


def _name(path: tuple[str, ...]) -> str:
    return PREFIX + "_".join(path)


def _absent(tree: Tree) -> bool:
    return isinstance(tree, Scalar) and tree.value is None
