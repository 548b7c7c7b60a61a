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

from engine.spec.diagnostics import Diagnostic
from engine.spec.yaml_scalar import Scalar, seek

_Key = str | int
Place = tuple[_Key, ...]

try:
    from yaml import CBaseLoader as _BaseLoader
except ImportError:  # a PyYAML built without libyaml reads the same, slower
    from yaml import BaseLoader as _BaseLoader  # type: ignore[assignment]

_NULL = re.compile(r"null|Null|NULL|~|")
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,18})")  # more digits than any key takes stay text
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_PLAIN_TAGS = {"tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq", "", None}


@dataclass(frozen=True, slots=True)
class Position:
    """1-based line and column."""

    line: int
    column: int


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
        return self._position(seek(self.text, scalar, offset))

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
    source = Source(shown_as, "")
    if file.suffix != ".yaml":
        message = f"`{file.name}` does not end in `.yaml`, as the file of a spec does"
        source.say(Position(1, 1), "SPEC101", message, f"rename it to `{file.stem}.yaml`")
        return source
    try:
        return parse(file.read_bytes().decode("utf-8-sig"), shown_as)
    except OSError as error:
        source.say(Position(1, 1), "SPEC101", f"cannot be read: {error.strerror}", "a spec is a file that can be read")
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        place = Position(before.count(b"\n") + 1, len(before[before.rfind(b"\n") + 1 :].decode()) + 1)
        message = f"byte 0x{error.object[error.start]:02x} is not UTF-8"
        source.say(place, "SPEC101", message, "save the file as UTF-8 text")
    return source


def parse(text: str, file: str) -> Source:
    """Turn YAML text into a Source. Never raises: what is wrong stands in `diagnostics` and `data` may be None."""
    source = Source(file, text)
    try:
        _read(source, list(_compose(text)))
    except yaml.YAMLError as error:
        _say_syntax(source, error)
    return source


def _read(source: Source, nodes: list[yaml.Node]) -> None:
    """Take the one mapping of a spec into the source, or say what stands there instead."""
    if not nodes:
        source.say(Position(1, 1), "SPEC105", "the file holds no spec", "start it with `spec: 1`")
    elif len(nodes) > 1:
        source.say(_mark(nodes[1]), "SPEC105", "a second document starts here", "give each spec a file of its own")
    elif not isinstance(nodes[0], yaml.MappingNode):
        source.say(_mark(nodes[0]), "SPEC105", "a spec is a mapping of keys to values", "start it with `spec: 1`")
    else:
        source.data = _Reader(source).value(nodes[0], ())


def _compose(text: str) -> Iterator[yaml.Node]:
    _check_depth(text)
    loader = _BaseLoader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            if node is not None:
                yield node
    finally:
        loader.dispose()


def _check_depth(text: str) -> None:
    """Nodes are read by recursion, libyaml's own included, which ends the process where the stack does."""
    depth = 0
    for event in yaml.parse(text, Loader=_BaseLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise yaml.MarkedYAMLError(problem=_TOO_DEEP, problem_mark=event.start_mark)  # type: ignore[arg-type]


def _say_syntax(source: Source, error: yaml.YAMLError) -> None:
    if isinstance(error, yaml.reader.ReaderError):
        place = source._position(max(source.text.find(chr(error.character)), 0))
        message = f"not YAML: the character U+{error.character:04X} cannot stand in a text"
        source.say(place, "SPEC102", message, "take it out; in double quotes it is written as an escape")
        return
    mark = getattr(error, "problem_mark", None)
    position = Position(mark.line + 1, mark.column + 1) if mark else Position(1, 1)
    problem = getattr(error, "problem", None) or str(error).split("\n", 1)[0]
    begun, where = getattr(error, "context_mark", None), ""
    if begun and begun.line + 1 < position.line:
        where = f" {error.context} from line {begun.line + 1} on"  # type: ignore[attr-defined]
    found = source.text[mark.index : mark.index + 1] if mark else ""
    hint = "indent with spaces: this is a tab" if found == "\t" else _SYNTAX_HINTS.get(problem, _SYNTAX_HINT)
    source.say(position, "SPEC102", f"not YAML: {problem}{where}", hint)


_DEEPEST = 50  # a spec has six levels
_TOO_DEEP = "this nests deeper than any spec"
_SYNTAX_HINT = "quote a value that starts with a YAML sign such as `*`, `@` or `{`"
#: What libyaml says -> what to do about it.
_SYNTAX_HINTS = {
    "mapping values are not allowed in this context": "quote a value that holds `: `",
    "could not find expected ':'": "a key is followed by `:` and a space",
    "did not find expected ',' or ']'": "close the list with `]`, and quote what holds `,`, `[` or `]`",
    "did not find expected ',' or '}'": "close the mapping with `}`, and quote what holds `,`, `{` or `}`",
    "did not find expected key": "line the keys up, each with `:` and a space behind it",
    "did not find expected '-' indicator": "line the entries of the list up, each behind `- `",
    "found unexpected end of stream": "close the quote",
    _TOO_DEEP: "a spec is a few levels deep",
    "found undefined alias": "quote a value that starts with `*`",
}


def _mark(node: yaml.Node) -> Position:
    return Position(node.start_mark.line + 1, node.start_mark.column + 1)


class _Reader:
    """Walks the node tree once, writing positions into the source."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.known: dict[int, Any] = {}  # an alias is the very node of its anchor

    def value(self, node: yaml.Node, place: Place) -> Any:
        if id(node) in self.known:
            return self.known[id(node)]
        self.source.values[place] = _mark(node)
        self.known[id(node)] = None
        self._check_sign(node)
        value = self.known[id(node)] = self._value(node, place)
        return value

    def _check_sign(self, node: yaml.Node) -> None:
        """Anchors and tags show only in the text; an alias has an anchor, so it need not be looked for."""
        sign = self.source.text[node.start_mark.index : node.start_mark.index + 1]
        if sign == "&":
            message = "anchors and aliases are not used in specs"
            self.source.say(_mark(node), "SPEC104", message, "write the value out where it is needed")
        elif sign == "!" or node.tag not in _PLAIN_TAGS:
            self.source.say(_mark(node), "SPEC104", "tags are not used in specs", "write the value alone")

    def _value(self, node: yaml.Node, place: Place) -> Any:
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(child, (*place, index)) for index, child in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        self.source.scalars[place] = Scalar(node.start_mark.index, node.end_mark.index, _style(node), node.value)
        return _resolve(node)

    def mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: Any = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.value == "":
                self.source.say(_mark(key_node), "SPEC106", "a key must be a word", "quote it, or write a name")
                continue
            key = key_node.value
            if key == "<<":
                self.source.say(_mark(key_node), "SPEC104", "merge keys are not used in specs", "write the keys out")
                merged = self.value(value_node, (*place, key))
                continue
            if key in found:
                first = self.source.keys[(*place, key)]
                message = f"`{key}` is said twice; first on line {first.line}"
                self.source.say(_mark(key_node), "SPEC103", message, "keep one of the two")
                continue
            self.source.keys[(*place, key)] = _mark(key_node)
            found[key] = self.value(value_node, (*place, key))
        return {**merged, **found} if isinstance(merged, dict) else found


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
