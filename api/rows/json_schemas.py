"""Build the JSON Schemas of a plan's bodies and answers, so that the OpenAPI document names the real columns.

The bodies are checked by `upsert_body` and `query_body`, which read the same plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from engine.columns import list_columns
from engine.plan import Field, Plan
from engine.provided_columns import PROVIDED_COLUMNS, SOURCE_COLUMNS
from engine.rows.outcomes import Outcome
from engine.rows.query import DEFAULT_LIMIT, MAX_LIMIT, MAX_OFFSET
from engine.values.column_types import TYPES

MAX_ROWS: Final = 1000  # of one upsert of a spec with `rows`
MAX_FILTER_VALUES: Final = 1000  # of one filter

_SOURCE_DESCRIPTIONS: Final[Mapping[str, str]] = {
    "source_submission_id": "The submission it comes from; of the same organisation.",
    "source_pipeline_run_id": "The run it comes from; of the same organisation.",
    "source_step_result_id": (
        "The step result it comes from; of the same run. Once that is recorded, its stored result is what counts, and"
        " the row is made of it as by a backfill."
    ),
    "source_recorded_at": "When its source was recorded. An older source never overwrites a newer one. Default: now.",
}
SOURCES: Final[Mapping[str, Mapping[str, Any]]] = {
    name: {**TYPES[kind].json_schema, "description": _SOURCE_DESCRIPTIONS[name]}
    for name, kind in SOURCE_COLUMNS.items()
}

_NOT_BLANK: Final = r"\S"

_KINDS: Final = ("boolean", "number", "string", "array", "object")


def build_upsert_body_schema(plan: Plan) -> dict[str, Any]:
    """Return the schema of an upsert's body."""
    sources = {name: _allow_null(schema) for name, schema in SOURCES.items()}
    if not plan.many:
        return _build_object({**_build_row_fields(plan), **sources}, _list_required_fields(plan))
    row = _build_object(_build_row_fields(plan), _list_required_fields(plan))
    rows = {"type": "array", "minItems": 1, "maxItems": MAX_ROWS, "items": row}
    return _build_object({"rows": rows, **sources}, ["rows"])


def build_upsert_answer_schemas(plan: Plan) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the schemas of an upsert's `data` and `meta`."""
    outcome = {"type": "string", "enum": [outcome.value for outcome in Outcome]}
    detail = {"type": "array", "items": {"type": "object"}, "description": "Why the step result gives no row."}
    properties = {"outcome": outcome, "detail": detail}
    meta: dict[str, Any] = {"type": "object", "required": ["outcome"], "properties": properties}
    if not plan.many:
        return _allow_null(build_stored_row_schema(plan)), meta
    meta["properties"] |= {"outcomes": {"type": "object"}, "rejected": {"type": "array", "items": {"type": "object"}}}
    return {"type": "array", "items": build_stored_row_schema(plan)}, meta


def build_query_body_schema(plan: Plan) -> dict[str, Any]:
    """Return the schema of a query's body."""
    filters = {column.name: _build_filter_schema(column) for column in plan.filters}
    names = {"type": "string", "enum": list(list_columns(plan))}
    return _build_object(
        {
            **filters,
            "limit": {"type": ["integer", "null"], "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
            "offset": {
                "type": ["integer", "null"],
                "minimum": 0,
                "maximum": MAX_OFFSET,
                "default": 0,
                "description": "Counted from the cursor, where there is one.",
            },
            "cursor": {"type": ["string", "null"], "description": "`meta.next_cursor` of the page before."},
            "fields": {
                "type": ["array", "null"],
                "minItems": 1,
                "items": names,
                "description": "The columns to show. Default: all. Leave a document out and the page is light.",
            },
            "org_id": {
                **_allow_null(TYPES["uuid"].json_schema),
                "description": "Super-admin: whose rows. A tenant may name only its own.",
            },
        },
        [],
    )


def build_query_answer_schemas(plan: Plan) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the schemas of a query's `data` and `meta`."""
    cursor = {"type": ["string", "null"], "description": "null on the last page."}
    properties = {"limit": {"type": "integer"}, "offset": {"type": "integer"}, "next_cursor": cursor}
    meta = {"type": "object", "required": list(properties), "properties": properties}
    return {"type": "array", "items": {**build_stored_row_schema(plan), "required": []}}, meta


def build_stored_row_schema(plan: Plan) -> dict[str, Any]:
    """Return the schema of a row as it is stored."""
    fields = {column.name: _add_description(column, _build_column_schema(column)) for column in plan.fields}
    provided = {name: TYPES[column.type].json_schema for name, column in PROVIDED_COLUMNS.items()}
    known = {**provided, **fields, **{name: _allow_null(schema) for name, schema in SOURCES.items()}}
    return _build_object({name: known[name] for name in list_columns(plan)}, list(list_columns(plan)))


def _build_object(properties: Mapping[str, Any], required: list[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": required,
        "additionalProperties": False,
    }


def _list_required_fields(plan: Plan) -> list[str]:
    return [column.name for column in plan.fields if column.required]


def _build_row_fields(plan: Plan) -> dict[str, Any]:
    return {column.name: _add_description(column, _build_input_schema(column)) for column in plan.fields}


def _build_input_schema(column: Field) -> dict[str, Any]:
    """Return the schema of a value that may be sent: that of the first normalizer, or of the column."""
    if column.normalizers:
        kinds = [kind for kind in _KINDS if kind in column.normalizers[0].accepts]
        schema: dict[str, Any] = {"type": kinds[0] if len(kinds) == 1 else kinds} if kinds else {}
    else:
        schema = dict(column.type.json_schema)
    return _exclude_blank(schema) if column.required else _allow_null(schema)


def _exclude_blank(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return `schema` without null and blank text, both of which count as missing."""
    if not schema:
        return {"type": list(_KINDS)}
    kinds = [schema["type"]] if isinstance(schema.get("type"), str) else list(schema.get("type", ()))
    blank = {"pattern": _NOT_BLANK} if "string" in kinds and "format" not in schema else {}
    return {**schema, **blank}


def _build_column_schema(column: Field) -> dict[str, Any]:
    return dict(column.type.json_schema) if column.required else _allow_null(column.type.json_schema)


def _add_description(column: Field, schema: dict[str, Any]) -> dict[str, Any]:
    sentences = [column.description] if column.description else []
    if column.normalizers:
        names = ", ".join(f"`{normalizer.name}`" for normalizer in column.normalizers)
        sentences.append(f"Normalized: {names}.")
    return {**schema, "description": " ".join(sentences)} if sentences else schema


def _build_filter_schema(column: Field) -> dict[str, Any]:
    value = _exclude_blank(_remove_null(_build_input_schema(column)))
    several = {"type": "array", "items": value, "maxItems": MAX_FILTER_VALUES}
    description = "One value, or a list of which one must match; normalized as the column is."
    return {"anyOf": [_allow_null(value), several], "description": description}


def _remove_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    kind = schema.get("type")
    if not isinstance(kind, list):
        return dict(schema)
    kinds = [name for name in kind if name != "null"]
    return {**schema, "type": kinds[0] if len(kinds) == 1 else kinds}


def _allow_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return `schema` with null allowed. A schema without a type allows it already."""
    kind = schema.get("type")
    if kind is None:
        return dict(schema)
    kinds = [kind] if isinstance(kind, str) else list(kind)
    return {**schema, "type": kinds if "null" in kinds else [*kinds, "null"]}
