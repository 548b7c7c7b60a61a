"""Whether it lives, whether it is ready, what it has counted, and whether the accounts close.

In: nothing, or the internal key. Out: small answers. It must not know routes of plans. Ready means: the database
answers, every migration of the project is applied, and every spec fits its table.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response

from api.auth import ORG_HEADER, named_organisation, require_internal_key
from api.context import Context
from api.http.endpoint import Endpoint, Json, data
from api.http.openapi import of_data
from engine.backfill import coverage
from engine.store.errors import StoreError
from engine.tables import inspect, migrate

log = structlog.get_logger("api")

METRICS_TYPE = "text/plain; version=0.0.4"
STATE = of_data({"type": "object", "required": ["status"], "properties": {"status": {"type": "string"}}})
ACCOUNT = {
    "type": "object",
    "required": ["spec", "org_id", "found", "pending"],
    "properties": {
        "spec": {"type": "string"},
        "org_id": {"type": "string", "format": "uuid"},
        **{
            name: {"type": "integer", "minimum": 0}
            for name in ("found", "written", "unchanged", "superseded", "filtered", "rejected", "pending")
        },
    },
}


def endpoints(context: Context) -> list[Endpoint]:
    """Return the endpoints an operator looks at."""
    return [
        _open("/healthz", "health", "Whether the process answers", partial(_health, context), STATE),
        _open("/readyz", "readiness", "Whether it can work, and why not", partial(_ready, context), STATE, (503,)),
        _open("/metrics", "metrics", "What it has counted", partial(_metrics, context), {"type": "string"}),
        Endpoint(
            method="GET",
            path="/api/internal/coverage",
            name="coverage",
            title="The accounts: found = written + unchanged + superseded + filtered + rejected + pending",
            tag="operation",
            answer=of_data({"type": "array", "items": ACCOUNT}),
            security=("internalKey",),
            headers={ORG_HEADER: (False, "When sent, only the accounts of this organisation.")},
            faults=(400, 401, 503),
            answers=partial(_coverage, context),
        ),
    ]


def _open(path: str, name: str, title: str, answers: Any, answer: Any, faults: tuple[int, ...] = ()) -> Endpoint:
    media_type = METRICS_TYPE if name == "metrics" else "application/json"
    return Endpoint(
        method="GET",
        path=path,
        name=name,
        title=title,
        tag="operation",
        answers=answers,
        answer=answer,
        faults=faults,
        media_type=media_type,
    )


async def _health(context: Context, request: Request) -> Response:
    return data(b'{"status":"ok"}')


async def _ready(context: Context, request: Request) -> Response:
    reasons = await _reasons(context)
    context.meters.ready(not reasons)
    if not reasons:
        return data(b'{"status":"ready"}')
    log.warning("not ready", reasons=len(reasons), first=reasons[0]["message"])
    words = {
        "error": f"not ready: {reasons[0]['message']}" + (f" (and {len(reasons) - 1} more)" if reasons[1:] else ""),
        "code": "not_ready",
        "detail": reasons,
        "hint": "each reason under `detail` names the SQL or the command that mends it",
    }
    return Json(msgspec.json.encode(words), 503)


async def _reasons(context: Context) -> list[dict[str, str]]:
    try:
        async with context.connection() as connection:
            behind = await migrate.pending(connection, context.migrations)
            problems = await inspect.inspect(connection, context.plans)
    except StoreError as error:
        log.error("database unavailable", reason=error.message)
        return [{"code": "database_unavailable", "message": "the database does not answer", "sql": ""}]
    waiting = [{"code": "TABLE514", "message": sentence, "sql": "-- dex migrate"} for sentence in behind]
    return [*waiting, *(problem.as_dict() for problem in problems)]


async def _metrics(context: Context, request: Request) -> Response:
    return Response(context.meters.text(), media_type=METRICS_TYPE)


async def _coverage(context: Context, request: Request) -> Response:
    require_internal_key(request, context)
    org_id = named_organisation(request)
    async with context.connection() as connection:
        return data(msgspec.json.encode(await coverage.fetch(connection, context.plans, org_id)))
