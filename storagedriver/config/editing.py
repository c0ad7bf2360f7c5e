"""Changes to the text of a config.yml that leave every other byte as it was: comments, order, quotes, line ends.

A patch is a mapping like the document: a mapping goes deeper, REMOVE takes a key away, Items goes on
in a list, and anything else is the new value.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final

from storagedriver.config.document import (
    ConfigError,
    Entry,
    MappingNode,
    Node,
    Plain,
    ScalarNode,
    SequenceNode,
    parse_document,
    plain_of,
    tree_of,
)
from storagedriver.config.emitting import block, inline, key, tail


class _Remove(Enum):
    REMOVE = "remove"


REMOVE: Final = _Remove.REMOVE
Patch = dict[str, Any]


class Items(dict[int, Patch]):
    """Patches of a list's mappings, by their numbers."""


def apply_patch(text: str, patch: Patch) -> str:
    """Return the text with the patch's values. Raises ConfigError if its layout cannot take them."""
    text, root = parse_document(text)
    editor = _Editor(text)
    if root is None:
        editor.append(block(patched(None, patch), 0))
    else:
        editor.mapping(root, patch)
    edited = editor.text()
    expected = patched(plain_node(root), patch)
    if not same(plain_node(parse_document(edited)[1]), expected):
        raise ConfigError("the layout of this file cannot be edited; render it anew, without the file")
    return edited


def arrange(text: str, node: SequenceNode, order: list[int | Plain]) -> str:
    """Return the text with the items of a block list in another order: a number is an item of now, else a new one.

    An item takes the comments before it along.
    """
    if order == list(range(len(node.items))):
        return text
    start = text.rfind("\n", 0, node.start) + 1
    while (above := text.rfind("\n", 0, max(start - 1, 0)) + 1) < start and text[above:start].lstrip().startswith("#"):
        start = above
    ends = [_next_line(text, item.end) for item in node.items]
    pieces = [text[begin:end] for begin, end in zip([start, *ends], ends, strict=False)]
    newline = _newline(text)
    lines = [
        pieces[item] if isinstance(item, int) else block([item], node.column).replace("\n", newline) for item in order
    ]
    return text[:start] + "".join(_ended(line, newline) for line in lines) + text[ends[-1] :]


class _Editor:
    """Collects replacements of text[start:end]."""

    def __init__(self, text: str) -> None:
        self.source = text
        self.newline = _newline(text)
        self.edits: list[tuple[int, int, str]] = []

    def text(self) -> str:
        pieces, place = [], 0
        # Of several insertions at one place the deepest was noted first, and stays first.
        for start, end, new in sorted(self.edits, key=lambda edit: edit[:2]):
            pieces += [self.source[place:start], new.replace("\n", self.newline)]
            place = end
        return "".join([*pieces, self.source[place:]])

    def mapping(self, node: MappingNode, patch: Patch) -> None:
        if node.flow and any(value is REMOVE and name in node.entries for name, value in patch.items()):
            self.edits.append((node.start, node.end, inline(patched(plain_node(node), patch))))
            return
        new: dict[str, Plain] = {}
        for name, value in patch.items():
            entry = node.entries.get(name)
            if entry is not None:
                self.entry(node, entry, value)
            elif value is not REMOVE:
                new[name] = patched(None, value)
        if new and node.flow:
            text = ", ".join(f"{key(name)}: {inline(value)}" for name, value in new.items())
            self.edits.append((node.start + 1, node.start + 1, f"{text}, " if node.entries else text))
        elif new:
            self.insert(node.end, block(new, node.column))

    def entry(self, parent: MappingNode, entry: Entry, value: Any) -> None:
        node = entry.node
        if value is REMOVE:
            start = self.source.rfind("\n", 0, entry.start) + 1
            self.edits.append((start, _next_line(self.source, node.end), ""))
        elif isinstance(value, dict) and isinstance(node, MappingNode) and patched(plain_node(node), value):
            self.mapping(node, value)
        elif isinstance(value, Items) and isinstance(node, SequenceNode):
            for index, item in value.items():
                inner = node.items[index]
                if isinstance(inner, MappingNode):
                    self.mapping(inner, item)
        else:
            self.replace(parent, entry, patched(None, value))  # a mapping too of which nothing is left

    def replace(self, parent: MappingNode, entry: Entry, value: Plain) -> None:
        if same(plain_node(entry.node), value):
            return
        if isinstance(entry.node, ScalarNode) and not isinstance(value, dict | list):
            start, end = entry.node.start, entry.node.end
            new = inline(value)
            bare = start == end
        else:
            start, end = self.after_colon(entry), entry.node.end
            if not parent.flow and not isinstance(entry.node, ScalarNode) and not entry.node.flow:
                end = _next_line(self.source, end)  # a comment behind the last of several lines goes with them
            new = inline(value) if parent.flow else tail(value, parent.column).removesuffix("\n").removeprefix(" ")
            bare = not new.startswith("\n")
        colon = "" if ":" in self.source[entry.key_end : start] else ":"
        ended = "\n" if self.source[start:end].endswith("\n") else ""
        self.edits.append((start, end, f"{colon}{' ' if bare else ''}{new}{ended}"))

    def after_colon(self, entry: Entry) -> int:
        colon = self.source.find(":", entry.key_end, entry.node.start)
        return entry.key_end if colon < 0 else colon + 1

    def insert(self, place: int, lines: str) -> None:
        place = _next_line(self.source, place)
        missing = place > 0 and not self.source[:place].endswith("\n")
        self.edits.append((place, place, f"\n{lines}" if missing else lines))

    def append(self, lines: str) -> None:
        self.insert(len(self.source), lines)


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _ended(line: str, newline: str) -> str:
    return line if line.endswith("\n") else line + newline


def _next_line(text: str, place: int) -> int:
    """Return where the line after `place` begins; `place` itself if a line begins there (below a block scalar)."""
    if place and text[place - 1] == "\n":
        return place
    end = text.find("\n", place)
    return len(text) if end < 0 else end + 1


def plain_node(node: Node | None) -> Plain:
    """Return what a node holds; an empty document is an empty mapping."""
    return {} if node is None else plain_of(tree_of(node))


def patched(value: Plain, patch: Any) -> Plain:
    """Return the value after the patch."""
    if isinstance(patch, Items):
        return [patched(item, patch[index]) if index in patch else item for index, item in enumerate(value)]
    if not isinstance(patch, dict):
        return patch
    found = dict(value) if isinstance(value, dict) else {}
    for name, item in patch.items():
        if item is REMOVE:
            found.pop(name, None)
        else:
            found[name] = patched(found.get(name), item)
    return found


def same(left: Plain, right: Plain) -> bool:
    """Compare with types: 1 is neither true nor 1.0."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(value, right[name]) for name, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and (left == right or (left != left and right != right))
