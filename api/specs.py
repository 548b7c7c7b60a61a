"""The endpoints that describe the specs: their columns, the path of each, and their YAML text."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from api.auth import authenticate_tenant_or_admin
from api.context import Context
from api.http.endpoint import build_data_response, endpoint
from api.http.errors import Fault
from api.http.openapi import build_data_schema
from api.rows.tenant import TENANT_HEADERS
from engine.columns import list_columns, list_query_columns
from engine.errors import suggest_name
from engine.plan import OperationMapping, Plan
from engine.provided_columns import PROVIDED_COLUMNS
from engine.research_plan import Research
from engine.rows.filters import list_operators
from engine.rows.ordering import list_order_columns

_STRINGS: Final = {"type": "array", "items": {"type": "string"}}
_SOURCE: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["operation", "path", "normalizers"],
    "properties": {
        "operation": {"type": "string"},
        "path": {"type": ["string", "null"], "description": "null: derived from other columns."},
        "normalizers": _STRINGS,
    },
}
_COLUMN: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["name", "type", "provided", "key", "required", "operators", "sortable", "sources"],
    "properties": {
        "name": {"type": "string"},
        "type": {"type": "string"},
        "description": {"type": "string"},
        "provided": {"type": "boolean", "description": "Every table has this column, and the engine fills it."},
        "key": {"type": "boolean"},
        "required": {"type": "boolean"},
        "on_missing": {"type": ["string", "null"]},
        "on_invalid": {"type": ["string", "null"]},
        "coalesce": _STRINGS,
        "operators": {**_STRINGS, "description": "The operators a query may filter it by."},
        "sortable": {"type": "boolean"},
        "sources": {"type": "array", "items": _SOURCE},
    },
}
_RESEARCH: Final[dict[str, Any]] = {
    "type": ["object", "null"],
    "description": "How the operation is executed; null where another spec or none has the `research` block.",
    "required": ["operation", "provider", "processor", "fresh_for_seconds", "inputs"],
    "properties": {
        "operation": {"type": "string"},
        "provider": {"type": "string"},
        "processor": {"type": "string"},
        "fresh_for_seconds": {"type": ["number", "null"]},
        "inputs": {"type": "array", "items": {"type": "object"}},
        "prompt": {"type": "string", "description": "In the answer of one spec, not in the list."},
    },
}
SPEC: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["name", "title", "description", "slug", "table", "operations", "conflict", "columns", "research"],
    "properties": {
        "name": {"type": "string"},
        "title": {"type": "string"},
        "description": {"type": "string"},
        "slug": {"type": "string", "description": "Path segment of its endpoints."},
        "table": {"type": "string"},
        "file": {"type": "string"},
        "operations": _STRINGS,
        "conflict": {**_STRINGS, "description": "The columns that identify a row, with `org_id`."},
        "search": {**_STRINGS, "description": "The columns that `q` searches."},
        "many": {"type": "boolean", "description": "One step result may give several rows."},
        "on_absent": {"type": "string"},
        "mappings": {"type": "array", "items": {"type": "object"}},
        "columns": {"type": "array", "items": _COLUMN},
        "research": _RESEARCH,
    },
}
_WHOLE_SPEC: Final[dict[str, Any]] = {
    **SPEC,
    "required": [*SPEC["required"], "yaml"],
    "properties": {
        **SPEC["properties"],
        "yaml": {"type": "string", "description": "Its text; for tenants without `backfill`, with its organisations."},
    },
}


@endpoint(
    "GET",
    "/api/v1/specs",
    name="list_specs",
    title="Every spec: its columns with their paths, normalizers, and filters and orders of queries",
    tag="specs",
    response_schema=build_data_schema({"type": "array", "items": SPEC}),
    security=("tenant", "superAdmin"),
    headers=TENANT_HEADERS,
    error_statuses=(400, 401, 503),
)
async def list_specs(context: Context, request: Request) -> Response:
    """Answer the specs of this API by name."""
    await authenticate_tenant_or_admin(request, context)
    return build_data_response(msgspec.json.encode([describe_spec(plan) for plan in context.plans]))


@endpoint(
    "GET",
    "/api/v1/specs/{spec}",
    name="read_spec",
    title="One spec, with its YAML text and its prompt",
    tag="specs",
    response_schema=build_data_schema(_WHOLE_SPEC),
    security=("tenant", "superAdmin"),
    headers=TENANT_HEADERS,
    error_statuses=(400, 401, 404, 503),
)
async def read_spec(context: Context, request: Request) -> Response:
    """Answer one spec with its YAML text; the ids of organisations in it are shown to super-admins only."""
    caller = await authenticate_tenant_or_admin(request, context)
    plan = find_spec(context, request.path_params["spec"])
    description = describe_spec(plan)
    if plan.research is not None:
        description["research"]["prompt"] = plan.research.prompt
    text = plan.text.shared if caller.org_id else plan.text.whole
    return build_data_response(msgspec.json.encode({**description, "yaml": text}))


def find_spec(context: Context, name: str) -> Plan:
    """Return the plan called `name`. Raises Fault 404 when there is none."""
    known = {plan.name: plan for plan in context.plans}
    if name not in known:
        raise Fault("not_found", f"there is no spec `{name[:100]}`", hint=suggest_name(name, known))
    return known[name]


def describe_spec(plan: Plan) -> dict[str, Any]:
    """Describe a plan as a JSON object with its columns, operations and research, but without its YAML text."""
    return {
        "name": plan.name,
        "title": plan.title,
        "description": plan.description,
        "slug": plan.slug,
        "table": plan.table,
        "file": plan.file,
        "row_name": plan.row_name,
        "operations": plan.operations,
        "conflict": plan.conflict,
        "search": plan.search,
        "many": plan.many,
        "on_absent": plan.on_absent,
        "mappings": [_describe_mapping(mapping) for mapping in plan.mappings],
        "columns": [_describe_column(plan, name) for name in list_columns(plan)],
        "research": plan.research and _describe_research(plan.research),
    }


def _describe_mapping(mapping: OperationMapping) -> dict[str, Any]:
    when = mapping.when.text if mapping.when else None
    return {"operation": mapping.operation, "rows": mapping.rows_texts, "when": when}


def _describe_column(plan: Plan, name: str) -> dict[str, Any]:
    asked = list_query_columns(plan).get(name)
    questions = {
        "operators": [] if asked is None else [operator.value for operator in list_operators(asked)],
        "sortable": name in list_order_columns(plan),
    }
    if name in PROVIDED_COLUMNS:
        column = PROVIDED_COLUMNS[name]
        constraints = {"key": name in plan.conflict, "required": not column.nullable}
        return {"name": name, "type": column.type, "provided": True, **constraints, **questions, "sources": []}
    field = plan.field(name)
    index = plan.fields.index(field)
    return {
        "name": name,
        "type": field.type.name,
        "description": field.description,
        "provided": False,
        "key": field.key,
        "required": field.required,
        "on_missing": field.on_missing,
        "on_invalid": field.on_invalid,
        "coalesce": field.coalesce,
        **questions,
        "sources": [_describe_source(mapping, index) for mapping in plan.mappings],
    }


def _describe_source(mapping: OperationMapping, index: int) -> dict[str, Any]:
    path = mapping.paths[index]
    normalizers = [normalizer.name for normalizer in mapping.fields[index].normalizers]
    return {"operation": mapping.operation, "path": path and path.text, "normalizers": normalizers}


def _describe_research(research: Research) -> dict[str, Any]:
    inputs = [
        {
            "name": one.name,
            "paths": [path.text for path in one.paths],
            "normalizers": [normalizer.name for normalizer in one.normalizers],
            "required": one.required,
        }
        for one in research.inputs
    ]
    return {
        "operation": research.operation,
        "provider": research.provider.name,
        "processor": research.processor,
        "fresh_for_seconds": research.fresh_for and research.fresh_for.total_seconds(),
        "inputs": inputs,
    }


SPEC_ENDPOINTS = (list_specs, read_spec)
