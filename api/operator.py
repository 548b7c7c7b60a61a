"""The operator's endpoints: health, readiness, metrics, and the accounts of every spec.

The API is ready when the database answers, every migration of the project is applied, and every spec fits its table.
"""

from __future__ import annotations

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response

from api.auth import ORG_HEADER, read_optional_organisation, require_internal_key
from api.context import Context
from api.http.endpoint import build_data_response, endpoint
from api.http.errors import Fault
from api.http.openapi import build_data_schema
from engine.backfill.coverage import fetch_coverage
from engine.rows.outcomes import Outcome
from engine.store.errors import StoreError
from engine.tables import inspect, migrate
from engine.tables.differences import report_pending_migration

log = structlog.get_logger("api")

METRICS_TYPE = "text/plain; version=0.0.4"
STATE = build_data_schema({"type": "object", "required": ["status"], "properties": {"status": {"type": "string"}}})
ACCOUNT = {
    "type": "object",
    "required": ["spec", "org_id", "found", "pending"],
    "properties": {
        "spec": {"type": "string"},
        "org_id": {"type": "string", "format": "uuid"},
        **{
            name: {"type": "integer", "minimum": 0}
            for name in ("found", *(outcome.value for outcome in Outcome), "pending")
        },
    },
}


@endpoint("GET", "/healthz", name="health", title="Whether the process answers", tag="operation", response_schema=STATE)
async def answer_health(context: Context, request: Request) -> Response:
    """Answer that the process lives."""
    return build_data_response(b'{"status":"ok"}')


@endpoint(
    "GET",
    "/readyz",
    name="readiness",
    title="Whether it can work, and why not",
    tag="operation",
    response_schema=STATE,
    error_statuses=(503,),
)
async def answer_readiness(context: Context, request: Request) -> Response:
    """Answer 200 when the API can work; otherwise 503 with every reason."""
    reasons = await _find_problems(context)
    context.metrics.set_ready(not reasons)
    if not reasons:
        return build_data_response(b'{"status":"ready"}')
    log.warning("not ready", reasons=len(reasons), first=reasons[0]["message"])
    more = f" (and {len(reasons) - 1} more)" if reasons[1:] else ""
    hint = "each reason under `detail` names the SQL or the command that mends it"
    raise Fault("not_ready", f"not ready: {reasons[0]['message']}{more}", detail=reasons, hint=hint)


@endpoint(
    "GET",
    "/metrics",
    name="metrics",
    title="What it has counted",
    tag="operation",
    response_schema={"type": "string"},
    media_type=METRICS_TYPE,
)
async def answer_metrics(context: Context, request: Request) -> Response:
    """Answer the metrics of this process."""
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
    async with context.connection() as connection:
        accounts = await fetch_coverage(connection, context.plans, org_id)
    return build_data_response(msgspec.json.encode(accounts))


OPERATOR_ENDPOINTS = (answer_health, answer_readiness, answer_metrics, answer_coverage)


async def _find_problems(context: Context) -> list[dict[str, str]]:
    try:
        async with context.connection() as connection:
            pending = map(report_pending_migration, await migrate.list_pending(connection, context.migrations))
            differences = [*pending, *await inspect.find_differences(connection, context.plans)]
    except StoreError as error:
        log.error("database unavailable", reason=error.message)
        return [{"code": "database_unavailable", "message": "the database does not answer", "sql": ""}]
    return [difference.as_dict() for difference in differences]
