"""The endpoints about accounts: the counts of step results per outcome, and the step results behind each count."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from api.auth import authenticate_tenant_or_admin
from api.context import Context
from api.http.body import read_number
from api.http.endpoint import build_data_response, build_list_response, endpoint
from api.http.errors import InvalidBody
from api.http.openapi import build_data_schema
from api.operator import ACCOUNT, COVERAGE_SECONDS
from api.rows.tenant import TENANT_HEADERS, read_tenant_parameters
from api.specs import find_spec
from engine.backfill.coverage import fetch_coverage
from engine.backfill.reasons import count_pending, list_step_results
from engine.backfill.samples import sample_columns
from engine.rows.outcomes import Outcome
from engine.sql.reasons import StepFilter
from engine.store.filled_columns import fetch_filled_columns
from engine.store.identity import check_organisation

_MOST_STEPS: Final = 200
_MOST_SAMPLES: Final = 50
_MOST_OFFSET: Final = 10_000
#: Fill rates are computed from at most this many of the newest rows.
_NEWEST_ROWS: Final = 10_000
_OUTCOMES: Final = (*(outcome.value for outcome in Outcome), "pending")
_ORG: Final[tuple[dict[str, Any], str]] = ({"type": "string", "format": "uuid"}, "Super-admin: whose.")
_STEP: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["step_result_id", "spec", "operation_id", "recorded_at", "outcome", "reasons"],
    "properties": {
        **{name: {"type": "string", "format": "uuid"} for name in ("step_result_id", "submission_id")},
        "pipeline_run_id": {"type": "string", "format": "uuid"},
        "spec": {"type": "string"},
        "operation_id": {"type": "string"},
        "recorded_at": {"type": "string", "format": "date-time"},
        "outcome": {"type": "string", "enum": list(_OUTCOMES)},
        "rows": {"type": ["integer", "null"]},
        "refused": {"type": ["integer", "null"]},
        "reasons": {"type": "array", "items": {"type": "object"}},
    },
}
_PENDING: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["spec", "pending", "since"],
    "properties": {
        "spec": {"type": "string"},
        "pending": {"type": "integer", "minimum": 0},
        "since": {"type": ["string", "null"], "description": "When the oldest of them was recorded."},
    },
}
_SAMPLES: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["spec", "step_results", "columns"],
    "properties": {
        "spec": {"type": "string"},
        "step_results": {"type": "integer", "minimum": 0, "description": "How many were read."},
        "columns": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "values", "missing", "refused", "examples"],
                "properties": {
                    "name": {"type": "string"},
                    **{name: {"type": "integer", "minimum": 0} for name in ("values", "missing", "refused")},
                    "examples": {"type": "array", "items": {"type": "object"}},
                },
            },
        },
    },
}
_FILL_RATES: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["spec", "rows", "newest", "columns"],
    "properties": {
        "spec": {"type": "string"},
        "rows": {"type": "integer", "minimum": 0, "description": "How many rows were read."},
        "newest": {"type": "integer", "description": "The most rows that are read; the newest are."},
        "columns": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "filled"],
                "properties": {"name": {"type": "string"}, "filled": {"type": "integer", "minimum": 0}},
            },
        },
    },
}


@endpoint(
    "GET",
    "/api/v1/coverage/organisations",
    name="coverage_by_organisation",
    title="The accounts of every organisation that the caller may read",
    tag="operation",
    response_schema=build_data_schema({"type": "array", "items": ACCOUNT}),
    security=("tenant", "superAdmin"),
    headers=TENANT_HEADERS,
    error_statuses=(400, 401, 503),
)
async def answer_coverage_by_organisation(context: Context, request: Request) -> Response:
    """Answer the accounts by spec and organisation: of the caller's organisation, or of all to a super-admin."""
    caller = await authenticate_tenant_or_admin(request, context)
    async with context.connection(COVERAGE_SECONDS) as connection:
        accounts = await fetch_coverage(connection, context.plans, caller.org_id)
    return build_data_response(msgspec.json.encode(accounts))


@endpoint(
    "GET",
    "/api/v1/coverage/pending",
    name="coverage_pending",
    title="How many step results of each spec are pending, and since when",
    tag="operation",
    response_schema=build_data_schema({"type": "array", "items": _PENDING}),
    security=("tenant", "superAdmin"),
    headers=TENANT_HEADERS,
    parameters={"org_id": _ORG},
    error_statuses=(400, 401, 403, 404, 422, 503),
)
async def answer_pending(context: Context, request: Request) -> Response:
    """Answer how many step results are pending, and when the oldest of them was recorded."""
    org_id, _ = await read_tenant_parameters(request, context, ("org_id",))
    async with context.connection() as connection:
        await check_organisation(connection, org_id)
        pending = await count_pending(connection, context.plans, org_id)
    return build_data_response(msgspec.json.encode(pending))


