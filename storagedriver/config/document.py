"""The text of a config.yml as a tree that knows where everything stands.

Refused, each with its line and what to do: anchors, aliases, merge keys, tags, duplicate keys (a registry keeps the last
without a word), a second document (a registry ignores it), YAML directives, and texts that are too large or too deep.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from ruamel.yaml.reader import ReaderError

from storagedriver.config.scalars import Scalar
from storagedriver.errors import StorageDriverError

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_VALUES = 10_000

Tree = Scalar | dict[str, "Tree"] | list["Tree"]
"""Keys are texts, as a registry's maps have them; leaves remember how they were written."""

Plain = Any
"""The same with values in place of scalars: str, int, float, bool and None, and lists and dicts of them."""


class ConfigError(StorageDriverError):
    """A configuration that cannot be read. `line` counts from 1; 0 where the environment or the whole is meant.

    The message tells what to do and never quotes a value, which may be a secret.
    """

    def __init__(self, detail: str, line: int = 0) -> None:
        super().__init__(f"line {line}: {detail}" if line else detail)
        self.args = (detail, line)
        self.line = line

    def __str__(self) -> str:
        return self.detail


@dataclass(frozen=True, slots=True)
class ScalarNode:
    """A scalar at text[start:end], quotes included."""

    start: int
    end: int
    scalar: Scalar


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a mapping, at text[start:key_end], and its value."""

    start: int
    key_end: int
    node: Node


@dataclass(frozen=True, slots=True)
class MappingNode:
    """A mapping. `end` is where its last value ends: comments below belong to nobody. `column` is that of its keys."""

    start: int
    end: int
    column: int
    flow: bool
    entries: dict[str, Entry]


@dataclass(frozen=True, slots=True)
class SequenceNode:
    """A list. `column` is that of its dashes."""

    start: int
    end: int
    column: int
    flow: bool
    items: list[Node]


Node = ScalarNode | MappingNode | SequenceNode


def parse_document(text: str | bytes) -> tuple[str, MappingNode | None]:
    """Return a config.yml's text and its root, None when there is nothing but comments. Raises ConfigError."""
    if isinstance(text, bytes):
        try:
            text = text.decode()
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise ConfigError("this is not UTF-8 text; save the file as UTF-8", line) from None
    root = _Composer(text).compose()
    if isinstance(root, ScalarNode) and root.scalar.plain and root.scalar.value is None:
        root = None
    if root is not None and not isinstance(root, MappingNode):
        raise ConfigError("a config.yml is a mapping; begin with the line `version: 0.1`", 1)
    return text, root


def parse_value(text: str, origin: str) -> Tree:
    """Return the tree of one environment variable's value. Raises ConfigError, which names the variable."""
    try:
        root = _Composer(text, origin).compose()
    except ConfigError as error:
        raise ConfigError(f"parsing environment variable {origin}: {error.args[0]}") from None
    return Scalar("", origin=origin) if root is None else tree_of(root)


def tree_of(node: Node) -> Tree:
    """Return what the node holds, without places."""
    if isinstance(node, ScalarNode):
        return node.scalar
    if isinstance(node, MappingNode):
        return {key: tree_of(entry.node) for key, entry in node.entries.items()}
    return [tree_of(item) for item in node.items]


def children(tree: Tree | None) -> dict[str, Tree]:
    """Return a mapping's keys and values, none for anything else."""
    return tree if isinstance(tree, dict) else {}


def plain_of(tree: Tree) -> Plain:
    """Return the tree with values in place of scalars."""
    if isinstance(tree, Scalar):
        return tree.value
    if isinstance(tree, dict):
        return {key: plain_of(value) for key, value in tree.items()}
    return [plain_of(item) for item in tree]


