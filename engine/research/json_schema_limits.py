"""Check the JSON Schema of an answer against a provider's limits, so that an order is not refused later."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from engine.errors import suggest_name
from engine.research.providers import ResearchProvider

Schema: TypeAlias = "dict[str, Any]"
SchemaPlace: TypeAlias = "tuple[str | int, ...]"

#: The values of `type` in a JSON Schema.
TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
#: Keywords that contain schemas by name, one schema, and a list of schemas.
_BY_NAME = ("properties", "$defs", "definitions")
_ONE = ("items", "additionalProperties", "not")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")


@dataclass(frozen=True, slots=True)
class SchemaMistake:
    """A mistake at one place of a schema, for which the provider refuses it; or a reserved name, a warning."""

    place: SchemaPlace
    is_reserved_name: bool
    message: str
    hint: str


def find_schema_mistakes(schema: Any, provider: ResearchProvider) -> Iterator[SchemaMistake]:
    """Yield a mistake for everything in a schema that the provider would refuse, and for its reserved names."""
    limits, title = provider.limits, provider.title
    if not isinstance(schema, dict):
        yield _build_mistake((), "a JSON Schema is an object", 'begin with {"type": "object", "properties": {...}}')
        return
    yield from _check_root(schema, title)
    nodes = list(walk_schema(schema))
    for place, node in nodes:
        yield from _check_node(place, node, provider)
    properties = [(place, name) for place, node in nodes for name in _read_mapping(node.get("properties"))]
    if len(properties) > limits.most_properties:
        place, name = properties[limits.most_properties]
        message = f"{len(properties)} properties: {title} takes at most {limits.most_properties} of all levels together"
        yield _build_mistake(
            (*place, "properties", name), message, "leave some out, or ask for them in another operation"
        )
    values = [value for _, node in nodes for value in _read_list(node.get("enum"))]
    if len(values) > limits.most_enum_values:
        message = f"{len(values)} enum values: {title} takes at most {limits.most_enum_values}"
        yield _build_mistake((), message, "say in the `description` which values are meant")
    length = len(json.dumps(schema, ensure_ascii=False))
    if length > limits.most_schema_characters:
        message = f"{length} characters: {title} takes a schema of at most {limits.most_schema_characters}"
        yield _build_mistake((), message, "shorten the descriptions")


def walk_schema(schema: Schema) -> Iterator[tuple[SchemaPlace, Schema]]:
    """Yield a schema and every schema within it, outer ones first, each as (place, schema)."""
    pending: list[tuple[SchemaPlace, Any]] = [((), schema)]
    while pending:
        place, node = pending.pop(0)
        if not isinstance(node, dict):
            continue
        yield place, node
        for keyword in _BY_NAME:
            pending += [((*place, keyword, name), child) for name, child in _read_mapping(node.get(keyword)).items()]
        pending += [((*place, keyword), node[keyword]) for keyword in _ONE if keyword in node]
        for keyword in _LISTS:
            children = enumerate(_read_list(node.get(keyword)))
            pending += [((*place, keyword, index), child) for index, child in children]


def count_levels(place: SchemaPlace, node: Schema) -> int:
    """Return the level of nested objects and arrays at which a node is, with 1 for the root; 0 for a scalar."""
    if not {"object", "array"} & set(list_types(node)):
        return 0
    return 1 + sum(_is_step_inside(place, index) for index in range(len(place)))


def list_types(node: Schema) -> list[str]:
    """Return the types of a schema as a list, also if it has only one."""
    kind = node.get("type")
    kinds = [kind] if isinstance(kind, str) else _read_list(kind)
    if not kinds and "properties" in node:
        return ["object"]
    return [name for name in kinds if isinstance(name, str)]


def _is_step_inside(place: SchemaPlace, index: int) -> bool:
    """Return whether the step at `index` enters an object or array: it is a property's name, or `items`."""
    named = index > 0 and place[index - 1] in _BY_NAME and not _is_step_inside(place, index - 1)
    return named or (place[index] in ("items", "additionalProperties") and not named)


def _check_root(schema: Schema, title: str) -> Iterator[SchemaMistake]:
    if schema.get("type") != "object":
        found = json.dumps(schema["type"]) if "type" in schema else "none"
        message = f"the root of an answer is an object at {title}: `type` is {found}"
        yield _build_mistake(("type",) if "type" in schema else (), message, 'write "type": "object"')
    if not _read_mapping(schema.get("properties")):
        place: SchemaPlace = ("properties",) if "properties" in schema else ()
        yield _build_mistake(place, "the root has no `properties`", 'write "properties": {"name": {"type": "string"}}')
    for keyword in ("anyOf", "oneOf", "allOf"):
        if keyword in schema:
            message = f"the root cannot have `{keyword}` at {title}"
            yield _build_mistake((keyword,), message, "list the properties of one object")


def _check_node(place: SchemaPlace, node: Schema, provider: ResearchProvider) -> Iterator[SchemaMistake]:
    limits, title = provider.limits, provider.title
    for keyword in sorted(limits.unsupported_keywords & node.keys()):
        message = f"{title} does not know the keyword `{keyword}`"
        yield _build_mistake((*place, keyword), message, "say it in the `description`")
    for kind in list_types(node):
        if kind not in TYPES:
            yield _build_mistake((*place, "type"), f"`{kind}` is no type of JSON Schema", suggest_name(kind, TYPES))
    if node.get("type") == "null" and not (place and place[-2:-1] and place[-2] in _LISTS):
        hint = 'write both, "type": ["string", "null"]'
        yield _build_mistake((*place, "type"), f"`null` alone is no type of an answer at {title}", hint)
    if count_levels(place, node) == limits.most_levels + 1:
        message = f"this is level {limits.most_levels + 1}: {title} takes at most {limits.most_levels} levels"
        yield _build_mistake(place, f"{message} of objects and arrays", "make the answer flatter")
    for name in _read_mapping(node.get("properties")):
        if name in limits.reserved_names:
            message = f"`{name}` is a name that {title} answers itself, in `basis`, for every property"
            hint = f"call it `{name}_text`, say, or read it from the basis"
            yield SchemaMistake((*place, "properties", name), True, message, hint)


def _build_mistake(place: SchemaPlace, message: str, hint: str) -> SchemaMistake:
    return SchemaMistake(place, False, message, hint)


def _read_mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _read_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
