"""Build the JSON Schemas of a plan's request and response bodies, for the OpenAPI document.

They only describe: `upsert_body` and `query_body`, which read the same plan, validate request bodies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from api.http.named_schemas import NamedSchema
from engine.columns import QueryColumn, list_columns, list_query_columns
from engine.generate.type_names import build_type_name, to_pascal_case
from engine.plan import Field, Plan
from engine.provided_columns import PROVIDED_COLUMNS, SOURCE_COLUMNS
from engine.rows.filters import MAX_VALUES, NOT_NULL, Operator, list_operators
from engine.rows.ordering import MAX_COLUMNS, list_order_columns
from engine.rows.outcomes import Outcome
from engine.rows.query import DEFAULT_LIMIT, MAX_FIELDS, MAX_LIMIT, MAX_OFFSET, MAX_SEARCH_LENGTH, Count
from engine.values.column_types import TYPES

MAX_ROWS: Final = 1000  # per upsert of a spec with `rows`

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
    """Build the schema of an upsert's request body."""
    sources = {**_build_operation_field(plan), **{name: _allow_null(schema) for name, schema in SOURCES.items()}}
    if not plan.many:
        body = _build_object({**_build_row_fields(plan), **sources}, _list_required_fields(plan))
        return _name_schema(plan, "Upsert", body)
    row = _build_object(_build_row_fields(plan), _list_required_fields(plan))
    rows = {"type": "array", "minItems": 1, "maxItems": MAX_ROWS, "items": row}
    return _name_schema(plan, "Upsert", _build_object({"rows": rows, **sources}, ["rows"]))


def _build_operation_field(plan: Plan) -> dict[str, Any]:
    """Return the property `source_operation_id`; nothing if all operations have the same normalizers."""
    if not plan.has_normalizers_by_operation:
        return {}
    description = "The operation the values come from: its normalizers apply. Default: those of the spec's fields."
    return {"source_operation_id": {"enum": [*plan.operations, None], "description": description}}


def build_upsert_answer_schemas(plan: Plan) -> tuple[dict[str, Any], dict[str, Any]]:
    """Build the schemas of `data` and `meta` in the response to an upsert."""
    outcome = {"type": "string", "enum": [outcome.value for outcome in Outcome]}
    detail = {"type": "array", "items": {"type": "object"}, "description": "Why the step result gives no row."}
    properties = {"outcome": outcome, "detail": detail}
    meta: dict[str, Any] = {"type": "object", "required": ["outcome"], "properties": properties}
    if not plan.many:
        return {"anyOf": [build_stored_row_schema(plan), {"type": "null"}]}, meta
    meta["properties"] |= {"outcomes": {"type": "object"}, "rejected": {"type": "array", "items": {"type": "object"}}}
    return {"type": "array", "items": build_stored_row_schema(plan)}, meta


def build_query_body_schema(plan: Plan) -> dict[str, Any]:
    """Build the schema of a query's request body."""
    body = _build_object(
        {
            **build_filter_schemas(plan),
            **_build_query_option_schemas(plan),
            # Without `default`, since generated clients treat a property that has one as required.
            "limit": {
                "type": ["integer", "null"],
                "minimum": 1,
                "maximum": MAX_LIMIT,
                "description": f"Rows of a page, {DEFAULT_LIMIT} unless given.",
            },
            "offset": {
                "type": ["integer", "null"],
                "minimum": 0,
                "maximum": MAX_OFFSET,
                "description": "Rows to skip; with a cursor, after it.",
            },
            "cursor": {
                "type": ["string", "null"],
                "description": "`meta.next_cursor` of the page before, with the same filters, `q` and `order`.",
            },
            "count": {
                "type": ["string", "null"],
                "enum": [*(count.value for count in Count), None],
                "description": "Also say in `meta.count` how many rows match; `estimated` counts up to 10,000.",
            },
        },
        [],
    )
    return _name_schema(plan, "Query", body)


def build_export_body_schema(plan: Plan) -> dict[str, Any]:
    """Build the schema of an export's request body: a query without limit, offset, cursor and count."""
    body = _build_object({**build_filter_schemas(plan), **_build_query_option_schemas(plan)}, [])
    return _name_schema(plan, "Export", body)