class _Composer:
    """Builds nodes from the parser's events, refusing what a config.yml must not have before it costs anything."""

    def __init__(self, text: str, origin: str = "") -> None:
        self.text = text
        self.origin = origin
        self.values = 0

    def compose(self) -> Node | None:
        """Return the only document's root."""
        if len(self.text.encode(errors="surrogatepass")) > MAX_BYTES:
            raise ConfigError(f"larger than {MAX_BYTES // 1024} KiB; this is not a registry's configuration")
        root: Node | None = None
        events = self.events()
        for event in events:
            if isinstance(event, DocumentStartEvent):
                if root is not None:
                    self.refuse(event, "a second document begins, and a registry reads only the first; remove it")
                if event.version not in {None, (1, 1)} or event.tags:
                    self.refuse(
                        event, "a registry reads YAML 1.1 without directives; remove the line that begins with %"
                    )
            elif isinstance(event, ScalarEvent | MappingStartEvent | SequenceStartEvent | AliasEvent):
                root = self.node(event, events, depth=1)
            elif isinstance(event, StreamEndEvent):
                break
        return root

    def events(self) -> Iterator[Any]:
        yaml = YAML(typ="safe", pure=True)
        yaml.version = (1, 1)
        try:
            yield from yaml.parse(self.text)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            what = " ".join(filter(None, (error.context, error.problem)))  # no snippet: it may show a secret
            advice = "use spaces in place of the tab" if "'\\t'" in what else "mend the YAML here"
            raise ConfigError(f"{what}; {advice}", mark.line + 1 if mark else 0) from None
        except ReaderError as error:
            line = self.text.count("\n", 0, error.position) + 1
            raise ConfigError("a control character stands here, which YAML does not allow; remove it", line) from None
        except YAMLError:
            raise ConfigError("this is not YAML; mend it") from None

    def node(self, event: Any, events: Iterator[Any], depth: int) -> Node:
        self.check(event, depth)
        if isinstance(event, ScalarEvent):
            scalar = Scalar(event.value, event.style is None, self.origin or f"line {event.start_mark.line + 1}")
            return ScalarNode(event.start_mark.index, event.end_mark.index, scalar)
        if isinstance(event, MappingStartEvent):
            return self.mapping(event, events, depth)
        return self.sequence(event, events, depth)

    def check(self, event: Any, depth: int) -> None:
        self.values += 1
        if isinstance(event, AliasEvent):
            self.refuse(event, f"the alias *{event.anchor} is not read; write the value out here")
        if event.anchor is not None:
            self.refuse(
                event, f"the anchor &{event.anchor} is not read; remove it, and write the value where it is used"
            )
        if event.tag is not None:
            self.refuse(event, "a tag (a word that begins with !) is not read; remove it, or quote the value")
        if depth > MAX_DEPTH:
            self.refuse(event, f"nested deeper than {MAX_DEPTH} levels; this is not a registry's configuration")
        if self.values > MAX_VALUES:
            self.refuse(event, f"more than {MAX_VALUES:,} values; this is not a registry's configuration")

    def mapping(self, opening: Any, events: Iterator[Any], depth: int) -> MappingNode:
        entries: dict[str, Entry] = {}
        lines: dict[str, int] = {}
        column, end = opening.start_mark.column, opening.start_mark.index
        for event in events:
            if isinstance(event, MappingEndEvent):
                break
            self.check(event, depth)
            if not isinstance(event, ScalarEvent):
                self.refuse(event, "a key must be one word; write `key: value`")
            key, line = event.value, event.start_mark.line + 1
            if key == "<<" and event.style is None:
                self.refuse(event, "the merge key << is not read; write the keys out here")
            if key in lines:
                self.refuse(event, f"the key {key} stands on line {lines[key]} already; remove one of the two")
            lines[key] = line
            key_end = event.end_mark.index
            node = self.node(next(events), events, depth + 1)
            if isinstance(node, ScalarNode) and node.scalar.plain and not node.scalar.text:
                node = self.nothing(node, key_end)
            entries[key] = Entry(event.start_mark.index, key_end, node)
            end = node.end
        flow = bool(opening.flow_style)
        return MappingNode(opening.start_mark.index, event.end_mark.index if flow else end, column, flow, entries)

    def sequence(self, opening: Any, events: Iterator[Any], depth: int) -> SequenceNode:
        items: list[Node] = []
        for event in events:
            if isinstance(event, SequenceEndEvent):
                break
            items.append(self.node(event, events, depth + 1))
        start, flow = opening.start_mark.index, bool(opening.flow_style)
        end = event.end_mark.index if flow or not items else items[-1].end
        return SequenceNode(start, end, opening.start_mark.column, flow, items)

    def nothing(self, node: ScalarNode, key_end: int) -> ScalarNode:
        """Place a value that is not there: the parser puts it where the next thing begins."""
        colon = re.compile(r"\s*:").match(self.text, key_end)
        place = colon.end() if colon else key_end
        return ScalarNode(place, place, node.scalar)

    def refuse(self, event: Any, what: str) -> NoReturn:
        raise ConfigError(what, event.start_mark.line + 1)
