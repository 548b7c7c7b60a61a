"""Read YAML to plain values, and record line and column of every key, value and character of a string.

Values follow the core schema of YAML 1.2: `no`, `on`, `012` and `2024-01-01` are strings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from engine.spec import text_mistakes
from engine.spec.diagnostics import Diagnostic
from engine.spec.referenced_files import ReferencedFile, load_referenced_files
from engine.spec.text_mistakes import TextMistake
from engine.spec.yaml_scalar import Scalar, find_character

_Key = str | int
Place = tuple[_Key, ...]

try:
    from yaml import CBaseLoader as _BaseLoader
except ImportError:  # PyYAML was built without libyaml: its Python loader gives the same nodes, but slower
    from yaml import BaseLoader as _BaseLoader  # type: ignore[assignment]

_NULL = re.compile(r"null|Null|NULL|~|")
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,18})")  # a longer number stays text: no key accepts one
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_LAST_COMMENT = re.compile(r"^[ \t]*#[^\n]*\n\Z", re.MULTILINE)
_PLAIN_TAGS = {"tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq", "", None}


@dataclass(frozen=True, slots=True)
class Position:
    """A line and column, both counting from 1."""

    line: int
    column: int


_START = Position(1, 1)


@dataclass(slots=True)
class Source:
    """A spec file: its data, the positions of its keys (`keys`) and values (`values`), and the mistakes in it."""

    file: str
    text: str
    data: Any = None
    diagnostics: list[Diagnostic] = field(default_factory=list)
    keys: dict[Place, Position] = field(default_factory=dict)
    values: dict[Place, Position] = field(default_factory=dict)
    scalars: dict[Place, Scalar] = field(default_factory=dict)
    files: dict[str, ReferencedFile] = field(default_factory=dict)  # the files that the spec refers to, by name

    @property
    def stem(self) -> str:
        return Path(self.file).stem

    def find_value_position(self, place: Place) -> Position:
        """Return the position of the value at `place`, or of the nearest value around it if it is absent."""
        for end in range(len(place), -1, -1):
            if place[:end] in self.values:
                return self.values[place[:end]]
        return _START

    def find_key_position(self, place: Place) -> Position:
        """Return the position of the key at `place`, or of its value if it has no key (a list element)."""
        return self.keys.get(place) or self.find_value_position(place)

    def find_character_position(self, place: Place, offset: int) -> Position:
        """Return the position in the file of character `offset` (0-based) of the string at `place`."""
        scalar = self.scalars.get(place)
        if scalar is None:
            return self.find_value_position(place)
        return self._locate_index(find_character(self.text, scalar, offset))

    def is_cut_by_comment(self, place: Place) -> bool:
        """Return whether the value at `place` has no quotes and YAML took the rest of its line for a comment."""
        scalar = self.scalars.get(place)
        if scalar is None or scalar.style is not None:
            return False
        rest = self.text[scalar.end :].split("\n", 1)[0]
        return re.match(r"\s+#", rest) is not None

    def add_diagnostic(self, position: Position, code: str, message: str, hint: str) -> None:
        self.diagnostics.append(Diagnostic(self.file, position.line, position.column, code, message, hint))

    def report_value(self, place: Place, code: str, message: str, hint: str) -> None:
        """Add a diagnostic at the value of `place`."""
        self.add_diagnostic(self.find_value_position(place), code, message, hint)

    def report_key(self, place: Place, code: str, message: str, hint: str) -> None:
        """Add a diagnostic at the key of `place`."""
        self.add_diagnostic(self.find_key_position(place), code, message, hint)

    def report_character(self, place: Place, offset: int, code: str, message: str, hint: str) -> None:
        """Add a diagnostic at character `offset` of the string at `place`."""
        self.add_diagnostic(self.find_character_position(place, offset), code, message, hint)

    def report_cut_path(self, place: Place, text: str) -> None:
        """Report a path without quotes of which YAML took the end for a comment; `text` is what is left of it."""
        if self.is_cut_by_comment(place):
            hint = "quote the path, or put the comment on a line of its own"
            self.report_value(place, "SPEC406", f"YAML cuts this unquoted path at ` #`, leaving `{text}`", hint)

    def report_text_mistake(self, code: str, mistake: TextMistake) -> None:
        """Add a diagnostic for a mistake in the text of the file."""
        message = f"not YAML: {mistake.message}" if code == "SPEC102" else mistake.message
        self.add_diagnostic(self._locate_index(mistake.index), code, message, mistake.hint)

    def cut_key(self, name: str) -> str:
        """Return the text of the file without a top-level key, its value and the comments directly above it."""
        if (name,) not in self.keys:
            return self.text
        begins = sorted(self._find_index(position) for place, position in self.keys.items() if len(place) == 1)
        begin = self._find_index(self.keys[(name,)])
        end = next((index for index in begins if index > begin), len(self.text))
        kept = self.text[:begin].rstrip(" \t")
        while (comment := _LAST_COMMENT.search(kept)) is not None:
            kept = kept[: comment.start()]
        return kept + self.text[end:]

    def _find_index(self, position: Position) -> int:
        lines = self.text.split("\n")
        return sum(len(line) + 1 for line in lines[: position.line - 1]) + position.column - 1

    def _locate_index(self, index: int) -> Position:
        return locate_character(self.text, index)


def locate_character(text: str, index: int) -> Position:
    """Return the line and column of the character at `index`."""
    before = text[:index]
    return Position(before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1)


def load_source(file: Path, shown_as: str) -> Source:
    """Read the spec file `file`, which messages call `shown_as`; never raise.

    An unreadable file gives a source with a diagnostic.
    """
    source = Source(shown_as, "")
    if file.suffix != ".yaml":
        message = f"`{file.name}` does not end in `.yaml`, as the file of a spec does"
        source.add_diagnostic(_START, "SPEC101", message, f"rename it to `{file.stem}.yaml`")
        return source
    try:
        source = parse_source(file.read_bytes().decode("utf-8-sig"), shown_as)
        source.files = load_referenced_files(source.data, file.parent, PurePosixPath(shown_as).parent.as_posix())
    except OSError as error:
        hint = "a spec is a file that can be read"
        source.add_diagnostic(_START, "SPEC101", f"cannot be read: {error.strerror}", hint)
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        position = Position(before.count(b"\n") + 1, len(before[before.rfind(b"\n") + 1 :].decode()) + 1)
        message = f"byte 0x{error.object[error.start]:02x} is not UTF-8"
        source.add_diagnostic(position, "SPEC101", message, "save the file as UTF-8 text")
    return source


def parse_source(text: str, file: str) -> Source:
    """Parse YAML text; never raise: mistakes are diagnostics of the source, whose `data` may then be None."""
    source = Source(file, text)
    if conflict := text_mistakes.find_merge_conflict(text):
        source.report_text_mistake("SPEC102", conflict)
        return source
    try:
        _read_document(source, list(_compose_nodes(text)))
    except yaml.YAMLError as error:
        _report_syntax_error(source, error)
        return source
    for hidden in text_mistakes.find_hidden_characters(text):
        source.report_text_mistake("SPEC107", hidden)
    return source


def _read_document(source: Source, nodes: list[yaml.Node]) -> None:
    """Read the spec's mapping into the source; report a file that has anything else."""
    start_hint = "start it with `spec: 1`"
    if not nodes:
        source.add_diagnostic(_START, "SPEC105", "the file holds no spec", start_hint)
    elif len(nodes) > 1:
        hint = "give each spec a file of its own"
        source.add_diagnostic(_locate_node(nodes[1]), "SPEC105", "a second document starts here", hint)
    elif not isinstance(nodes[0], yaml.MappingNode):
        source.add_diagnostic(_locate_node(nodes[0]), "SPEC105", "a spec is a mapping of keys to values", start_hint)
    else:
        source.data = _NodeReader(source).read_node(nodes[0], ())


