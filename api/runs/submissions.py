"""The endpoints of submissions: create, read, cancel and retry.

If `TRIGGER_SECRET_KEY` is set, Trigger.dev executes the runs, and local runners cannot claim them. A run that
Trigger.dev did not accept stays queued, and the response says so; `submissions/dispatch` dispatches it again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Body, Depends, Header
from pydantic import WithJsonSchema
from starlette.responses import Response

from api.auth import Caller
from api.context import Context
from api.dependencies import AppContext, Spender, Tenant, find_spender, require_internal
from api.http.body import UNSTORABLE_TEXT_HINT
from api.http.errors import Fault, InvalidBody
from api.http.models import Data, DataWithMeta, Id, Omittable
from api.http.openapi import describe_errors
from api.http.responses import build_data_response
from api.http.route import ROUTER_OPTIONS, BodyRoute
from api.runs import trigger_dev
from api.runs.dispatch import OfferedRun, dispatch_runs
from api.runs.new_submissions import (
    NewSubmission,
    build_submission,
    check_idempotency_key,
    compute_ceiling,
    store_submission,
)
from api.runs.routes import RUNNER_OPTIONS, Facts, SubmissionReference
from engine.runs import management, submissions
from engine.runs.management import ChangedRun
from engine.runs.statuses import Runner


class SpenderRoute(BodyRoute):
    """The route of an endpoint that starts paid work: the caller's role must allow it; the body has a limited size."""

    authenticate = staticmethod(find_spender)


router = APIRouter(prefix="/api/v1/submissions", tags=["submissions"], **ROUTER_OPTIONS)
spender_router = APIRouter(
    prefix="/api/v1/submissions", tags=["submissions"], **{**ROUTER_OPTIONS, "route_class": SpenderRoute}
)
runner_router = APIRouter(prefix="/api/internal/submissions", **RUNNER_OPTIONS)

#: The schema only describes the header: a blank or too long one gives 400.
IdempotencyKey = Annotated[str, WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 255})]
_EXAMPLE = {
    "steps": [{"operation_id": "company.derive.icp_job_titles"}],
    "inputs": [{"company_name": "Example", "domain": "example.com"}],
}


@spender_router.post(
    "",
    summary="Create a submission of steps and inputs, with one run per input",
    response_model=DataWithMeta[Facts, Facts],
    responses=describe_errors(400, 401, 403, 404, 413, 415, 422, 503),
)
async def create_submission(
    caller: Spender,
    context: AppContext,
    body: Annotated[NewSubmission, Body(examples=[_EXAMPLE])],
    idempotency_key: Annotated[
        Omittable[IdempotencyKey], Header(description="A repeated request with the same key gets the first submission.")
    ] = None,
) -> Response:
    """Store a submission and return it; start its runs at Trigger.dev, unless local runners execute them.

    With `dry_run` nothing is stored: the answer has the most that the submission can cost.
    """
    key = check_idempotency_key(idempotency_key)
    if body.replaced:
        message = "the body holds a NUL or half a surrogate pair"
        raise InvalidBody(message, code="unstorable_text", hint=UNSTORABLE_TEXT_HINT)
    ceiling = compute_ceiling(context, body)
    if body.dry_run:
        return build_data_response(msgspec.json.encode({"dry_run": True, **ceiling.as_dict()}), ceiling.as_dict())
    submission = build_submission(context, caller, body, key)
    created = await store_submission(context, submission)
    dispatch = await _offer_submission(context, created, submission)
    meta = {"runner": submission.runner, "replayed": created.is_replayed, **ceiling.as_dict()}
    return build_data_response(created.json, meta | dispatch)


@router.get(
    "/{submission_id}",
    summary="Read a submission with its runs and their steps",
    response_model=Data[Facts],
    responses=describe_errors(400, 401, 404, 422, 503),
)
async def read_submission(submission_id: Id, caller: Tenant, context: AppContext) -> Response:
    """Return a submission of the caller with its runs and their steps."""
    return build_data_response(await _fetch_submission(context, caller, submission_id))


