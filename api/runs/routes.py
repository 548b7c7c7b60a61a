"""The endpoints of the runner: claim a run, read it, report the progress of its steps.

Step payloads may be large, so they are passed as JSON text. When a run ends, rows that its persist blocks did not write
are written before the response.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

import msgspec
import structlog
from msgspec import UNSET, Meta, Raw, Struct, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from api.auth import ORG_HEADER, read_optional_organisation, require_internal_key
from api.context import Context
from api.http.body import decode_body, read_body, replace_unstorable_escapes
from api.http.endpoint import Endpoint, JsonSchema, build_data_response
from api.http.errors import Fault
from api.http.openapi import build_data_schema
from api.http.telemetry import bind_run
from engine.backfill.run import repair_run
from engine.orders.errors import OrderConflict, OrderError, ProviderRunIdTaken
from engine.research_inputs import normalize_inputs
from engine.rows.accounts import Account
from engine.runs import runs
from engine.runs.errors import ForeignRecord, LostLease, RecordNotFound, RunError
from engine.runs.statuses import RunStatus, StepStatus
from engine.store.connection import RawJson
from engine.values import exact_json

log = structlog.get_logger("api")

ERROR_STATUSES = (400, 401, 403, 404, 409, 413, 415, 422, 503)
HEADERS = {ORG_HEADER: (False, "When sent, it must be the organisation of the run.")}
OBJECT: Mapping[str, Any] = {"type": "object"}

#: Whole numbers are floats with `multiple_of=1`, since JSON does not distinguish 10.0 from 10.
Seconds = Annotated[
    float, Meta(ge=1, le=86_400, multiple_of=1, description="How long the lease lasts without a heartbeat.")
]
Count = Annotated[float, Meta(ge=0, le=2_147_483_647, multiple_of=1)]
Text = Annotated[str, Meta(max_length=100_000)]
Name = Annotated[str, Meta(min_length=1, max_length=500)]
Time = Annotated[datetime, Meta(tz=True, description="Default: the time of the request.")]


class Body(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """The base of the runner's request bodies. Unknown fields are refused."""


BodyT = TypeVar("BodyT", bound=Body)


class Claim(Body, frozen=True):
    """A request for the next run to execute."""

    worker: Name
    lease_seconds: Seconds = 60


class Heartbeat(Body, frozen=True):
    """A request to extend the lease of a run, or to give the run back."""

    pipeline_run_id: UUID
    lease_token: UUID
    lease_seconds: Seconds = 60
    error_message: Annotated[Text | None, Meta(description="Why the runner gives the run back for another claim.")] = (
        None
    )
    released: Annotated[bool, Meta(description="The runner stops: this attempt does not count against the run.")] = (
        False
    )


class Queue(Body, frozen=True):
    """A request for the counts of the queue, of the organisation in the header or of all."""


class RunReference(Body, frozen=True):
    """A run, by its id."""

    pipeline_run_id: UUID


class RunUpdate(Body, frozen=True):
    """New values of a run. A field sent as null is cleared, one that is left out keeps its value."""

    pipeline_run_id: UUID
    status: RunStatus
    error_message: Text | UnsetType | None = UNSET
    error_details: Raw | UnsetType = UNSET
    trigger_run_id: Name | UnsetType | None = UNSET
    started_at: Time | None = None
    finished_at: Time | None = None
    lease_token: UUID | None = None


class StepUpdate(Body, frozen=True):
    """New values of a step result. A field sent as null is cleared, one that is left out keeps its value."""

    step_result_id: UUID
    status: StepStatus | None = None
    input_payload: Raw | UnsetType = UNSET
    output_payload: Raw | UnsetType = UNSET
    error_message: Text | UnsetType | None = UNSET
    error_details: Raw | UnsetType = UNSET
    task_run_id: Name | UnsetType | None = UNSET
    duration_ms: Count | None = None
    started_at: Time | None = None
    finished_at: Time | None = None
    lease_token: UUID | None = None


class InputValues(Body, frozen=True):
    """An operation and, for each of its inputs, the candidate values, by descending priority."""

    operation_id: Name
    inputs: dict[str, list[Raw]]


class SkipRemaining(Body, frozen=True):
    """A run, and the position of its failed step, after which queued steps are to be skipped."""

    pipeline_run_id: UUID
    from_step_position: Count


class SubmissionReference(Body, frozen=True):
    """A submission, by its id."""

    submission_id: UUID


@dataclass(frozen=True, slots=True)
class RunnerCall(Generic[BodyT]):
    """One request of the runner, authenticated and decoded."""

    context: Context
    body: BodyT
    org_id: str | None  # the organisation in the header, if sent
    replaced: int  # escapes in the body that Postgres cannot store, replaced by U+FFFD


