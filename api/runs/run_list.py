"""The endpoints that list runs, by status or by a text in their input, and that read one step result."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from api.auth import choose_organisation
from api.dependencies import AppContext, Reader
from api.http.errors import Fault, InvalidBody
from api.http.models import Data, DataWithMeta, Id, Omittable, OrganisationParameters
from api.http.openapi import describe_errors
from api.http.responses import build_data_response, build_list_response
from api.http.route import ROUTER_OPTIONS
from engine.runs.run_list import (
    SEARCH_WINDOW,
    RunSearch,
    find_last_searched,
    list_runs_with_steps,
    read_step_result,
)
from engine.runs.statuses import RunStatus
from engine.store.identity import check_organisation
from engine.values.normalizers import NORMALIZERS, NormalizeError
from engine.values.uuid_text import parse_uuid

_MOST_RUNS: Final = 200
_MOST_OFFSET: Final = 10_000
_LONGEST_TEXT: Final = 200

router = APIRouter(
    prefix="/api/v1", tags=["submissions"], responses=describe_errors(400, 401, 403, 404, 422, 503), **ROUTER_OPTIONS
)


class ListedStep(BaseModel):
    """A step result of a run, without its payloads."""

    id: Id
    position: int
    attempt: int | None = None
    status: str
    operation_id: str | None
    result_status: str | None = None
    error_message: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    recorded_at: str | None = None
    order: Annotated[dict[str, Any] | None, Field(description="The order of the step's research.")]
    results: Annotated[
        list[dict[str, Any]],
        Field(description="Under each spec: the outcome of the step result, the reasons and the rows."),
    ]


class ListedRun(BaseModel):
    """A run with its steps."""

    id: Id
    submission_id: Id
    parent_pipeline_run_id: str | None = None
    status: str
    attempt: int | None = None
    runner: str | None = None
    error_message: str | None = None
    created_at: datetime
    started_at: str | None = None
    finished_at: str | None = None
    input: Annotated[Any, Field(description="The run's input; null where it is unknown or long.")] = None
    steps: list[ListedStep]


class WholeStep(ListedStep):
    """A step result with its payloads."""

    submission_id: Id
    pipeline_run_id: Id
    input_payload: Any
    output_payload: Any


class RunParameters(OrganisationParameters):
    """Which runs to list."""

    q: Annotated[
        Omittable[str],
        Field(
            description=f"A domain or a name: only runs whose input mentions it, among the newest {SEARCH_WINDOW};"
            " `meta.last_searched` is the oldest of them where there are more."
        ),
    ] = None
    before: Annotated[Omittable[Id], Field(description="Only runs older than this one.")] = None
    status: Annotated[Omittable[RunStatus], Field(description="Only runs with this status.")] = None
    submission_id: Annotated[Omittable[Id], Field(description="Only runs of this submission.")] = None
    limit: Annotated[int, Field(ge=1, le=_MOST_RUNS, description="Page size.")] = 50
    offset: Annotated[int, Field(ge=0, le=_MOST_OFFSET, description="Runs to skip.")] = 0


@router.get(
    "/runs",
    summary="Runs with their steps, orders and outcomes, newest first",
    response_model=DataWithMeta[list[ListedRun], dict[str, Any]],
)
async def list_runs(caller: Reader, context: AppContext, parameters: Annotated[RunParameters, Query()]) -> Response:
    """Return the runs of the request's organisation that match the filters, newest first, with their steps."""
    wanted = RunSearch(
        org_id=choose_organisation(caller, parameters.org_id),
        company_id=caller.company_id,
        status=parameters.status,
        submission_id=parameters.submission_id,
        before=parameters.before,
        texts=_spell_text((parameters.q or "").strip()),
        limit=parameters.limit,
        offset=parameters.offset,
    )
    async with context.connection() as connection:
        runs = await list_runs_with_steps(connection, context.plans, wanted)
        if not runs:
            await check_organisation(connection, wanted.org_id)
        last = await find_last_searched(connection, wanted) if wanted.texts else None
    meta = {"limit": wanted.limit, "offset": wanted.offset}
    searched = {"searched": SEARCH_WINDOW, "last_searched": last} if wanted.texts else {}
    return build_list_response(runs, {**meta, **searched})


@router.get(
    "/step-results/{step_result_id}",
    operation_id="read_step_result",
    summary="One step result: its payloads, its order, and its outcome under each spec",
    response_model=Data[WholeStep],
)
async def answer_step_result(
    step_result_id: Annotated[str, Path(json_schema_extra={"format": "uuid"})],
    caller: Reader,
    context: AppContext,
    parameters: Annotated[OrganisationParameters, Query()],
) -> Response:
    """Return one step result of the request's organisation, with its payloads."""
    org_id, step_id = choose_organisation(caller, parameters.org_id), parse_uuid(step_result_id)
    async with context.connection() as connection:
        text = step_id and await read_step_result(connection, context.plans, org_id, step_id, caller.company_id)
        if not text:
            await check_organisation(connection, org_id)
            raise Fault("not_found", "there is no such step result", hint="check the id and the organisation")
    return build_data_response(text)


def _spell_text(text: str) -> tuple[str, ...]:
    """Return the texts to search for: `text`, or if it is a URL or domain, the domain and then `text`.

    Raises Fault 422 for a text that is too long.
    """
    if not text:
        return ()
    if len(text) > _LONGEST_TEXT or "\x00" in text:
        message = f"`q` takes at most {_LONGEST_TEXT} characters"
        raise InvalidBody(message, field="q", code="out_of_range", hint="send a domain or a name")
    try:
        domain = NORMALIZERS["domain"].function(text)
    except NormalizeError:
        domain = None
    return tuple(dict.fromkeys((str(domain), text))) if domain else (text,)
