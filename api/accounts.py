"""The endpoints about accounts: the numbers of step results per outcome, and the step results behind each number."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from api.auth import choose_organisation
from api.dependencies import AppContext, Reader
from api.http.models import Count, Data, DataWithMeta, Id, Omittable, OrganisationParameters, Page, Parameters
from api.http.openapi import describe_errors
from api.http.responses import build_data_response, build_list_response
from api.http.route import ROUTER_OPTIONS
from api.operator import COVERAGE_SECONDS, OrganisationAccount
from api.specs import find_spec
from engine.backfill.coverage import fetch_coverage
from engine.backfill.reasons import count_pending, list_step_results
from engine.backfill.samples import sample_columns
from engine.rows.outcomes import Outcome
from engine.sql.reasons import StepFilter
from engine.store.filled_columns import fetch_filled_columns
from engine.store.identity import check_organisation, list_first_organisations
from engine.values import exact_json

_MOST_STEPS: Final = 200
_MOST_SAMPLES: Final = 50
_MOST_OFFSET: Final = 10_000
#: The most organisations of which the accounts are counted when not all are wanted.
_MOST_ORGANISATIONS: Final = 200
#: The most of the newest rows from which fill rates are computed.
_NEWEST_ROWS: Final = 10_000

router = APIRouter(
    prefix="/api/v1", tags=["operation"], responses=describe_errors(400, 401, 403, 404, 422, 503), **ROUTER_OPTIONS
)
spec_router = APIRouter(
    prefix="/api/v1/specs/{spec}",
    tags=["specs"],
    responses=describe_errors(400, 401, 403, 404, 422, 503),
    **ROUTER_OPTIONS,
)


#: The states by which step results can be listed; those without an outcome are `pending`.
StepOutcome = Outcome | Literal["pending"]


class CountedStep(BaseModel):
    """A step result that is part of a count."""

    step_result_id: Id
    submission_id: Id
    pipeline_run_id: Id
    spec: str
    operation_id: str
    recorded_at: datetime
    outcome: StepOutcome
    rows: int | None
    refused: int | None
    reasons: list[dict[str, Any]]


class PendingCount(BaseModel):
    """How many step results of a spec are pending."""

    spec: str
    pending: Count
    since: Annotated[str | None, Field(description="When the oldest of them was recorded.")]


class ColumnSamples(BaseModel):
    """What the path of a column finds in some step results."""

    name: str
    values: Count
    missing: Count
    refused: Count
    examples: list[dict[str, Any]]


class SpecSamples(BaseModel):
    """What the paths of a spec find in some step results."""

    spec: str
    step_results: Annotated[Count, Field(description="How many were read.")]
    columns: list[ColumnSamples]


class FilledColumn(BaseModel):
    """In how many rows a column has a value."""

    name: str
    filled: Count


class FillRates(BaseModel):
    """In how many rows each column has a value."""

    spec: str
    rows: Annotated[Count, Field(description="How many rows were read.")]
    newest: Annotated[int, Field(description="The most rows that are read; the newest are.")]
    columns: list[FilledColumn]


class StepsParameters(OrganisationParameters):
    """Which step results to list."""

    spec: Annotated[str, Field(description="The spec.")]
    outcome: Annotated[Omittable[StepOutcome], Field(description="`rejected`: the partly refused ones too.")] = None
    code: Annotated[Omittable[str], Field(description="Only those with a reason of this code.")] = None
    field: Annotated[Omittable[str], Field(description="With `code`: about this field.")] = None
    limit: Annotated[int, Field(ge=1, le=_MOST_STEPS, description="At most.")] = 50
    offset: Annotated[int, Field(ge=0, le=_MOST_OFFSET, description="After so many.")] = 0


class CoverageParameters(Parameters):
    """Of which organisations to return the accounts."""

    limit: Annotated[
        Omittable[Annotated[int, Field(ge=1, le=_MOST_ORGANISATIONS)]],
        Field(description="Only the first so many organisations by name."),
    ] = None


class SamplesParameters(OrganisationParameters):
    """How many step results to read."""

    limit: Annotated[int, Field(ge=1, le=_MOST_SAMPLES, description="Step results, at most.")] = 20


@router.get(
    "/coverage/organisations",
    operation_id="coverage_by_organisation",
    summary="The accounts of every organisation that the caller may read",
    response_model=Data[list[OrganisationAccount]],
)
async def answer_coverage_by_organisation(
    caller: Reader, context: AppContext, parameters: Annotated[CoverageParameters, Query()]
) -> Any:
    """Return step results per outcome by spec and organisation: the caller's; for a super-admin, all."""
    async with context.connection(COVERAGE_SECONDS) as connection:
        org_ids = [caller.org_id] if caller.org_id else None
        if org_ids is None and parameters.limit is not None:
            org_ids = await list_first_organisations(connection, parameters.limit)
        return {"data": await fetch_coverage(connection, context.plans, org_ids)}