def _name_schema(plan: Plan, kind: str, schema: Mapping[str, Any]) -> NamedSchema:
    """Name a schema after the plan's row type and `kind`, such as `CompanyIntelBriefingQuery`."""
    return NamedSchema(build_type_name(plan, kind), schema)


def _build_query_option_schemas(plan: Plan) -> dict[str, Any]:
    """Return the schemas of a query's options besides filters and paging: `q`, `order`, `fields`, `org_id`."""
    names = list_order_columns(plan)
    search = {
        "type": ["string", "null"],
        "minLength": 1,
        "maxLength": MAX_SEARCH_LENGTH,
        "description": f'Words to search in {_join_codes(plan.search)}, as in a search engine: `"a phrase"`, `or`,'
        " `-without`.",
    }
    return {
        "order": {
            "type": ["array", "null"],
            "minItems": 1,
            "maxItems": MAX_COLUMNS,
            "items": {"type": "string", "enum": [*names, *(f"-{name}" for name in names)]},
            "description": "One or two columns, `-` for descending, then `id`. Default: newest first. Rows without"
            " a value are last, or first when descending.",
        },
        **({"q": search} if plan.search else {}),
        "fields": {
            "type": ["array", "null"],
            "minItems": 1,
            "maxItems": MAX_FIELDS,
            "items": {"type": "string"},
            "description": "The columns to show, and paths into documents such as"
            f" `{_choose_path_example(plan)}`, which become keys of the row. Default: every column. Leave a document"
            " out to keep the page small.",
        },
        "org_id": {
            **_allow_null(TYPES["uuid"].json_schema),
            "description": "Super-admin: whose rows. A tenant may name only its own.",
        },
    }


def _choose_path_example(plan: Plan) -> str:
    documents = [column.name for column in plan.fields if column.type.name == "jsonb"]
    return f"{documents[0] if documents else 'document'}.funding.total"


