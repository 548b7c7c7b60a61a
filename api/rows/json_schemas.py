"""Plan -> the models of its bodies and answers, as JSON Schema, so that the API's documentation names the real columns.

In: a plan. Out: JSON Schemas. It must not know how a body is checked: `api.upsert` and `api.question` do that, from the
same plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from engine.columns import columns
from engine.plan import Field, Plan
from engine.rows.query_words import LIMIT, MOST, MOST_OFFSET

UUID: Final[Mapping[str, Any]] = {"type": "string", "format": "uuid"}
TIME: Final[Mapping[str, Any]] = {"type": "string", "format": "date-time"}

MOST_ROWS: Final = 1000  # of one upsert of a spec with `rows`
MOST_VALUES: Final = 1000  # of one filter

SOURCES: Final[Mapping[str, Mapping[str, Any]]] = {
    "source_submission_id": {**UUID, "description": "The submission it comes from; of the same organisation."},
    "source_pipeline_run_id": {**UUID, "description": "The run it comes from; of the same organisation."},
    "source_recorded_at": {
        **TIME,
        "description": "When its source was recorded. An older source never overwrites a newer one. Default: now.",
    },
}
PROVIDED: Final[Mapping[str, Mapping[str, Any]]] = {
    "id": UUID,
    "org_id": UUID,
    "created_at": TIME,
    "updated_at": TIME,
}

_NOT_BLANK: Final = r"\S"

_KINDS: Final = ("boolean", "number", "string", "array", "object")


def upsert_body(plan: Plan) -> dict[str, Any]:
    """Return the schema of an upsert's body."""
    sources = {name: _nullable(schema) for name, schema in SOURCES.items()}
    if not plan.many:
        return _object({**_row(plan), **sources}, _required(plan))
    row = _object(_row(plan), _required(plan))
    rows = {"type": "array", "minItems": 1, "maxItems": MOST_ROWS, "items": row}
    return _object({"rows": rows, **sources}, ["rows"])


def upsert_answer(plan: Plan) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the schemas of an upsert's `data` and `meta`."""
    outcome = {"type": "string", "enum": ["written", "unchanged", "superseded"]}
    meta: dict[str, Any] = {"type": "object", "required": ["outcome"], "properties": {"outcome": outcome}}
    if not plan.many:
        return stored(plan), meta
    meta["properties"] |= {"outcomes": {"type": "object"}, "rejected": {"type": "array", "items": {"type": "object"}}}
    return {"type": "array", "items": stored(plan)}, meta


def query_body(plan: Plan) -> dict[str, Any]:
    """Return the schema of a query's body."""
    filters = {field.name: _filter(field) for field in plan.filters}
    names = {"type": "string", "enum": list(columns(plan))}
    return _object(
        {
            **filters,
            "limit": {"type": ["integer", "null"], "minimum": 1, "maximum": MOST, "default": LIMIT},
            "offset": {
                "type": ["integer", "null"],
                "minimum": 0,
                "maximum": MOST_OFFSET,
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
            "org_id": {**_nullable(UUID), "description": "Super-admin: whose rows. A tenant may name only its own."},
        },
        [],
    )


def query_answer(plan: Plan) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the schemas of a query's `data` and `meta`."""
    cursor = {"type": ["string", "null"], "description": "null on the last page."}
    properties = {"limit": {"type": "integer"}, "offset": {"type": "integer"}, "next_cursor": cursor}
    meta = {"type": "object", "required": list(properties), "properties": properties}
    return {"type": "array", "items": {**stored(plan), "required": []}}, meta


def stored(plan: Plan) -> dict[str, Any]:
    """Return the schema of a row as it is stored."""
    fields = {field.name: _described(field, _column(field)) for field in plan.fields}
    known = {**PROVIDED, **fields, **{name: _nullable(schema) for name, schema in SOURCES.items()}}
    return _object({name: known[name] for name in columns(plan)}, list(columns(plan)))


def _object(properties: Mapping[str, Any], required: list[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": required,
        "additionalProperties": False,
    }


def _required(plan: Plan) -> list[str]:
    return [field.name for field in plan.fields if field.required]


def _row(plan: Plan) -> dict[str, Any]:
    return {field.name: _described(field, _given(field)) for field in plan.fields}


def _given(field: Field) -> dict[str, Any]:
    """What may be sent: what the column takes, or what its first normalizer takes."""
    if field.normalizers:
        kinds = [kind for kind in _KINDS if kind in field.normalizers[0].accepts]
        schema: dict[str, Any] = {"type": kinds[0] if len(kinds) == 1 else kinds} if kinds else {}
    else:
        schema = dict(field.type.json_schema)
    return _present(schema) if field.required else _nullable(schema)


def _present(schema: Mapping[str, Any]) -> dict[str, Any]:
    """`schema` without what counts as missing: null, and a blank text."""
    if not schema:
        return {"type": list(_KINDS)}
    kinds = [schema["type"]] if isinstance(schema.get("type"), str) else list(schema.get("type", ()))
    blank = {"pattern": _NOT_BLANK} if "string" in kinds and "format" not in schema else {}
    return {**schema, **blank}


def _column(field: Field) -> dict[str, Any]:
    return dict(field.type.json_schema) if field.required else _nullable(field.type.json_schema)


def _described(field: Field, schema: dict[str, Any]) -> dict[str, Any]:
    said = [field.description] if field.description else []
    if field.normalizers:
        said.append("Normalized: " + ", ".join(f"`{item.name}`" for item in field.normalizers) + ".")
    return {**schema, "description": " ".join(said)} if said else schema


def _filter(field: Field) -> dict[str, Any]:
    one = _present(_without_null(_given(field)))
    several = {"type": "array", "items": one, "maxItems": MOST_VALUES}
    words = "One value, or a list of which one must match; normalized as the column is."
    return {"anyOf": [_nullable(one), several], "description": words}


def _without_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    kind = schema.get("type")
    if not isinstance(kind, list):
        return dict(schema)
    kinds = [one for one in kind if one != "null"]
    return {**schema, "type": kinds[0] if len(kinds) == 1 else kinds}


def _nullable(schema: Mapping[str, Any]) -> dict[str, Any]:
    """`schema`, or null. A schema without a type takes anything already."""
    kind = schema.get("type")
    if kind is None:
        return dict(schema)
    kinds = [kind] if isinstance(kind, str) else list(kind)
    return {**schema, "type": kinds if "null" in kinds else [*kinds, "null"]}
