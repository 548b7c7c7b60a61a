"""YAML text -> values and where each of them stands.

In: the text of a spec file. Out: plain values, and for every key and value its line and column, down to the character
inside a string. It must not know what a spec is. This is the only module that imports yaml.

The value rules are those of YAML 1.2's core schema, so `no`, `on`, `012` and `2024-01-01` are what they look like.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from engine.diagnostic import Diagnostic

_Key = str | int
Place = tuple[_Key, ...]

try:
    from yaml import CBaseLoader as _BaseLoader
except ImportError:  # a PyYAML built without libyaml reads the same, slower
    from yaml import BaseLoader as _BaseLoader  # type: ignore[assignment]

_NULL = re.compile(r"null|Null|NULL|~|")
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_PLAIN_TAGS = {"tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq", "", None}


@dataclass(frozen=True, slots=True)
class Position:
    """1-based line and column."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Scalar:
    """Where a scalar stands in the text and how it is written: enough to find a character inside it."""

    start: int
    end: int
    style: str | None


@dataclass(slots=True)
class Source:
    """A spec file: its values, and where every key (`keys`) and value (`values`) of it stands."""

    file: str
    text: str
    data: Any = None
    diagnostics: list[Diagnostic] = field(default_factory=list)
    keys: dict[Place, Position] = field(default_factory=dict)
    values: dict[Place, Position] = field(default_factory=dict)
    scalars: dict[Place, Scalar] = field(default_factory=dict)

    @property
    def stem(self) -> str:
        return Path(self.file).stem

    def at(self, place: Place) -> Position:
        """Where the value at `place` stands; the nearest enclosing one when it is absent."""
        for end in range(len(place), -1, -1):
            if place[:end] in self.values:
                return self.values[place[:end]]
        return Position(1, 1)

    def at_key(self, place: Place) -> Position:
        """Where the key of `place` stands; its value when it has none (a list element)."""
        return self.keys.get(place) or self.at(place)

    def inside(self, place: Place, offset: int) -> Position:
        """Where character `offset` (0-based) of the string at `place` stands in the file."""
        scalar = self.scalars.get(place)
        if scalar is None:
            return self.at(place)
        return self._position(_seek(self.text, scalar, offset))

    def followed_by_comment(self, place: Place) -> bool:
        """Whether the value at `place` is written without quotes and YAML cut a comment off its line."""
        scalar = self.scalars.get(place)
        if scalar is None or scalar.style is not None:
            return False
        rest = self.text[scalar.end :].split("\n", 1)[0]
        return re.match(r"\s+#", rest) is not None

    def say(self, position: Position, code: str, message: str, hint: str = "") -> None:
        self.diagnostics.append(Diagnostic(self.file, position.line, position.column, code, message, hint))

    def _position(self, index: int) -> Position:
        before = self.text[:index]
        return Position(before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1)


def load(file: Path, shown_as: str) -> Source:
    """Read `file`. `shown_as` is its name in messages. Never raises: what is wrong stands in `diagnostics`."""
    try:
        return parse(file.read_bytes().decode("utf-8-sig"), shown_as)
    except (OSError, UnicodeDecodeError) as error:
        source = Source(shown_as, "")
        source.say(Position(1, 1), "SPEC101", f"cannot be read: {error}", "save the file as UTF-8 text")
        return source


def parse(text: str, file: str) -> Source:
    """Turn YAML text into a Source. Never raises: what is wrong stands in `diagnostics` and `data` may be None."""
    source = Source(file, text)
    try:
        nodes = list(_compose(text))
    except yaml.YAMLError as error:
        _say_syntax(source, error)
        return source
    if len(nodes) != 1 or not isinstance(nodes[0], yaml.MappingNode):
        place = Position(1, 1) if not nodes else _mark(nodes[-1])
        source.say(place, "SPEC105", "a spec file holds one mapping", "start it with `spec: 1`")
        return source
    source.data = _Reader(source).value(nodes[0], ())
    return source


def _compose(text: str) -> Iterator[yaml.Node]:
    loader = _BaseLoader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            if node is not None:
                yield node
    finally:
        loader.dispose()


def _say_syntax(source: Source, error: yaml.YAMLError) -> None:
    mark = getattr(error, "problem_mark", None)
    position = Position(mark.line + 1, mark.column + 1) if mark else Position(1, 1)
    problem = getattr(error, "problem", None) or str(error).split("\n", 1)[0]
    source.say(
        position,
        "SPEC102",
        f"not YAML: {problem}",
        "quote a value that starts with a YAML sign such as `*`, `@` or `{`",
    )


def _mark(node: yaml.Node) -> Position:
    return Position(node.start_mark.line + 1, node.start_mark.column + 1)


class _Reader:
    """Walks the node tree once, writing positions into the source."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.open: set[int] = set()

    def value(self, node: yaml.Node, place: Place) -> Any:
        self.source.values[place] = _mark(node)
        if id(node) in self.open or node.tag not in _PLAIN_TAGS:
            self.source.say(_mark(node), "SPEC104", "aliases and tags are not used in specs", "write the value out")
            return None
        self.open.add(id(node))
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(child, (*place, index)) for index, child in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        self.source.scalars[place] = Scalar(node.start_mark.index, node.end_mark.index, _style(node))
        return _resolve(node)

    def mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.value == "":
                self.source.say(_mark(key_node), "SPEC106", "a key must be a word", "quote it, or write a name")
                continue
            key = key_node.value
            if key == "<<":
                self.source.say(_mark(key_node), "SPEC104", "merge keys are not used in specs", "write the keys out")
                continue
            if key in found:
                first = self.source.keys[(*place, key)]
                message = f"`{key}` is said twice; first on line {first.line}"
                self.source.say(_mark(key_node), "SPEC103", message, "keep one of the two")
                continue
            self.source.keys[(*place, key)] = _mark(key_node)
            found[key] = self.value(value_node, (*place, key))
        return found


def _style(node: yaml.ScalarNode) -> str | None:
    style = node.style
    return style if style in ('"', "'", "|", ">") else None


def _resolve(node: yaml.ScalarNode) -> Any:
    text: str = node.value
    if _style(node) is not None:
        return text
    if _NULL.fullmatch(text):
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and not text.isdigit():
        return float(text)
    return text


_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)


def _seek(text: str, scalar: Scalar, offset: int) -> int:
    """The index in `text` of character `offset` of the scalar's value."""
    if scalar.style in ("|", ">"):
        return _seek_block(text, scalar, offset)
    index = scalar.start + (1 if scalar.style else 0)
    for _ in range(offset):
        escape = _ESCAPE.match(text, index) if scalar.style == '"' else None
        if escape:
            index = escape.end()
        elif scalar.style == "'" and text.startswith("''", index):
            index += 2
        else:
            index += 1
    return min(index, scalar.end)


def _seek_block(text: str, scalar: Scalar, offset: int) -> int:
    """Block scalars: the n-th line of the value is the n-th line of the block, indented (a folded break counts one)."""
    index = text.index("\n", scalar.start) + 1
    while True:
        end = text.find("\n", index)
        line = text[index : end if end >= 0 else len(text)]
        indent = len(line) - len(line.lstrip(" "))
        if offset <= len(line) - indent or end < 0:
            return min(index + indent + offset, scalar.end)
        offset -= len(line) - indent + 1
        index = end + 1