Respond = Callable[[RunnerCall[BodyT]], Awaitable[Response]]

RUN_ENDPOINTS: list[Endpoint] = []


def runner_endpoint(
    path: str,
    body: type[BodyT],
    title: str,
    response_schema: JsonSchema = OBJECT,
    *,
    endpoints: list[Endpoint] = RUN_ENDPOINTS,
) -> Callable[[Respond[BodyT]], Respond[BodyT]]:
    """Add an endpoint to `endpoints` that calls the decorated function with the decoded request.

    RunErrors and OrderErrors that the function raises become error responses.
    """
    decoder = msgspec.json.Decoder(body)

    def add_endpoint(respond: Respond[BodyT]) -> Respond[BodyT]:
        async def respond_to_request(context: Context, request: Request) -> Response:
            require_internal_key(request, context)
            org_id = read_optional_organisation(request)
            raw, replaced = replace_unstorable_escapes(await read_body(request, context.settings.max_body_bytes))
            decoded = decode_body(raw, decoder)
            bind_run(getattr(decoded, "pipeline_run_id", None))
            try:
                return await respond(RunnerCall(context, decoded, org_id, replaced))
            except (RunError, OrderError) as error:
                raise _build_run_fault(error) from error

        endpoints.append(
            Endpoint(
                method="POST",
                path=f"/api/internal/{path}",
                name=path.replace("/", "_").replace("-", "_"),
                title=title,
                tag="runner",
                body=body,
                respond=respond_to_request,
                response_schema=build_data_schema(response_schema),
                security=("internalKey",),
                headers=HEADERS,
                error_statuses=ERROR_STATUSES,
            )
        )
        return respond

    return add_endpoint


def _build_run_fault(error: RunError | OrderError) -> Fault:
    """Convert an error about a run or an order to a fault with its code."""
    match error:
        case RecordNotFound():
            return Fault("not_found", error.message, hint=error.hint)
        case ForeignRecord():
            hint = f"send the organisation of the run in `{ORG_HEADER}`"
            return Fault("other_organisation", error.message, hint=hint)
        case LostLease():
            return Fault("lost_lease", error.message, hint=error.hint)
        case ProviderRunIdTaken():
            return Fault("provider_run_id_taken", error.message, hint=error.hint)
        case OrderConflict():
            return Fault("order_conflict", error.message, hint=error.hint)
    raise error


@runner_endpoint("pipeline-runs/claim", Claim, "Claim the next run: queued, or with an expired lease", {})
async def claim_run(call: RunnerCall[Claim]) -> Response:
    """Claim the next queued run by a lease; answer the run, or null when there is none."""
    async with call.context.connection() as connection:
        attempts = call.context.settings.max_run_attempts
        run = await runs.claim_run(connection, int(call.body.lease_seconds), call.org_id, attempts)
    if run:
        log.info("claimed", worker=call.body.worker, pipeline_run_id=msgspec.json.decode(run)["id"])
    return build_data_response(run or "null")


@runner_endpoint("pipeline-runs/queue", Queue, "Count the runs that are queued, leased or at Trigger.dev")
async def read_queue(call: RunnerCall[Queue]) -> Response:
    """Answer how many runs are queued, leased and at Trigger.dev, and how many orders have no answer yet."""
    async with call.context.connection() as connection:
        return build_data_response(await runs.read_queue(connection, call.org_id))


@runner_endpoint("pipeline-runs/heartbeat", Heartbeat, "Prolong the lease of a run")
async def renew_lease(call: RunnerCall[Heartbeat]) -> Response:
    """Extend the lease of a run, or end it when the runner gives the run back; answer the lease."""
    run_id, lease_token = str(call.body.pipeline_run_id), str(call.body.lease_token)
    async with call.context.connection() as connection:
        lease = await runs.renew_lease(
            connection,
            run_id,
            lease_token,
            int(call.body.lease_seconds),
            call.org_id,
            error_message=call.body.error_message,
            released=call.body.released,
        )
    return build_data_response(lease)


@runner_endpoint("pipeline-runs/get", RunReference, "Read a run with its submission and step results")
async def read_run(call: RunnerCall[RunReference]) -> Response:
    """Answer a run with its submission and step results, which is all that its runner needs."""
    async with call.context.connection() as connection:
        return build_data_response(await runs.read_run(connection, str(call.body.pipeline_run_id), call.org_id))


