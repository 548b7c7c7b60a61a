"""The endpoints of the runner: claim a run, read it, and report the progress of its steps.

Payloads of steps may be large, so they are passed on as JSON text. When a run ends, rows that its persist blocks did
not write are written before the response.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import msgspec
import structlog
from fastapi import APIRouter
from fastapi.routing import APIRoute
from msgspec import Raw
from pydantic import Field, StrictBool
from starlette.requests import Request
from starlette.responses import Response

from api.auth import ORG_HEADER
from api.context import Context
from api.dependencies import AppContext, NamedOrganisation, require_internal
from api.http.errors import Fault, build_response
from api.http.models import WHOLE_NUMBER, Body, Data, DataWithMeta, Document, Id, Time
from api.http.openapi import describe_errors
from api.http.responses import build_data_response
from api.http.route import BodyRoute
from api.http.telemetry import bind_run
from api.runs.trigger_dev import MAX_RUN_ID_LENGTH
from engine.backfill.run import repair_run
from engine.orders.errors import OrderConflict, OrderError, ProviderRunIdTaken
from engine.plans import index_research
from engine.research_inputs import normalize_inputs
from engine.rows.accounts import Account
from engine.runs import runs
from engine.runs.errors import ForeignRecord, LostLease, RecordNotFound, RunError
from engine.runs.statuses import RunStatus, StepStatus

log = structlog.get_logger("api")

Seconds = Annotated[
    int, Field(ge=1, le=86_400, description="How long the lease lasts without a heartbeat."), WHOLE_NUMBER
]
Number = Annotated[int, Field(ge=0, le=2_147_483_647), WHOLE_NUMBER]
Text = Annotated[str, Field(max_length=100_000)]
Name = Annotated[str, Field(min_length=1, max_length=500)]
Facts = dict[str, Any]


class RunnerRoute(BodyRoute):
    """The route of a runner's endpoint: the caller needs the internal key; the body has a limited size."""

    authenticate = staticmethod(require_internal)


def _name_operation(route: APIRoute) -> str:
    """Return the operation id of an endpoint, such as `pipeline_runs_claim`."""
    return route.path.removeprefix("/api/internal/").replace("/", "_").replace("-", "_")


#: What the routers of the runner's endpoints have in common.
RUNNER_OPTIONS: Mapping[str, Any] = {
    "tags": ["runner"],
    "route_class": RunnerRoute,
    "generate_unique_id_function": _name_operation,
    "responses": describe_errors(400, 401, 403, 404, 409, 413, 415, 422, 503),
}

router = APIRouter(prefix="/api/internal", **RUNNER_OPTIONS)


class Claim(Body):
    """A request for the next run to execute."""

    worker: Name
    lease_seconds: Seconds = 60


class Heartbeat(Body):
    """A request to extend the lease of a run, or to give the run back."""

    pipeline_run_id: Id
    lease_token: Id
    lease_seconds: Seconds = 60
    error_message: Annotated[Text | None, Field(description="Why the runner gives the run back for another claim.")] = (
        None
    )
    released: Annotated[
        StrictBool, Field(description="The runner stops: this attempt does not count against the run.")
    ] = False


class QueueRequest(Body):
    """A request for the counts of the queue: of the organisation in the header, or of all."""


class RunReference(Body):
    """A run, by its id."""

    pipeline_run_id: Id


class RunUpdate(Body):
    """New values of a run. A field that is null is cleared; one that is left out keeps its value."""

    pipeline_run_id: Id
    status: RunStatus
    error_message: Text | None = None
    error_details: Document = None
    trigger_run_id: Annotated[str, Field(min_length=1, max_length=MAX_RUN_ID_LENGTH)] | None = None
    started_at: Time | None = None
    finished_at: Time | None = None
    lease_token: Id | None = None


class StepUpdate(Body):
    """New values of a step result. A field that is null is cleared; one that is left out keeps its value."""

    step_result_id: Id
    status: StepStatus | None = None
    input_payload: Document = None
    output_payload: Document = None
    error_message: Text | None = None
    error_details: Document = None
    task_run_id: Name | None = None
    duration_ms: Number | None = None
    started_at: Time | None = None
    finished_at: Time | None = None
    lease_token: Id | None = None


