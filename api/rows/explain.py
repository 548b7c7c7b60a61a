"""The endpoints that explain a row: the source of each cell's value, and the row's earlier versions."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from api.context import Context
from api.http.body import read_number
from api.http.endpoint import Endpoint, build_data_response, build_list_response
from api.http.errors import Fault
from api.http.named_schemas import NamedSchema
from api.http.openapi import build_data_schema
from api.rows import json_schemas
from api.rows.query_body import build_query_fault
from api.rows.tenant import TENANT_HEADERS, read_tenant_parameters
from engine.explain.history import DEFAULT_LIMIT, MAX_LIMIT, read_history
from engine.explain.key_lookup import KeyMatchState, parse_key
from engine.explain.key_states import KeyState
from engine.explain.questions import explain_key
from engine.explain.row import RowState, explain_row
from engine.generate.type_names import build_type_name
from engine.plan import Plan
from engine.rows.query import QueryRejected
from engine.store.identity import check_organisation
from engine.values import exact_json
from engine.values.uuid_text import parse_uuid

_ERRORS: Final = (400, 401, 403, 404, 422, 503)
_ORG_PARAMETER: Final = ({"type": "string", "format": "uuid"}, "For super-admins: the organisation.")
_TEXT_OR_NULL: Final = {"type": ["string", "null"]}
_ID_OR_NULL: Final = {"type": ["string", "null"], "format": "uuid"}
_TIME: Final = {"type": "string", "format": "date-time"}


def build_explain_endpoints(plan: Plan) -> list[Endpoint]:
    """Build the endpoints of a plan that explain its rows and its keys."""
    return [_build_key_endpoint(plan), _build_explain_endpoint(plan), _build_history_endpoint(plan)]


def _build_explain_endpoint(plan: Plan) -> Endpoint:
    return Endpoint(
        method="GET",
        path=f"/api/v1/{plan.slug}/{{id}}/explain",
        name=f"explain_{plan.row_name}",
        title=f"{plan.title}: where each cell of a row comes from",
        description="For every cell: its step result, the path, the raw value at the path, the result of each"
        " normalizer, and the provider's evidence.",
        tag=plan.name,
        response_schema=build_data_schema(_EXPLANATION, name="ExplanationAnswer"),
        security=("tenant", "superAdmin"),
        headers=TENANT_HEADERS,
        parameters={"field": _build_field_parameter(plan), "org_id": _ORG_PARAMETER},
        error_statuses=_ERRORS,
        respond=partial(_explain_row, plan),
    )


def _build_key_endpoint(plan: Plan) -> Endpoint:
    key = {
        column.name: ({"type": "string"}, "A column of the key; normalized like the column, blank for null.")
        for column in plan.key_fields
    }
    return Endpoint(
        method="GET",
        path=f"/api/v1/{plan.slug}/explain",
        name=f"explain_{plan.name}_key",
        title=f"{plan.title}: explain a key, with or without a row",
        description="The row of the key, explained. Without a row, the states of the key: never asked, ordered,"
        " running, failed, filtered, rejected, not listed, superseded. Columns of the key that are left out may have"
        " any value; where several rows have the rest, the answer lists them.",
        tag=plan.name,
        response_schema=build_data_schema(
            {"anyOf": [_EXPLANATION, _SEVERAL_ROWS, _ABSENCE]},
            name="KeyExplanationAnswer",
        ),
        security=("tenant", "superAdmin"),
        headers=TENANT_HEADERS,
        parameters={**key, "org_id": _ORG_PARAMETER},
        error_statuses=_ERRORS,
        respond=partial(_explain_key, plan),
    )


def _build_history_endpoint(plan: Plan) -> Endpoint:
    row = {"anyOf": [json_schemas.build_shown_row_schema(plan), {"type": "null"}]}
    version = NamedSchema(
        build_type_name(plan, "Version"),
        {
            "type": "object",
            "required": ["step_result_id", "recorded_at", "row"],
            "properties": {
                "step_result_id": {"type": "string", "format": "uuid"},
                "recorded_at": _TIME,
                "row": {**row, "description": "The row after this step result; null where that removed it."},
            },
        },
    )
    meta = {"type": "object", "required": ["more"], "properties": {"more": {"type": "boolean"}}}
    limit = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}
    return Endpoint(
        method="GET",
        path=f"/api/v1/{plan.slug}/{{id}}/history",
        name=f"list_{plan.row_name}_history",
        title=f"{plan.title}: the versions of a row, one per step result that changed it",
        description="Newest first, computed from the step results. A row without step results has no history."
        " `meta.more` is true where older versions were left out.",
        tag=plan.name,
        response_schema=build_data_schema(
            {"type": "array", "items": version}, NamedSchema("HistoryMeta", meta), name=build_type_name(plan, "History")
        ),
        security=("tenant", "superAdmin"),
        headers=TENANT_HEADERS,
        parameters={"limit": (limit, "The most versions to list."), "org_id": _ORG_PARAMETER},
        error_statuses=_ERRORS,
        respond=partial(_list_history, plan),
    )


def _build_field_parameter(plan: Plan) -> tuple[dict[str, Any], str]:
    return {"type": "string", "enum": [column.name for column in plan.fields]}, "Only the cell of this field."


async def _explain_row(plan: Plan, context: Context, request: Request) -> Response:
    org_id, parameters = await read_tenant_parameters(request, context, ("field", "org_id"))
    row_id = parse_uuid(request.path_params["id"])
    async with context.connection() as connection:
        try:
            found = await explain_row(connection, plan, org_id, row_id, parameters.get("field")) if row_id else None
        except QueryRejected as error:
            raise build_query_fault(error) from error
        if found is None:
            await check_organisation(connection, org_id)
            raise _build_not_found(plan)
    return build_data_response(exact_json.dumps(found.as_dict()))


async def _explain_key(plan: Plan, context: Context, request: Request) -> Response:
    names = [column.name for column in plan.key_fields]
    org_id, parameters = await read_tenant_parameters(request, context, (*names, "org_id"))
    given = {name: parameters[name] for name in names if name in parameters}
    async with context.connection() as connection:
        try:
            key = parse_key(plan, given)
            found = await explain_key(connection, plan, org_id, key, context.plans)
        except QueryRejected as error:
            raise build_query_fault(error) from error
        if found.state is KeyState.NEVER_ASKED:
            await check_organisation(connection, org_id)
    return build_data_response(exact_json.dumps(found.as_dict()))


async def _list_history(plan: Plan, context: Context, request: Request) -> Response:
    org_id, parameters = await read_tenant_parameters(request, context, ("limit", "org_id"))
    limit = read_number(parameters, "limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
    row_id = parse_uuid(request.path_params["id"])
    async with context.connection() as connection:
        history = await read_history(connection, plan, org_id, row_id, limit) if row_id else None
        if history is None:
            await check_organisation(connection, org_id)
            raise _build_not_found(plan)
    versions = [exact_json.dumps(version.as_dict()) for version in history.versions]
    return build_list_response(versions, {"more": history.more})


def _build_not_found(plan: Plan) -> Fault:
    return Fault("not_found", f"there is no such row of `{plan.name}`", hint="check the id and the organisation")


_STEP: Final = NamedSchema(
    "CellStep",
    {
        "type": "object",
        "required": ["normalizer", "result"],
        "properties": {"normalizer": {"type": "string"}, "result": {}},
    },
)
_EVIDENCE: Final = NamedSchema(
    "Evidence",
    {
        "type": "object",
        "required": ["field", "citations", "reasoning", "confidence"],
        "properties": {
            "field": {"type": "string", "description": "The field of the provider's answer it is about."},
            "citations": {"type": "array", "items": {}},
            "reasoning": _TEXT_OR_NULL,
            "confidence": _TEXT_OR_NULL,
        },
    },
)
_CELL: Final = NamedSchema(
    "Cell",
    {
        "type": "object",
        "required": ["field", "value", "step_result_id", "path", "raw", "steps", "evidence"],
        "properties": {
            "field": {"type": "string"},
            "value": {"description": "As it is stored."},
            "step_result_id": {**_ID_OR_NULL, "description": "The step result it comes from, or null."},
            "recorded_at": {**_TIME, "type": ["string", "null"]},
            "operation": _TEXT_OR_NULL,
            "element": {"type": ["integer", "null"], "description": "Under `rows`: the index of the element."},
            "path": _TEXT_OR_NULL,
            "raw": {"description": "The value at the path, before the normalizers."},
            "steps": {"type": "array", "items": _STEP, "description": "The result of each normalizer, in order."},
            "evidence": {"type": "array", "items": _EVIDENCE},
            "note": {**_TEXT_OR_NULL, "description": "A remark where the value has an unusual reason."},
        },
    },
)
_EXPLANATION: Final = NamedSchema(
    "Explanation",
    {
        "type": "object",
        "required": ["id", "state", "explanation", "cells"],
        "properties": {
            "id": {"type": "string", "format": "uuid"},
            "state": {"type": "string", "enum": [state.value for state in RowState]},
            "explanation": {"type": "string"},
            "cells": {"type": "array", "items": _CELL},
        },
    },
)
_FINDING: Final = NamedSchema(
    "KeyFinding",
    {
        "type": "object",
        "required": ["state", "message", "step_result_id", "recorded_at", "reasons"],
        "properties": {
            "state": {"type": "string", "enum": [state.value for state in KeyState]},
            "message": {"type": "string"},
            "step_result_id": {"type": "string", "format": "uuid"},
            "recorded_at": _TIME,
            "operation": _TEXT_OR_NULL,
            "submission_id": _ID_OR_NULL,
            "pipeline_run_id": _ID_OR_NULL,
            "order_id": _ID_OR_NULL,
            "superseded_by": _ID_OR_NULL,
            "reasons": {"type": "array", "items": {"type": "object"}},
        },
    },
)
_SEVERAL_ROWS: Final = NamedSchema(
    "KeyRows",
    {
        "type": "object",
        "required": ["id", "state", "explanation", "cells", "rows", "more"],
        "properties": {
            "id": {"type": "null"},
            "state": {"type": "string", "enum": [state.value for state in KeyMatchState]},
            "explanation": {"type": "string"},
            "cells": {"type": "array", "items": {"type": "object"}, "maxItems": 0},
            "rows": {
                "type": "array",
                "description": "The rows with the given part of the key, at most 20, in the order of their keys.",
                "items": {
                    "type": "object",
                    "required": ["id", "key"],
                    "properties": {"id": {"type": "string", "format": "uuid"}, "key": {"type": "object"}},
                },
            },
            "more": {"type": "boolean", "description": "Whether some rows are left out."},
        },
    },
)
_ABSENCE: Final = NamedSchema(
    "KeyAbsence",
    {
        "type": "object",
        "required": ["id", "state", "explanation", "cells", "known"],
        "properties": {
            "id": {"type": "null"},
            "state": {"type": "string", "enum": [state.value for state in KeyState]},
            "explanation": {"type": "string"},
            "cells": {"type": "array", "items": {"type": "object"}, "maxItems": 0},
            "known": {"type": "array", "items": _FINDING, "description": "The findings, newest first."},
        },
    },
)