@runner_router.post(
    "/dispatch",
    summary="Dispatch to Trigger.dev again the queued runs it has not accepted",
    response_model=Data[Facts],
    dependencies=[Depends(require_internal)],
    responses=describe_errors(401, 409, 413, 415, 422, 503),
)
async def dispatch_submission(body: SubmissionReference, context: AppContext) -> Any:
    """Dispatch the runs of a submission that Trigger.dev has not accepted yet; return how many it accepted now."""
    if not context.settings.trigger_secret_key:
        raise Fault("no_trigger", "`TRIGGER_SECRET_KEY` is not set", hint="set it, or start a local runner")
    async with context.connection() as connection:
        runs = await submissions.find_undispatched_runs(connection, body.submission_id)
    return {"data": {"dispatched": 0, "not_dispatched": []} | await dispatch_runs(context, runs)}


@spender_router.post(
    "/{submission_id}/cancel",
    summary="Cancel the runs of a submission that have not ended",
    response_model=DataWithMeta[Facts, Facts],
    responses=describe_errors(400, 401, 403, 404, 413, 415, 422, 503),
)
async def cancel_submission(submission_id: Id, caller: Spender, context: AppContext) -> Response:
    """Cancel the runs of a submission: they place no more orders, but answers to placed orders are still collected."""
    return await _change_submission(context, caller, submission_id, management.cancel_runs, "canceled")


@spender_router.post(
    "/{submission_id}/retry",
    summary="Queue again the runs of a submission that failed, were canceled, or lost their runner",
    response_model=DataWithMeta[Facts, Facts],
    responses=describe_errors(400, 401, 403, 404, 413, 415, 422, 503),
)
async def retry_submission(submission_id: Id, caller: Spender, context: AppContext) -> Response:
    """Queue the runs of a submission again; steps that succeeded keep their results."""
    return await _change_submission(context, caller, submission_id, management.retry_runs, "queued")


async def _change_submission(
    context: Context, caller: Caller, submission_id: str, change: Callable[..., Awaitable[list[ChangedRun]]], name: str
) -> Response:
    """Apply `change` (cancel or retry) to the runs of a submission, here and at Trigger.dev; return the submission.

    `meta` has the number of changed runs, under `name`, and their ids.
    """
    await _fetch_submission(context, caller, submission_id)
    async with context.connection() as connection:
        changed = await change(connection, submission_id=submission_id)
        offered = await submissions.find_undispatched_runs(connection, submission_id)
    meta: dict[str, Any] = {name: len(changed), "runs": [run.id for run in changed]}
    if context.settings.trigger_secret_key:
        meta |= await dispatch_runs(context, offered)
        if at_trigger := [run.trigger_run_id for run in changed if run.trigger_run_id]:
            meta["not_canceled_at_trigger"] = await trigger_dev.cancel_runs(context.settings, at_trigger)
    return build_data_response(await _fetch_submission(context, caller, submission_id), meta)


async def _fetch_submission(context: Context, caller: Caller, submission_id: str) -> str:
    """Return a submission of the caller as JSON text. Raises Fault 404 when the caller has none with this id."""
    assert caller.org_id is not None
    async with context.connection() as connection:
        submission = await submissions.read_submission(connection, submission_id, caller.org_id, caller.company_id)
    if submission is None:
        raise Fault("not_found", "Submission not found", hint="it may belong to another organisation or company")
    return submission


async def _offer_submission(
    context: Context, created: submissions.CreatedSubmission, submission: submissions.NewSubmission
) -> dict[str, Any]:
    """Dispatch the runs of a submission, if Trigger.dev executes them; return the `meta` fields that report this.

    For a repeated request, only runs that Trigger.dev has not accepted yet are dispatched.
    """
    if submission.runner is not Runner.TRIGGER:
        return {}
    if not created.is_replayed:
        runs: list[OfferedRun] = [(run_id, submission.org_id, submission.company_id, 0) for run_id in created.run_ids]
        return await dispatch_runs(context, runs)
    submission_id = msgspec.json.decode(created.json)["id"]
    async with context.connection() as connection:
        runs = await submissions.find_undispatched_runs(connection, submission_id)
    return {"dispatched": 0, "not_dispatched": []} | await dispatch_runs(context, runs)
