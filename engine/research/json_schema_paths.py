"""Find out at which paths an answer of a given JSON Schema can have a value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from engine.research.json_schema_limits import TYPES, Schema, list_types

#: The step into every element of an array.
EACH = None
AnswerSteps: TypeAlias = "tuple[str | None, ...]"


def find_dead_step(schema: Schema, steps: Sequence[str | None]) -> int | None:
    """Return the index of the first step at which no answer to the schema can have a value; None if there is none."""
    nodes = [schema]
    for index, step in enumerate(steps):
        nodes = [child for node in nodes for child in _list_children(schema, node, step)]
        if not nodes:
            return index
    return None


def list_kinds(schema: Schema, steps: Sequence[str | None]) -> set[str]:
    """Return the JSON types that the value at `steps` can have; all types if the schema does not say."""
    kinds: set[str] = set()
    for variant in _follow_steps(schema, steps):
        kinds |= set(list_types(variant)) or _list_kinds_of_values(variant)
    return kinds


def list_properties(schema: Schema, steps: Sequence[str | None]) -> list[str]:
    """Return the names of the properties that the value at `steps` can have."""
    return sorted({name for variant in _follow_steps(schema, steps) for name in variant.get("properties", {})})


def _follow_steps(schema: Schema, steps: Sequence[str | None]) -> Iterator[Schema]:
    """Yield the schemas that the value at `steps` can have, references and alternatives resolved."""
    nodes = [schema]
    for step in steps:
        nodes = [child for node in nodes for child in _list_children(schema, node, step)]
    for node in nodes:
        yield from _list_variants(schema, node)


_MOST_REFERENCES = 20


def _list_kinds_of_values(node: Schema) -> set[str]:
    values = node.get("enum", [node["const"]] if "const" in node else None)
    if not isinstance(values, list):
        return set(TYPES)
    names = {bool: "boolean", str: "string", list: "array", dict: "object", type(None): "null"}
    return {names.get(type(value), "number") for value in values}


def _list_children(root: Schema, node: Schema, step: str | None) -> Iterator[Schema]:
    """Yield the schemas that the value at `step` can have inside a value with the schema `node`."""
    for variant in _list_variants(root, node):
        kinds = list_types(variant)
        if step is EACH:
            if not kinds or "array" in kinds:
                yield _read_schema(variant.get("items"))
        elif not kinds or "object" in kinds:
            properties = variant.get("properties")
            if isinstance(properties, dict) and step in properties:
                yield _read_schema(properties[step])
            elif isinstance(variant.get("additionalProperties"), dict):
                yield variant["additionalProperties"]
            elif not isinstance(properties, dict) or variant.get("additionalProperties") is True:
                yield {}


def _list_variants(root: Schema, node: Schema, depth: int = 0) -> Iterator[Schema]:
    """Yield the schemas that a node can mean: its references and alternatives (`anyOf`, `oneOf`) resolved."""
    if depth > _MOST_REFERENCES:
        return
    reference = node.get("$ref")
    if isinstance(reference, str):
        yield from _list_variants(root, _resolve_reference(root, reference), depth + 1)
        return
    alternatives = [
        schema
        for keyword in ("anyOf", "oneOf", "allOf")
        for schema in node.get(keyword, [])
        if isinstance(schema, dict)
    ]
    for alternative in alternatives:
        yield from _list_variants(root, alternative, depth + 1)
    if not alternatives or "properties" in node:
        yield node


def _resolve_reference(root: Schema, reference: str) -> Schema:
    node: Any = root
    for step in reference.removeprefix("#").split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        node = node.get(name) if isinstance(node, dict) else None
    return _read_schema(node)


def _read_schema(value: Any) -> Schema:
    return value if isinstance(value, dict) else {}
