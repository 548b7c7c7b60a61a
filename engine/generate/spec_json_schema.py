"""Build `specs/spec.schema.json` from the models of a spec: with it, editors complete keys and underline mistakes.

Mistakes that no schema can express, such as a path that does not parse, are found by `dex check`.
"""

from __future__ import annotations

import json
from typing import Any, Final

from engine.generate.header import build_header
from engine.provided_columns import ENGINE_COLUMNS
from engine.spec.models import (
    CORE_TABLES,
    IDENTIFIER,
    OPERATION_ID,
    RESERVED_PARAMETERS,
    RESERVED_SLUGS,
    RESERVED_SPEC_NAMES,
    SYSTEM_COLUMNS,
    Spec,
)
from engine.values.normalizers import NORMALIZERS

SCHEMA_FILE: Final = "specs/spec.schema.json"
#: A JSON Schema, or a part of one.
Schema = dict[str, Any]

#: By column type, the values that it accepts: for editors and for the reference.
TYPE_DOCS: Final = {
    "text": "A string. A blank one is missing. A number needs the normalizer `text`.",
    "jsonb": "Any JSON: object, array, string, number, true or false. Every number keeps its text.",
    "boolean": "true or false, nothing else.",
    "integer": "A whole number of 32 bits.",
    "bigint": "A whole number of 64 bits.",
    "numeric": "A number, exactly as it is written. A number inside a string needs the normalizer `number`.",
    "double precision": "A number, to the 15 digits or so that a double holds; `numeric` keeps them all.",
    "date": "A day as `2026-05-15`.",
    "timestamptz": "A moment with its offset, as `2026-05-15T18:52:36Z` or with a space for the T."
    " Seconds since 1970 need the normalizer `epoch_seconds`.",
    "uuid": "A UUID with its hyphens.",
    "text[]": "An array of strings. A single string needs the normalizer `list`.",
}

_PATH_OR_COALESCE: Final = [{"required": ["path"]}, {"required": ["coalesce"]}]
_ON_MISSING_DOCS: Final = ["A missing value leaves the stored one.", "A missing value overwrites with NULL."]
_ON_ABSENT_DOCS: Final = ["Rows whose element is gone stay.", "Rows whose element is gone are deleted."]


def build_json_schema_files() -> dict[str, str]:
    """Return the text of the JSON Schema by its path."""
    return {SCHEMA_FILE: json.dumps(build_json_schema(), indent=2, ensure_ascii=False) + "\n"}


def build_json_schema() -> Schema:
    """Return the JSON Schema (draft 2020-12) of a spec, in the forms that its YAML may have."""
    models = _remove_titles_and_nulls(Spec.model_json_schema())
    _describe_operations(models["properties"]["operations"])
    _describe_fields(models["properties"]["fields"], models["$defs"]["FieldSpec"])
    _constrain_lists(models)
    models["properties"]["name"] |= {"not": {"enum": [*RESERVED_SPEC_NAMES]}}
    models["properties"]["table"] |= {"not": {"enum": [*CORE_TABLES]}}
    models["properties"]["slug"] |= {"not": {"enum": [*RESERVED_SLUGS]}}
    models["properties"]["on_absent"] |= _describe_enum(_ON_ABSENT_DOCS)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": build_header("engine/spec/models.py"),
        "title": "A spec of data-engine-x",
        **models,
        "if": {"properties": {"operations": {"type": "array"}}},
        "then": {"properties": {"fields": {"additionalProperties": {"oneOf": _PATH_OR_COALESCE}}}},
    }


def _remove_titles_and_nulls(node: Any) -> Any:
    """Remove what pydantic adds and no editor needs: titles that repeat the names, and null as an alternative type."""
    if isinstance(node, list):
        return [_remove_titles_and_nulls(child) for child in node]
    if not isinstance(node, dict):
        return node
    if "anyOf" in node and {"type": "null"} in node["anyOf"]:
        choices = [child for child in node["anyOf"] if child != {"type": "null"}]
        rest = {key: child for key, child in node.items() if key not in ("anyOf", "default")}
        return _remove_titles_and_nulls({**(choices[0] if len(choices) == 1 else {"anyOf": choices}), **rest})
    titles = [key for key, child in node.items() if key == "title" and isinstance(child, str)]
    return {key: _remove_titles_and_nulls(child) for key, child in node.items() if key not in titles}


def _describe_operations(operations: Schema) -> None:
    """Allow `operations` to be a list of ids, or a mapping whose values may be empty."""
    mapping = {key: operations.pop(key) for key in ("type", "minProperties", "additionalProperties")}
    mapping["propertyNames"] = {"pattern": OPERATION_ID}
    mapping["additionalProperties"] = {"anyOf": [mapping["additionalProperties"], {"type": "null"}]}
    ids = {"type": "array", "items": {"type": "string", "pattern": OPERATION_ID}, "minItems": 1, "uniqueItems": True}
    operations["anyOf"] = [ids, mapping]


def _describe_fields(fields: Schema, field: Schema) -> None:
    fields["propertyNames"] = {
        "pattern": IDENTIFIER,
        "not": {"enum": [*ENGINE_COLUMNS, *RESERVED_PARAMETERS, *SYSTEM_COLUMNS]},
    }
    properties = field["properties"]
    properties["type"] |= _describe_enum([TYPE_DOCS[name] for name in properties["type"]["enum"]])
    names = properties["normalize"]["items"]["enum"]
    properties["normalize"]["items"] |= _describe_enum([" ".join(NORMALIZERS[name].doc.split()) for name in names])
    properties["on_missing"] |= _describe_enum(_ON_MISSING_DOCS)
    field["allOf"] = [
        {
            "if": {"properties": {"type": {"const": "jsonb"}}, "required": ["type"]},
            "then": {"properties": {"filter": {"const": False}}},
        },
        {
            "if": {"properties": {"required": {"const": True}}, "required": ["required"]},
            "then": {"properties": {"on_missing": {"const": "keep"}}},
        },
    ]


def _constrain_lists(models: Schema) -> None:
    models["properties"]["conflict"] |= {"uniqueItems": True, "contains": {"const": "org_id"}}
    models["$defs"]["TargetSpec"]["properties"]["submissions"] |= {"uniqueItems": True}


def _describe_enum(texts: list[str]) -> Schema:
    """Return the descriptions of an enum's values, under the keys that editors read."""
    return {"enumDescriptions": texts, "markdownEnumDescriptions": texts}
