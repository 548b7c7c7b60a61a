"""The models of a spec -> `specs/spec.schema.json`, which editors complete and flag by.

In: nothing but the models. Out: JSON Schema text. It must not know any spec: what needs more than one key's view, such
as a path that does not parse, stays with `dex check`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from engine.generate.header import header
from engine.plan import Plan
from engine.spec.models import CORE_TABLES, GENERATED, IDENTIFIER, PROVIDED, RESERVED, SYSTEM, Spec
from engine.values.normalizers import NORMALIZERS

FILE: Final = "specs/spec.schema.json"
Json = dict[str, Any]

#: Column type -> what it takes, for editors and the reference.
TYPE_DOCS: Final = {
    "text": "A string. A blank one is missing. A number needs the normalizer `text`.",
    "jsonb": "Any JSON: object, array, string, number, true or false. Every number keeps its text.",
    "boolean": "true or false, nothing else.",
    "integer": "A whole number of 32 bits.",
    "bigint": "A whole number of 64 bits.",
    "numeric": "A number, exactly as it is written. A number inside a string needs the normalizer `number`.",
    "date": "A day as `2026-05-15`.",
    "timestamptz": "A moment with its offset, as `2026-05-15T18:52:36Z` or with a space for the T."
    " Seconds since 1970 need the normalizer `epoch_seconds`.",
    "uuid": "A UUID with its hyphens.",
    "text[]": "An array of strings. A single string needs the normalizer `list`.",
}

_ON_MISSING_DOCS: Final = ["A missing value leaves the stored one.", "A missing value overwrites with NULL."]
_ON_ABSENT_DOCS: Final = ["Rows whose element is gone stay.", "Rows whose element is gone are deleted."]


def emit(plans: Sequence[Plan] = ()) -> dict[str, str]:
    """Return the schema's text by path. It is the same whatever the plans."""
    return {FILE: json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"}


def schema() -> Json:
    """Return the JSON Schema (draft 2020-12) of a spec as YAML holds it."""
    models = _plain(Spec.model_json_schema())
    _describe_operations(models["properties"]["operations"])
    _describe_fields(models["properties"]["fields"], models["$defs"]["FieldSpec"])
    _describe_lists(models)
    models["properties"]["name"] |= {"not": {"enum": [*GENERATED]}}
    models["properties"]["table"] |= {"not": {"enum": [*CORE_TABLES]}}
    models["properties"]["on_absent"] |= _told(_ON_ABSENT_DOCS)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": header("engine/spec/models.py"),
        "title": "A spec of data-engine-x",
        **models,
        "if": {"properties": {"operations": {"type": "array"}}},
        "then": {"properties": {"fields": {"additionalProperties": {"required": ["path"]}}}},
    }


def _plain(node: Any) -> Any:
    """Drop what pydantic adds and no editor needs: titles made from names, and null beside the real type."""
    if isinstance(node, list):
        return [_plain(child) for child in node]
    if not isinstance(node, dict):
        return node
    if "anyOf" in node and {"type": "null"} in node["anyOf"]:
        (real,) = (child for child in node["anyOf"] if child != {"type": "null"})
        rest = {key: child for key, child in node.items() if key not in ("anyOf", "default")}
        return _plain({**real, **rest})
    made = [key for key, child in node.items() if key == "title" and isinstance(child, str)]
    return {key: _plain(child) for key, child in node.items() if key not in made}


def _describe_operations(operations: Json) -> None:
    """`operations` is written as a list, or as a mapping whose values may stay empty."""
    mapping = {key: operations.pop(key) for key in ("type", "minProperties", "additionalProperties")}
    mapping["additionalProperties"] = {"anyOf": [mapping["additionalProperties"], {"type": "null"}]}
    ids = {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True}
    operations["anyOf"] = [ids, mapping]


def _describe_fields(fields: Json, field: Json) -> None:
    fields["propertyNames"] = {"pattern": IDENTIFIER, "not": {"enum": [*PROVIDED, *RESERVED, *SYSTEM]}}
    properties = field["properties"]
    properties["type"] |= _told([TYPE_DOCS[name] for name in properties["type"]["enum"]])
    names = properties["normalize"]["items"]["enum"]
    properties["normalize"]["items"] |= _told([" ".join(NORMALIZERS[name].doc.split()) for name in names])
    properties["on_missing"] |= _told(_ON_MISSING_DOCS)
    field["allOf"] = [
        {
            "if": {"properties": {"type": {"enum": ["jsonb", "text[]"]}}, "required": ["type"]},
            "then": {"properties": {"filter": {"const": False}}},
        },
        {
            "if": {"properties": {"required": {"const": True}}, "required": ["required"]},
            "then": {"properties": {"on_missing": {"const": "keep"}}},
        },
    ]


def _describe_lists(models: Json) -> None:
    models["properties"]["conflict"] |= {"uniqueItems": True, "contains": {"const": "org_id"}}
    models["$defs"]["TargetSpec"]["properties"]["submissions"] |= {"uniqueItems": True}


def _told(texts: list[str]) -> Json:
    """What each word of an enum means, in the keys that editors read."""
    return {"enumDescriptions": texts, "markdownEnumDescriptions": texts}