@router.get(
    "/coverage/pending",
    operation_id="coverage_pending",
    summary="How many step results of each spec are pending, and since when",
    response_model=Data[list[PendingCount]],
)
async def answer_pending(
    caller: Reader, context: AppContext, parameters: Annotated[OrganisationParameters, Query()]
) -> Any:
    """Return how many step results are pending, and when the oldest of them was recorded."""
    org_id = choose_organisation(caller, parameters.org_id)
    async with context.connection() as connection:
        await check_organisation(connection, org_id)
        return {"data": await count_pending(connection, context.plans, org_id)}


@router.get(
    "/coverage/steps",
    operation_id="coverage_steps",
    summary="The step results behind a count of the accounts or behind a reason, newest first",
    response_model=DataWithMeta[list[CountedStep], Page],
)
async def answer_steps(
    caller: Reader, context: AppContext, parameters: Annotated[StepsParameters, Query()]
) -> Response:
    """Return the step results of a spec that have the requested outcome or rejection reason."""
    wanted = StepFilter(
        org_id=choose_organisation(caller, parameters.org_id),
        outcome=parameters.outcome,
        code=parameters.code,
        field=parameters.field,
        limit=parameters.limit,
        offset=parameters.offset,
    )
    plan = find_spec(context, parameters.spec)
    async with context.connection() as connection:
        steps = await list_step_results(connection, plan, wanted)
        if not steps:
            await check_organisation(connection, wanted.org_id)
    return build_list_response(steps, {"limit": wanted.limit, "offset": wanted.offset})


@spec_router.get("/fill-rates", summary="In how many of the newest rows each column has a value")
async def read_fill_rates(
    spec: str, caller: Reader, context: AppContext, parameters: Annotated[OrganisationParameters, Query()]
) -> Data[FillRates]:
    """Return, for each column of a spec, how many of the organisation's newest rows have a value."""
    org_id = choose_organisation(caller, parameters.org_id)
    plan = find_spec(context, spec)
    async with context.connection() as connection:
        rates = await fetch_filled_columns(connection, plan, org_id, _NEWEST_ROWS)
        if not rates.rows:
            await check_organisation(connection, org_id)
    columns = [FilledColumn(name=name, filled=filled) for name, filled in rates.filled.items()]
    return Data(data=FillRates(spec=plan.name, rows=rates.rows, newest=_NEWEST_ROWS, columns=columns))


@spec_router.get(
    "/samples", summary="What each path of a spec finds in the newest step results", response_model=Data[SpecSamples]
)
async def read_samples(
    spec: str, caller: Reader, context: AppContext, parameters: Annotated[SamplesParameters, Query()]
) -> Response:
    """Return how often the path of each column finds a value in the newest step results of a spec, with examples."""
    org_id = choose_organisation(caller, parameters.org_id)
    plan = find_spec(context, spec)
    async with context.connection() as connection:
        samples = await sample_columns(connection, plan, org_id, parameters.limit)
        if not samples.step_results:
            await check_organisation(connection, org_id)
    columns = [sample.as_dict() for sample in samples.columns]
    answer: dict[str, Any] = {"spec": plan.name, "step_results": samples.step_results, "columns": columns}
    return build_data_response(exact_json.dumps(answer))
