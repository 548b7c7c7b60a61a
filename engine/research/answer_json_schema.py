"""Build the JSON Schema of an answer from the columns that read it (`output_schema: from_fields`).

The properties are named after the steps of the columns' paths. As providers of structured answers demand, every
property is required and objects allow no others; a value that may be absent may be null instead. Providers refuse
keywords for the format of a string, so a date is a string whose description says how to write it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from engine.research.json_schema_limits import Schema
from engine.research.json_schema_paths import EACH, AnswerSteps

#: By column type, the JSON Schema of a value that is not null. `jsonb` is an object with unknown properties.
_LEAVES: Final[Mapping[str, Schema]] = {
    "text": {"type": "string"},
    "jsonb": {"type": "object"},
    "boolean": {"type": "boolean"},
    "integer": {"type": "integer"},
    "bigint": {"type": "integer"},
    "numeric": {"type": "number"},
    "double precision": {"type": "number"},
    "date": {"type": "string"},
    "timestamptz": {"type": "string"},
    "uuid": {"type": "string"},
    "text[]": {"type": "array", "items": {"type": "string"}},
}
#: By column type or normalizer, the sentence in a description that says how to write the values.
_SPELLINGS: Final[Mapping[str, str]] = {
    "date": "Written as YYYY-MM-DD.",
    "timestamptz": "Written as a timestamp with its offset, such as 2026-05-15T18:52:36Z.",
    "uuid": "Written as a UUID.",
    "domain": "Written as a domain, such as acme.com.",
    "registrable_domain": "Written as a domain, such as acme.com.",
    "url": "Written as a URL, such as https://acme.com/about.",
    "email": "Written as an e-mail address.",
    "phone": "Written as a phone number with its country code, such as +14155552671.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerColumn:
    """A column that is read from the answer, at `steps` inside its content; EACH is a step into an array's elements."""

    name: str
    type: str
    steps: AnswerSteps
    required: bool
    description: str
    normalizers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ColumnContradiction:
    """Two columns that read the same property as different types; `column` is the later one."""

    column: str
    message: str


@dataclass(slots=True)
class _Node:
    """One value of the answer: a scalar with a type, an object with parts, or an array, whose only part is EACH."""

    parts: dict[str | None, _Node] = field(default_factory=dict)
    leaf: AnswerColumn | None = None


def build_answer_schema(
    columns: Iterable[AnswerColumn], lists: Iterable[AnswerSteps], description: str
) -> tuple[Schema, list[ColumnContradiction]]:
    """Return the schema of an answer from which the columns can be read, and the columns that contradict others.

    `lists` are the arrays whose elements become rows: the schema has them even if no column reads an element.
    """
    root, contradictions = _Node(), []
    for column in columns:
        node = _grow_tree(root, column.steps)
        if message := _describe_contradiction(root, column, node):
            contradictions.append(ColumnContradiction(column.name, message))
        elif node.leaf is None:
            node.leaf = column
    for steps in lists:
        _grow_tree(root, steps).parts.setdefault(EACH, _Node())
    schema = _build_node(root, is_nullable=False)
    return ({"description": description, **schema} if description else schema), contradictions


def _grow_tree(root: _Node, steps: AnswerSteps) -> _Node:
    node = root
    for step in steps:
        node = node.parts.setdefault(step, _Node())
    return node


def _describe_contradiction(root: _Node, column: AnswerColumn, node: _Node) -> str:
    """Return how a column contradicts earlier ones; "" if it does not."""
    way = [root]
    for step in column.steps:
        way.append(way[-1].parts[step])
    for above in way[:-1]:
        if above.leaf is not None and above.leaf.type != "jsonb":
            return f"`{above.leaf.name}` reads the value around it as {above.leaf.type}"
        if EACH in above.parts and len(above.parts) > 1:
            return "the value around it is read as an array and as an object"
    if node.parts and column.type != "jsonb":
        return "other columns read parts of it"
    if node.leaf is not None and _LEAVES[node.leaf.type] != _LEAVES[column.type]:
        return f"`{node.leaf.name}` reads it as {node.leaf.type}"
    return ""


def _build_node(node: _Node, *, is_nullable: bool) -> Schema:
    if EACH in node.parts:
        # An array whose elements become rows is never null: `[]` is the only way to say that there are none.
        schema: Schema = {"type": "array", "items": _build_node(node.parts[EACH], is_nullable=False)}
    elif node.parts:
        schema = {
            "type": "object",
            "properties": {
                str(name): _build_node(part, is_nullable=not _is_needed(part)) for name, part in node.parts.items()
            },
            "required": [str(name) for name in node.parts],
            "additionalProperties": False,
        }
    elif node.leaf is not None:
        schema = dict(_LEAVES[node.leaf.type])
        if is_nullable:
            schema["type"] = [schema["type"], "null"]
    else:
        schema = {"type": "object", "properties": {}, "additionalProperties": False}
    description = _describe_leaf(node.leaf) if node.leaf else ""
    return {**schema, "description": description} if description else schema


def _is_needed(node: _Node) -> bool:
    return bool(node.parts) or (node.leaf is not None and node.leaf.required)


def _describe_leaf(column: AnswerColumn) -> str:
    spellings = [_SPELLINGS[name] for name in (column.type, *column.normalizers) if name in _SPELLINGS]
    return " ".join([*column.description.split(), *spellings[:1]])