class InputValues(Body):
    """An operation and, for each of its inputs, the candidate values in order of priority."""

    operation_id: Name
    inputs: dict[str, list[Any]]


class SkipRemaining(Body):
    """A run and the position of its failed step; queued steps after that position are skipped."""

    pipeline_run_id: Id
    from_step_position: Number


class SubmissionReference(Body):
    """A submission, by its id."""

    submission_id: Id


_CODES = {
    RecordNotFound: "not_found",
    ForeignRecord: "other_organisation",
    LostLease: "lost_lease",
    ProviderRunIdTaken: "provider_run_id_taken",
    OrderConflict: "order_conflict",
}


async def answer_run_error(request: Request, error: Exception) -> Response:
    """Build the response to an error about a run or an order."""
    if not isinstance(error, tuple(_CODES)):
        raise error
    assert isinstance(error, RunError | OrderError)
    code = next(code for kind, code in _CODES.items() if isinstance(error, kind))
    hint = f"send the organisation of the run in `{ORG_HEADER}`" if isinstance(error, ForeignRecord) else error.hint
    return build_response(Fault(code, error.message, hint=hint))


@router.post(
    "/pipeline-runs/claim",
    summary="Claim the next run: queued, or with an expired lease",
    response_model=Data[Facts | None],
)
async def claim_run(body: Claim, context: AppContext, org_id: NamedOrganisation) -> Response:
    """Lease the next queued run; return it, or null if there is none."""
    async with context.connection() as connection:
        attempts = context.settings.max_run_attempts
        run = await runs.claim_run(connection, body.lease_seconds, org_id, attempts)
    if run:
        log.info("claimed", worker=body.worker, pipeline_run_id=msgspec.json.decode(run)["id"])
    return build_data_response(run or "null")


@router.post(
    "/pipeline-runs/queue",
    summary="Count the runs that are queued, leased or at Trigger.dev",
    response_model=Data[Facts],
)
async def read_queue(body: QueueRequest, context: AppContext, org_id: NamedOrganisation) -> Response:
    """Return how many runs are queued, leased or at Trigger.dev, and how many orders have no answer yet."""
    async with context.connection() as connection:
        return build_data_response(await runs.read_queue(connection, org_id))


@router.post("/pipeline-runs/heartbeat", summary="Prolong the lease of a run", response_model=Data[Facts])
async def renew_lease(body: Heartbeat, context: AppContext, org_id: NamedOrganisation) -> Response:
    """Extend the lease of a run, or end it if the runner gives the run back; return the lease."""
    bind_run(body.pipeline_run_id)
    async with context.connection() as connection:
        lease = await runs.renew_lease(
            connection,
            body.pipeline_run_id,
            body.lease_token,
            body.lease_seconds,
            org_id,
            error_message=body.error_message,
            released=body.released,
        )
    return build_data_response(lease)


@router.post(
    "/pipeline-runs/get", summary="Read a run with its submission and step results", response_model=Data[Facts]
)
async def read_run(body: RunReference, context: AppContext, org_id: NamedOrganisation) -> Response:
    """Return a run with its submission and step results, which is all that its runner needs."""
    bind_run(body.pipeline_run_id)
    async with context.connection() as connection:
        return build_data_response(await runs.read_run(connection, body.pipeline_run_id, org_id))


@router.post(
    "/pipeline-runs/update-status",
    summary="Update a run; when it ends, write rows that are missing",
    response_model=Data[Facts],
)
async def update_run(body: RunUpdate, context: AppContext, org_id: NamedOrganisation) -> Response:
    """Update a run and return it; when it ends, also write its missing rows and report on that."""
    bind_run(body.pipeline_run_id)
    change = runs.RunChange(**_list_changes(body))
    async with context.connection() as connection:
        run = await runs.update_run(connection, change, org_id)
    if not change.status.is_final:
        return build_data_response(run)
    fields = msgspec.json.decode(run, type=dict[str, Raw])  # undecoded, so that no number changes
    report = await repair_run_rows(context, change.pipeline_run_id)
    return build_data_response(msgspec.json.encode({**fields, **report}))