def _compose_nodes(text: str) -> Iterator[yaml.Node]:
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
    """Raise MarkedYAMLError at the first event that is nested deeper than _MAX_DEPTH.

    Nodes are read by recursion, and a stack overflow in libyaml would crash the process.
    """
    depth = 0
    for event in yaml.parse(text, Loader=_BaseLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=_TOO_DEEP, problem_mark=event.start_mark)  # type: ignore[arg-type]


def _report_syntax_error(source: Source, error: yaml.YAMLError) -> None:
    if isinstance(error, yaml.reader.ReaderError):
        position = source._locate_index(max(source.text.find(chr(error.character)), 0))
        message = f"not YAML: the character U+{error.character:04X} cannot stand in a text"
        source.add_diagnostic(position, "SPEC102", message, "take it out; in double quotes it is written as an escape")
        return
    mark = getattr(error, "problem_mark", None)
    position = Position(mark.line + 1, mark.column + 1) if mark else _START
    problem = getattr(error, "problem", None) or str(error).split("\n", 1)[0]
    end = source.text.find("\n", mark.index) if mark else -1
    if problem != _TOO_DEEP and (cause := text_mistakes.find_cause(source.text, end if end >= 0 else len(source.text))):
        source.report_text_mistake("SPEC102", cause)
        return
    begun, where = getattr(error, "context_mark", None), ""
    if begun and begun.line + 1 < position.line:
        where = f" {error.context} from line {begun.line + 1} on"  # type: ignore[attr-defined]
    character = source.text[mark.index : mark.index + 1] if mark else ""
    hint = "indent with spaces: this is a tab" if character == "\t" else _SYNTAX_HINTS.get(problem, _SYNTAX_HINT)
    start = source.text.rfind("\n", 0, mark.index) + 1 if mark else 0
    if text_mistakes.is_bare_path(source.text[start:]) and character != "\t":
        hint = "quote the path"
    source.add_diagnostic(position, "SPEC102", f"not YAML: {problem}{where}", hint)


