"""The operator's endpoints: health, readiness, metrics, and the accounts of every spec.

The API is ready when the database responds, every migration of the project is applied, and at least one spec fits its
table. A spec that does not fit its table is reported, and its own endpoints return 503.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import structlog
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import PlainTextResponse, Response

from api.auth import choose_organisation
from api.dependencies import AppContext, NamedOrganisation, Reader
from api.http.errors import Fault
from api.http.models import Count, Data, Id, OrganisationParameters
from api.http.openapi import describe_errors
from api.http.route import ROUTER_OPTIONS
from engine.backfill.coverage import fetch_coverage
from engine.backfill.reasons import count_reasons
from engine.store.identity import check_organisation

log = structlog.get_logger("api")

COVERAGE_SECONDS: Final = 60.0  # longer than other requests, since it counts all step results

#: The endpoints about the process. If `DEX_OPERATOR_ADDRESS` is set, they are served only there.
process_router = APIRouter(tags=["operation"], responses=describe_errors(), **ROUTER_OPTIONS)
router = APIRouter(tags=["operation"], **ROUTER_OPTIONS)


class State(BaseModel):
    """The state of the process, or of the API."""

    status: str


class ReadyState(State):
    """The state of the API; if only a part of it is ready, also that of each spec."""

    specs: dict[str, Literal["ready", "not_ready"]] = {}
    problems: Annotated[list[dict[str, Any]], Field(description="What does not work, and why.")] = []


class SpecCounts(BaseModel):
    """The counts of a spec's step results by outcome, and of their elements."""

    spec: str
    found: Count
    written: Count
    unchanged: Count
    superseded: Count
    filtered: Count
    rejected: Count
    pending: Count
    elements: Count
    rows: Count
    duplicates: Count
    refused: Count
    stale_rows: Count


class OrganisationAccount(SpecCounts):
    """How many step results of a spec one organisation has, by outcome."""

    org_id: Id


class ReasonCount(BaseModel):
    """How often a reason occurred."""

    outcome: Annotated[str, Field(description="The outcome of the step results that have this reason.")]
    code: str
    field: str | None
    count: Annotated[int, Field(ge=1)]
    message: Annotated[str, Field(description="The message of the newest step result.")]
    step_result_id: Annotated[Id, Field(description="The newest step result.")]


class ExplainedAccount(OrganisationAccount):
    """How many step results of a spec one organisation has, by outcome, with the reasons why some gave no row."""

    reasons: list[ReasonCount]


@process_router.get("/healthz", operation_id="health", summary="Whether the process runs")
async def answer_health() -> Data[State]:
    """Return 200 while the process runs, whatever the state of the database."""
    return Data(data=State(status="ok"))


@process_router.get(
    "/readyz",
    operation_id="readiness",
    summary="Whether the API is ready, and why not",
    response_model_exclude_unset=True,
    responses=describe_errors(503),
)
async def answer_readiness(context: AppContext) -> Data[ReadyState]:
    """Return 200 when the API is ready, with the problems that affect parts of it; otherwise 503 with every reason."""
    report = await context.readiness.check_everything()
    reasons = list(report.reasons)
    if not reasons:
        if report.problems:
            log.warning("ready in part", problems=len(report.problems), first=report.problems[0]["message"])
        return Data(data=ReadyState(**report.as_dict(context.plans)))
    reasons += report.problems
    log.warning("not ready", reasons=len(reasons), first=reasons[0]["message"])
    more = f" (and {len(reasons) - 1} more)" if reasons[1:] else ""
    hint = "each reason under `detail` names the SQL or the command that repairs it"
    raise Fault("not_ready", f"not ready: {reasons[0]['message']}{more}", detail=reasons, hint=hint)


class MetricsResponse(PlainTextResponse):
    """Metrics in Prometheus's text format."""

    media_type = "text/plain; version=0.0.4"


@process_router.get(
    "/metrics",
    operation_id="metrics",
    summary="The metrics of this process, in Prometheus' text format",
    response_class=MetricsResponse,
)
async def answer_metrics(context: AppContext) -> Response:
    """Return the metrics of this process, and how much work is left in the database."""
    await context.database_metrics.refresh()
    return MetricsResponse(context.metrics.format_text())


@router.get(
    "/api/internal/coverage",
    operation_id="coverage",
    summary="The accounts: found = written + unchanged + superseded + filtered + rejected + pending",
    response_model=Data[list[OrganisationAccount]],
    responses=describe_errors(400, 401, 422, 503),
)
async def answer_coverage(context: AppContext, org_id: NamedOrganisation) -> Any:
    """Return how many step results have which outcome, for every spec and organisation."""
    async with context.connection(COVERAGE_SECONDS) as connection:
        return {"data": await fetch_coverage(connection, context.plans, org_id and [org_id])}


@router.get(
    "/api/v1/coverage",
    operation_id="own_coverage",
    summary="The accounts of one's own organisation, and the reasons for what has no row",
    response_model=Data[list[ExplainedAccount]],
    responses=describe_errors(400, 401, 403, 404, 422, 503),
)
async def answer_own_coverage(
    caller: Reader, context: AppContext, parameters: Annotated[OrganisationParameters, Query()]
) -> Any:
    """Return how many step results of the caller's organisation have which outcome, for each spec that has some."""
    org_id = choose_organisation(caller, parameters.org_id)
    async with context.connection() as connection:
        accounts = await fetch_coverage(connection, context.plans, [org_id])
        if not accounts:
            await check_organisation(connection, org_id)
        reasons = await count_reasons(connection, context.plans, org_id)
    return {"data": [{**account, "reasons": reasons.get(str(account["spec"]), [])} for account in accounts]}