@router.post("/step-results/update", summary="Update a step result", response_model=DataWithMeta[Facts, Facts])
async def update_step(body: StepUpdate, context: AppContext, org_id: NamedOrganisation) -> Response:
    """Update a step result; return it, and how many characters were replaced because Postgres cannot store them."""
    change = runs.StepChange(**_list_changes(body))
    async with context.connection() as connection:
        step = await runs.update_step(connection, change, org_id)
    return build_data_response(step, {"replaced": body.replaced})


@router.post(
    "/step-results/normalize-inputs", summary="Normalize the inputs of a step's research", response_model=Data[Facts]
)
async def normalize_step_inputs(body: InputValues, context: AppContext, org_id: NamedOrganisation) -> Response:
    """Return, for each input, its normalized text for the prompt, or why there is none."""
    research = index_research(context.plans).get(body.operation_id)
    if research is None:
        hint = "deploy the API with the specs of the runner"
        raise Fault("not_found", f"no spec says how `{body.operation_id}` is executed", hint=hint)
    texts = normalize_inputs(research, body.inputs)
    return build_data_response(msgspec.json.encode({name: asdict(text) for name, text in texts.items()}))


@router.post(
    "/step-results/mark-remaining-skipped", summary="Skip the queued steps of a run", response_model=Data[Facts]
)
async def skip_remaining_steps(body: SkipRemaining, context: AppContext, org_id: NamedOrganisation) -> Response:
    """Set the queued steps of a run after a position to `skipped`; return the run."""
    bind_run(body.pipeline_run_id)
    async with context.connection() as connection:
        run = await runs.skip_remaining_steps(connection, body.pipeline_run_id, body.from_step_position, org_id)
    return build_data_response(run)


@router.post(
    "/submissions/sync-status", summary="Derive a submission's status from its runs", response_model=Data[Facts]
)
async def sync_submission_status(body: SubmissionReference, context: AppContext, org_id: NamedOrganisation) -> Response:
    """Set the status of a submission as its runs' statuses imply; return the submission."""
    async with context.connection() as connection:
        return build_data_response(await runs.sync_submission_status(connection, body.submission_id, org_id))


def _list_changes(body: Body) -> dict[str, Any]:
    """Return the fields that were sent, as parameters for Postgres; JSON null becomes None."""
    values = {name: getattr(body, name) for name in body.model_fields_set}
    return {name: None if value == b"null" else value for name, value in values.items()}


async def repair_run_rows(context: Context, run_id: str) -> dict[str, Any]:
    """Write the missing rows of a run; return the `persistence` fields of the response.

    A failure is reported in these fields and not raised, since the run has ended anyway. Step results without rows then
    stay pending until `dex reconcile` writes them.
    """
    try:
        async with context.connection() as connection:
            accounts = await repair_run(connection, context.plans, run_id)
    except Exception as error:
        log.error("repair failed", pipeline_run_id=run_id, exc_info=error)
        return _build_repair_report([], "what this run found is pending; `dex reconcile` writes it")
    _record_accounts(context, run_id, accounts)
    pending = ", ".join(f"`{account.spec}`" for account in accounts if account.error)
    message = f"pending: {pending}; repair the table, then `dex reconcile` writes it" if pending else None
    return _build_repair_report(accounts, message)


def _build_repair_report(accounts: list[Account], message: str | None) -> dict[str, Any]:
    report: dict[str, Any] = {"persistence": [account.as_dict() for account in accounts]}
    if message:
        report["persistence_error"] = {"code": "repair_failed", "message": message}
    return report


def _record_accounts(context: Context, run_id: str, accounts: list[Account]) -> None:
    """Count and log, per spec, the outcomes of the step results whose missing rows were written at the end of a run."""
    for account in accounts:
        for outcome, number in account.outcomes.items():
            context.metrics.count_repair(account.spec, outcome, number)
        if account.error:
            log.error("repair failed", pipeline_run_id=run_id, spec=account.spec, reason=account.error)
        log.info("repaired", pipeline_run_id=run_id, spec=account.spec, **dict(account.outcomes))