_MAX_DEPTH = 50  # a spec has six levels
_TOO_DEEP = "this nests deeper than any spec"
_SYNTAX_HINT = "quote a value that starts with a YAML sign such as `*`, `@` or `{`"
#: The hint for each message of libyaml.
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


def _locate_node(node: yaml.Node) -> Position:
    return Position(node.start_mark.line + 1, node.start_mark.column + 1)


class _NodeReader:
    """Reads the tree of nodes once, and records the positions of keys and values in the source."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.values: dict[int, Any] = {}  # by identity of the node: an alias is the same node as its anchor

    def read_node(self, node: yaml.Node, place: Place) -> Any:
        """Return the value of the node at `place`, and record its position."""
        if id(node) in self.values:
            return self.values[id(node)]
        self.source.values[place] = _locate_node(node)
        self.values[id(node)] = None
        self._check_sign(node)
        value = self.values[id(node)] = self._read_value(node, place)
        return value

    def _check_sign(self, node: yaml.Node) -> None:
        """Report an anchor or tag, which only the text shows. Aliases need no check, since each needs an anchor."""
        sign = self.source.text[node.start_mark.index : node.start_mark.index + 1]
        if sign == "&":
            message = "anchors and aliases are not used in specs"
            self.source.add_diagnostic(_locate_node(node), "SPEC104", message, "write the value out where it is needed")
        elif sign == "!" or node.tag not in _PLAIN_TAGS:
            message = "tags are not used in specs"
            self.source.add_diagnostic(_locate_node(node), "SPEC104", message, "write the value alone")

    def _read_value(self, node: yaml.Node, place: Place) -> Any:
        if isinstance(node, yaml.MappingNode):
            return self._read_mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.read_node(child, (*place, index)) for index, child in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        for hidden in text_mistakes.find_hidden_characters(node.value) if node.style == '"' else ():
            self.source.add_diagnostic(_locate_node(node), "SPEC107", hidden.message, hidden.hint)
        self.source.scalars[place] = Scalar(node.start_mark.index, node.end_mark.index, _read_style(node), node.value)
        return _resolve_scalar(node)

    def _read_mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        values: dict[str, Any] = {}
        merged: Any = {}
        for key_node, value_node in node.value:
            position = _locate_node(key_node)
            if not isinstance(key_node, yaml.ScalarNode) or key_node.value == "":
                self.source.add_diagnostic(position, "SPEC106", "a key must be a word", "quote it, or write a name")
                continue
            key = key_node.value
            if key == "<<":
                message = "merge keys are not used in specs"
                self.source.add_diagnostic(position, "SPEC104", message, "write the keys out")
                merged = self.read_node(value_node, (*place, key))
                continue
            if key in values:
                first = self.source.keys[(*place, key)]
                message = f"`{key}` is given twice; first on line {first.line}"
                self.source.add_diagnostic(position, "SPEC103", message, "keep one of the two")
                continue
            self.source.keys[(*place, key)] = position
            values[key] = self.read_node(value_node, (*place, key))
        return {**merged, **values} if isinstance(merged, dict) else values


def _read_style(node: yaml.ScalarNode) -> str | None:
    style = node.style
    return style if style in ('"', "'", "|", ">") else None


def _resolve_scalar(node: yaml.ScalarNode) -> Any:
    text: str = node.value
    if _read_style(node) is not None:
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