@endpoint(
    "GET",
    "/api/v1/coverage/steps",
    name="coverage_steps",
    title="The step results behind a count of the accounts or behind a reason, newest first",
    tag="operation",
    response_schema=build_data_schema({"type": "array", "items": _STEP}, {"type": "object"}),
    security=("tenant", "superAdmin"),
    headers=TENANT_HEADERS,
    parameters={
        "spec": ({"type": "string"}, "The spec; needed."),
        "outcome": ({"type": "string", "enum": list(_OUTCOMES)}, "`rejected`: the partly refused ones too."),
        "code": ({"type": "string"}, "Only those with a reason of this code."),
        "field": ({"type": "string"}, "With `code`: about this field."),
        "limit": ({"type": "integer", "minimum": 1, "maximum": _MOST_STEPS, "default": 50}, "At most."),
        "offset": ({"type": "integer", "minimum": 0, "maximum": _MOST_OFFSET, "default": 0}, "After so many."),
        "org_id": _ORG,
    },
    error_statuses=(400, 401, 403, 404, 422, 503),
)
async def answer_steps(context: Context, request: Request) -> Response:
    """Answer the step results of a spec that have the requested outcome or rejection reason."""
    names = ("spec", "outcome", "code", "field", "limit", "offset", "org_id")
    org_id, parameters = await read_tenant_parameters(request, context, names)
    plan = find_spec(context, parameters.get("spec", ""))
    wanted = StepFilter(
        org_id=org_id,
        outcome=_read_outcome(parameters.get("outcome")),
        code=parameters.get("code"),
        field=parameters.get("field"),
        limit=read_number(parameters, "limit", 50, 1, _MOST_STEPS),
        offset=read_number(parameters, "offset", 0, 0, _MOST_OFFSET),
    )
    async with context.connection() as connection:
        steps = await list_step_results(connection, plan, wanted)
        if not steps:
            await check_organisation(connection, org_id)
    return build_list_response(steps, {"limit": wanted.limit, "offset": wanted.offset})


@endpoint(
    "GET",
    "/api/v1/specs/{spec}/fill-rates",
    name="read_fill_rates",
    title="In how many of the newest rows each column has a value",
    tag="specs",
    response_schema=build_data_schema(_FILL_RATES),
    security=("tenant", "superAdmin"),
    headers=TENANT_HEADERS,
    parameters={"org_id": _ORG},
    error_statuses=(400, 401, 403, 404, 422, 503),
)
async def answer_fill_rates(context: Context, request: Request) -> Response:
    """Answer the fill rates of a spec's table in the caller's organisation."""
    org_id, _ = await read_tenant_parameters(request, context, ("org_id",))
    plan = find_spec(context, request.path_params["spec"])
    async with context.connection() as connection:
        rates = await fetch_filled_columns(connection, plan, org_id, _NEWEST_ROWS)
        if not rates.rows:
            await check_organisation(connection, org_id)
    columns = [{"name": name, "filled": filled} for name, filled in rates.filled.items()]
    body = {"spec": plan.name, "rows": rates.rows, "newest": _NEWEST_ROWS, "columns": columns}
    return build_data_response(msgspec.json.encode(body))


@endpoint(
    "GET",
    "/api/v1/specs/{spec}/samples",
    name="read_samples",
    title="What each path of a spec finds in the newest step results",
    tag="specs",
    response_schema=build_data_schema(_SAMPLES),
    security=("tenant", "superAdmin"),
    headers=TENANT_HEADERS,
    parameters={
        "limit": ({"type": "integer", "minimum": 1, "maximum": _MOST_SAMPLES, "default": 20}, "Step results, at most."),
        "org_id": _ORG,
    },
    error_statuses=(400, 401, 403, 404, 422, 503),
)
async def answer_samples(context: Context, request: Request) -> Response:
    """Answer, for each path of a spec, in how many of the newest step results it finds a value, with example values."""
    org_id, parameters = await read_tenant_parameters(request, context, ("limit", "org_id"))
    plan = find_spec(context, request.path_params["spec"])
    limit = read_number(parameters, "limit", 20, 1, _MOST_SAMPLES)
    async with context.connection() as connection:
        samples = await sample_columns(connection, plan, org_id, limit)
        if not samples.step_results:
            await check_organisation(connection, org_id)
    columns = [sample.as_dict() for sample in samples.columns]
    body = {"spec": plan.name, "step_results": samples.step_results, "columns": columns}
    return build_data_response(msgspec.json.encode(body))


def _read_outcome(text: str | None) -> str | None:
    if text is not None and text not in _OUTCOMES:
        known = ", ".join(f"`{outcome}`" for outcome in _OUTCOMES)
        raise InvalidBody(f"`outcome` is `{text[:40]}`", field="outcome", hint=f"send one of {known}")
    return text


ACCOUNT_ENDPOINTS = (
    answer_coverage_by_organisation,
    answer_pending,
    answer_steps,
    answer_fill_rates,
    answer_samples,
)