@runner_endpoint("pipeline-runs/update-status", RunUpdate, "Update a run; when it ends, write rows that are missing")
async def update_run(call: RunnerCall[RunUpdate]) -> Response:
    """Update a run; when it ends, write its missing rows and add a report of that to the answer."""
    change = runs.RunChange(**_list_changes(call.body))
    async with call.context.connection() as connection:
        run = await runs.update_run(connection, change, call.org_id)
    if not change.status.is_final:
        return build_data_response(run)
    fields = msgspec.json.decode(run, type=dict[str, Raw])  # undecoded, so that no number changes
    report = await repair_run_rows(call.context, change.pipeline_run_id)
    return build_data_response(msgspec.json.encode({**fields, **report}))


@runner_endpoint("step-results/update", StepUpdate, "Update a step result")
async def update_step(call: RunnerCall[StepUpdate]) -> Response:
    """Update a step result; answer it, and how many characters Postgres cannot store were replaced."""
    change = runs.StepChange(**_list_changes(call.body))
    async with call.context.connection() as connection:
        step = await runs.update_step(connection, change, call.org_id)
    return build_data_response(step, {"replaced": call.replaced})


@runner_endpoint("step-results/normalize-inputs", InputValues, "Normalize the inputs of a step's research")
async def normalize_step_inputs(call: RunnerCall[InputValues]) -> Response:
    """Answer, for each input, its normalized text for the prompt, or why there is none."""
    operation = call.body.operation_id
    research = next(
        (plan.research for plan in call.context.plans if plan.research and plan.research.operation == operation), None
    )
    if research is None:
        hint = "deploy the API with the specs of the runner"
        raise Fault("not_found", f"no spec says how `{operation}` is executed", hint=hint)
    values = {name: [exact_json.loads(bytes(value)) for value in given] for name, given in call.body.inputs.items()}
    texts = normalize_inputs(research, values)
    return build_data_response(msgspec.json.encode({name: asdict(each) for name, each in texts.items()}))


@runner_endpoint("step-results/mark-remaining-skipped", SkipRemaining, "Skip the queued steps of a run")
async def skip_remaining_steps(call: RunnerCall[SkipRemaining]) -> Response:
    """Set the queued steps of a run after a position to `skipped`; answer the run."""
    run_id, position = str(call.body.pipeline_run_id), int(call.body.from_step_position)
    async with call.context.connection() as connection:
        return build_data_response(await runs.skip_remaining_steps(connection, run_id, position, call.org_id))


@runner_endpoint("submissions/sync-status", SubmissionReference, "Derive a submission's status from its runs")
async def sync_submission_status(call: RunnerCall[SubmissionReference]) -> Response:
    """Derive the status of a submission from its runs, and store it; answer the submission."""
    submission_id = str(call.body.submission_id)
    async with call.context.connection() as connection:
        return build_data_response(await runs.sync_submission_status(connection, submission_id, call.org_id))


def _list_changes(body: RunUpdate | StepUpdate) -> dict[str, Any]:
    """Return the fields that were sent, as parameters for Postgres: JSON as text, JSON null as None."""
    values = {name: getattr(body, name) for name in body.__struct_fields__}
    return {name: _convert_value(value) for name, value in values.items() if value is not UNSET}


def _convert_value(value: Any) -> Any:
    match value:
        case Raw():
            return None if bytes(value) == b"null" else RawJson(value)
        case UUID():
            return str(value)
        case float():
            return int(value)
    return value


async def repair_run_rows(context: Context, run_id: str) -> dict[str, Any]:
    """Write the missing rows of a run; return the `persistence` fields of the response.

    A failure is reported in these fields and not raised, since the run has ended anyway. Step results without rows then
    stay pending, until `dex reconcile` writes them.
    """
    try:
        async with context.connection() as connection:
            accounts = await repair_run(connection, context.plans, run_id)
    except Exception as error:
        log.error("repair failed", pipeline_run_id=run_id, exc_info=error)
        return _build_repair_report([], "what this run found is pending; `dex reconcile` writes it")
    _record_accounts(context, run_id, accounts)
    pending = ", ".join(f"`{account.spec}`" for account in accounts if account.error)
    message = f"pending: {pending}; mend the table, then `dex reconcile` writes it" if pending else None
    return _build_repair_report(accounts, message)


def _build_repair_report(accounts: list[Account], message: str | None) -> dict[str, Any]:
    report: dict[str, Any] = {"persistence": [account.as_dict() for account in accounts]}
    if message:
        report["persistence_error"] = {"code": "repair_failed", "message": message}
    return report


def _record_accounts(context: Context, run_id: str, accounts: list[Account]) -> None:
    """Count and log the outcomes of the repair, per spec."""
    for account in accounts:
        for outcome, number in account.outcomes.items():
            context.metrics.count_repair(account.spec, outcome, number)
        if account.error:
            log.error("repair failed", pipeline_run_id=run_id, spec=account.spec, reason=account.error)
        log.info("repaired", pipeline_run_id=run_id, spec=account.spec, **dict(account.outcomes))
