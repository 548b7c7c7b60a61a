"""The operator's endpoints: health, readiness, metrics, and the accounts of every spec.

The API is ready when the database answers, every migration of the project is applied, and at least one spec fits its
table. A spec that does not fit its table is reported, and its own endpoints answer 503.
"""

from __future__ import annotations

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response

from api.auth import (
    ORG_HEADER,
    read_optional_organisation,
    require_internal_key,
)
from api.context import Context
from api.http.endpoint import build_data_response, endpoint
from api.http.errors import Fault
from api.http.openapi import build_data_schema
from api.rows.tenant import TENANT_HEADERS, read_tenant_parameters
from engine.backfill.coverage import fetch_coverage
from engine.backfill.reasons import count_reasons
from engine.rows.accounts import ELEMENT_COUNTS
from engine.rows.outcomes import Outcome
from engine.store.identity import check_organisation

log = structlog.get_logger("api")

COVERAGE_SECONDS = 60.0  # longer than other requests: it counts every step result there is
METRICS_TYPE = "text/plain; version=0.0.4"
STATE = build_data_schema({"type": "object", "required": ["status"], "properties": {"status": {"type": "string"}}})
READINESS = build_data_schema(
    {
        "type": "object",
        "required": ["status"],
        "properties": {
            "status": {"type": "string"},
            "specs": {"type": "object", "additionalProperties": {"enum": ["ready", "not_ready"]}},
            "problems": {"type": "array", "items": {"type": "object"}, "description": "What does not work, and why."},
        },
    }
)
ACCOUNT = {
    "type": "object",
    "required": ["spec", "org_id", "found", "pending"],
    "properties": {
        "spec": {"type": "string"},
        "org_id": {"type": "string", "format": "uuid"},
        **{
            name: {"type": "integer", "minimum": 0}
            for name in ("found", *(outcome.value for outcome in Outcome), "pending", *ELEMENT_COUNTS, "stale_rows")
        },
    },
}

REASON = {
    "type": "object",
    "required": ["outcome", "code", "field", "count", "message", "step_result_id"],
    "properties": {
        "outcome": {"type": "string", "description": "The outcome of the step results that have this reason."},
        "code": {"type": "string"},
        "field": {"type": ["string", "null"]},
        "count": {"type": "integer", "minimum": 1},
        "message": {"type": "string", "description": "The message of the newest step result."},
        "step_result_id": {"type": "string", "format": "uuid", "description": "The newest step result."},
    },
}
OWN_ACCOUNT = {
    **ACCOUNT,
    "required": ["spec", "org_id", "found", "pending", "reasons"],
    "properties": {**ACCOUNT["properties"], "reasons": {"type": "array", "items": REASON}},  # type: ignore[dict-item]
}


@endpoint("GET", "/healthz", name="health", title="Whether the process runs", tag="operation", response_schema=STATE)
async def answer_health(context: Context, request: Request) -> Response:
    """Answer 200 while the process runs, whatever the state of the database."""
    return build_data_response(b'{"status":"ok"}')


@endpoint(
    "GET",
    "/readyz",
    name="readiness",
    title="Whether the API is ready, and why not",
    tag="operation",
    response_schema=READINESS,
    error_statuses=(503,),
)
async def answer_readiness(context: Context, request: Request) -> Response:
    """Answer 200 when the API is ready, with the problems that affect a part of it; otherwise 503 with every reason."""
    report = await context.readiness.examine()
    reasons = list(report.reasons)
    if not reasons:
        if report.problems:
            log.warning("ready in part", problems=len(report.problems), first=report.problems[0]["message"])
        return build_data_response(msgspec.json.encode(report.as_dict(context.plans)))
    reasons += report.problems
    log.warning("not ready", reasons=len(reasons), first=reasons[0]["message"])
    more = f" (and {len(reasons) - 1} more)" if reasons[1:] else ""
    hint = "each reason under `detail` names the SQL or the command that mends it"
    raise Fault("not_ready", f"not ready: {reasons[0]['message']}{more}", detail=reasons, hint=hint)


@endpoint(
    "GET",
    "/metrics",
    name="metrics",
    title="The metrics of this process, in Prometheus' text format",
    tag="operation",
    response_schema={"type": "string"},
    media_type=METRICS_TYPE,
)
async def answer_metrics(context: Context, request: Request) -> Response:
    """Answer the metrics of this process, and what the database has left to do."""
    await context.figures.refresh()
    return Response(context.metrics.format_text(), media_type=METRICS_TYPE)


@endpoint(
    "GET",
    "/api/internal/coverage",
    name="coverage",
    title="The accounts: found = written + unchanged + superseded + filtered + rejected + pending",
    tag="operation",
    response_schema=build_data_schema({"type": "array", "items": ACCOUNT}),
    security=("internalKey",),
    headers={ORG_HEADER: (False, "When sent, only the accounts of this organisation.")},
    error_statuses=(400, 401, 503),
)
async def answer_coverage(context: Context, request: Request) -> Response:
    """Answer the accounts of every spec and organisation."""
    require_internal_key(request, context)
    org_id = read_optional_organisation(request)
    async with context.connection(COVERAGE_SECONDS) as connection:
        accounts = await fetch_coverage(connection, context.plans, org_id)
    return build_data_response(msgspec.json.encode(accounts))


@endpoint(
    "GET",
    "/api/v1/coverage",
    name="own_coverage",
    title="The accounts of one's own organisation, and the reasons for what has no row",
    tag="operation",
    response_schema=build_data_schema({"type": "array", "items": OWN_ACCOUNT}),
    security=("tenant", "superAdmin"),
    headers=TENANT_HEADERS,
    parameters={"org_id": ({"type": "string", "format": "uuid"}, "Super-admin: whose accounts.")},
    error_statuses=(400, 401, 403, 404, 422, 503),
)
async def answer_own_coverage(context: Context, request: Request) -> Response:
    """Answer the accounts of the caller's organisation, one entry per spec that has step results."""
    org_id, _ = await read_tenant_parameters(request, context, ("org_id",))
    async with context.connection() as connection:
        accounts = await fetch_coverage(connection, context.plans, org_id)
        if not accounts:
            await check_organisation(connection, org_id)
        reasons = await count_reasons(connection, context.plans, org_id)
    entries = [{**account, "reasons": reasons.get(str(account["spec"]), [])} for account in accounts]
    return build_data_response(msgspec.json.encode(entries))


#: The endpoints about the process. With `DEX_OPERATOR_ADDRESS` set, they are served only on that address.
PROCESS_ENDPOINTS = (answer_health, answer_readiness, answer_metrics)
OPERATOR_ENDPOINTS = (*PROCESS_ENDPOINTS, answer_coverage, answer_own_coverage)