def _join_codes(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def build_query_answer_schemas(plan: Plan) -> tuple[dict[str, Any], dict[str, Any]]:
    """Build the schemas of `data` and `meta` in the response to a query."""
    cursor = {"type": ["string", "null"], "description": "null on the last page."}
    properties: dict[str, Any] = {
        "limit": {"type": "integer"},
        "offset": {"type": "integer"},
        "next_cursor": cursor,
    }
    counted = {"type": "integer", "minimum": 0, "description": "Where the query asks for it."}
    meta = {"type": "object", "required": list(properties), "properties": {**properties, "count": counted}}
    return {"type": "array", "items": build_shown_row_schema(plan)}, NamedSchema("PageMeta", meta)


def build_shown_row_schema(plan: Plan) -> dict[str, Any]:
    """Build the schema of a row with the columns that `fields` selects; each selected path is a key of the row."""
    row = {**build_stored_row_schema(plan), "required": [], "additionalProperties": True}
    return _name_schema(plan, "Shown", {**row, "description": "The columns and paths that `fields` names."})


def build_stored_row_schema(plan: Plan) -> dict[str, Any]:
    """Build the schema of a row with all columns."""
    fields = {column.name: _add_description(column, _build_column_schema(column)) for column in plan.fields}
    provided = {name: TYPES[column.type].json_schema for name, column in PROVIDED_COLUMNS.items()}
    known = {**provided, **fields, **{name: _allow_null(schema) for name, schema in SOURCES.items()}}
    row = _build_object({name: known[name] for name in list_columns(plan)}, list(list_columns(plan)))
    return _name_schema(plan, "", row)


def _build_object(properties: Mapping[str, Any], required: list[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": required,
        "additionalProperties": False,
    }


def _list_required_fields(plan: Plan) -> list[str]:
    return [column.name for column in plan.given_fields if column.required]


def _build_row_fields(plan: Plan) -> dict[str, Any]:
    return {
        column.name: _add_description(column, _build_input_schema(_find_widest(plan, column)))
        for column in plan.given_fields
    }


def _find_widest(plan: Plan, column: Field) -> Field:
    """Return `column`; or, if operations have different normalizers for it, a copy that accepts any JSON value."""
    same = all(variant.normalizers == column.normalizers for variant in plan.list_operation_fields(column.name))
    return column if same else replace(column, type=TYPES["jsonb"], normalizers=())


def _build_input_schema(column: Field) -> dict[str, Any]:
    """Return the schema of a value that may be sent for a column: what its first normalizer, or its type, accepts."""
    if column.normalizers:
        kinds = [kind for kind in _KINDS if kind in column.normalizers[0].accepts]
        schema: dict[str, Any] = {"type": kinds[0] if len(kinds) == 1 else kinds} if kinds else {}
        if "array" in kinds:
            schema["items"] = {}
    else:
        schema = dict(column.type.json_schema)
    return _exclude_blank(schema) if column.required else _allow_null(schema)


def _exclude_blank(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return `schema` without null and blank text, which count as missing."""
    if not schema:
        return {"type": list(_KINDS), "items": {}}
    kinds = [schema["type"]] if isinstance(schema.get("type"), str) else list(schema.get("type", ()))
    blank = {"pattern": _NOT_BLANK} if "string" in kinds and "format" not in schema else {}
    return {**schema, **blank}


def _build_column_schema(column: Field) -> dict[str, Any]:
    return dict(column.type.json_schema) if column.required else _allow_null(column.type.json_schema)


def _add_description(column: Field, schema: dict[str, Any]) -> dict[str, Any]:
    sentences = [column.description] if column.description else []
    if column.coalesce:
        sentences.append(f"Derived: the first of {', '.join(f'`{name}`' for name in column.coalesce)} with a value.")
    if column.normalizers:
        names = ", ".join(f"`{normalizer.name}`" for normalizer in column.normalizers)
        sentences.append(f"Normalized: {names}.")
    return {**schema, "description": " ".join(sentences)} if sentences else schema


def build_filter_schemas(plan: Plan) -> dict[str, Any]:
    """Build the schema of each filter by column: a value, a list of values, or an object of operators."""
    return {column.name: _build_filter_schema(plan, column) for column in list_query_columns(plan).values()}


def _build_filter_schema(plan: Plan, column: QueryColumn) -> dict[str, Any]:
    operators = list_operators(column)
    value: dict[str, Any] = dict(column.type.json_schema)
    if column.field is not None:
        value = _exclude_blank(_remove_null(_build_input_schema(column.field)))
    several = {"type": "array", "items": value, "maxItems": MAX_VALUES}
    part = {"type": "string", "minLength": 1}
    operands: dict[Operator, Any] = {
        Operator.IN: several,
        Operator.PREFIX: part,
        Operator.CONTAINS: part,
        Operator.IS: {"enum": [None, NOT_NULL]},
    }
    described = {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": False,
        "properties": {operator.value: operands.get(operator, value) for operator in operators},
        "description": "Operators, all of which must hold.",
    }
    if column.field is None:
        comparison = NamedSchema(f"{to_pascal_case(column.name)}Comparison", described)
    else:
        comparison = _name_schema(plan, f"{to_pascal_case(column.name)}Comparison", described)
    if Operator.EQ not in operators:
        return comparison
    sentences = ["A value, a list of which one must match, or operators, all of which must hold."]
    if column.field is not None and column.field.normalizers:
        sentences.append("Normalized as the column is, `prefix` and `contains` aside.")
    return {"anyOf": [value, several, comparison], "description": " ".join(sentences)}


def _remove_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    kind = schema.get("type")
    if not isinstance(kind, list):
        return dict(schema)
    kinds = [name for name in kind if name != "null"]
    return {**schema, "type": kinds[0] if len(kinds) == 1 else kinds}


def _allow_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return `schema` with null allowed; a schema without a type allows it already."""
    kind = schema.get("type")
    if kind is None:
        return dict(schema)
    kinds = [kind] if isinstance(kind, str) else list(kind)
    return {**schema, "type": kinds if "null" in kinds else [*kinds, "null"]}
