"""The endpoints of submissions: create, read, cancel and retry one.

With `TRIGGER_SECRET_KEY` set, Trigger.dev executes the runs, and local runners cannot claim them. A run that it did not
accept stays queued, and the response says so; `submissions/dispatch` dispatches it again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from api.auth import COMPANY_HEADER, ORG_HEADER, Caller, authenticate_tenant, require_internal_key
from api.context import Context
from api.http.body import UNSTORABLE_HINT, decode_body, find_unstorable_escape, read_body
from api.http.endpoint import build_data_response, endpoint
from api.http.errors import Fault, InvalidBody
from api.http.openapi import build_data_schema
from api.runs import trigger_dev
from api.runs.dispatch import OfferedRun, dispatch_runs
from api.runs.new_submissions import (
    IDEMPOTENCY_HEADER,
    NewSubmission,
    build_submission,
    compute_ceiling,
    read_idempotency_key,
    require_spender,
    store_submission,
)
from api.runs.routes import SubmissionReference
from engine.runs import management, submissions
from engine.runs.management import ChangedRun
from engine.runs.statuses import Runner
from engine.values.uuid_text import parse_uuid

HEADERS = {
    ORG_HEADER: (False, "With the internal key: the organisation to act for."),
    COMPANY_HEADER: (False, "With the internal key: the company to act for."),
}
#: What the endpoints of one submission have in common.
_OPTIONS: Final[dict[str, Any]] = {
    "tag": "submissions",
    "response_schema": build_data_schema({"type": "object"}),
    "security": ("tenant",),
    "headers": HEADERS,
}

_NEW_SUBMISSION: msgspec.json.Decoder[NewSubmission] = msgspec.json.Decoder(NewSubmission)
_SUBMISSION_REFERENCE: msgspec.json.Decoder[SubmissionReference] = msgspec.json.Decoder(SubmissionReference)


@endpoint(
    "POST",
    "/api/v1/submissions",
    name="create_submission",
    title="Create a submission of steps and inputs, with one run per input",
    tag="submissions",
    body=NewSubmission,
    example={
        "steps": [{"operation_id": "company.derive.icp_job_titles"}],
        "inputs": [{"company_name": "Example", "domain": "example.com"}],
    },
    response_schema=build_data_schema({"type": "object"}, {"type": "object"}),
    security=("tenant",),
    headers={
        **HEADERS,
        IDEMPOTENCY_HEADER: (False, "A repeated request with the same key gets the first submission."),
    },
    error_statuses=(400, 401, 403, 404, 413, 415, 422, 429, 503),
)
async def create_submission(context: Context, request: Request) -> Response:
    """Store a submission and dispatch its runs to Trigger.dev, where that executes them; answer the submission."""
    caller = await authenticate_tenant(request, context)
    require_spender(caller)
    key = read_idempotency_key(request)
    raw = await read_body(request, context.settings.max_body_bytes)
    body = decode_body(raw, _NEW_SUBMISSION)
    if escape := find_unstorable_escape(raw):
        raise InvalidBody(f"the body holds `{escape}`", code="unstorable_text", hint=UNSTORABLE_HINT)
    ceiling = compute_ceiling(context, body)
    if body.dry_run:
        return build_data_response(msgspec.json.encode({"dry_run": True, **ceiling.as_dict()}), ceiling.as_dict())
    submission = build_submission(context, caller, body, key)
    created = await store_submission(context, submission)
    dispatch = await _offer_submission(context, created, submission)
    meta = {"runner": submission.runner, "replayed": created.is_replayed, **ceiling.as_dict()}
    return build_data_response(created.json, meta | dispatch)


@endpoint(
    "GET",
    "/api/v1/submissions/{submission_id}",
    name="read_submission",
    title="Read a submission with its runs and their steps",
    **_OPTIONS,
    error_statuses=(400, 401, 404, 422, 503),
)
async def read_submission(context: Context, request: Request) -> Response:
    """Answer a submission of the caller with its runs and their steps."""
    caller = await authenticate_tenant(request, context)
    return build_data_response(await _fetch_submission(context, caller, _read_submission_id(request)))


@endpoint(
    "POST",
    "/api/internal/submissions/dispatch",
    name="submissions_dispatch",
    title="Dispatch to Trigger.dev again the queued runs it has not accepted",
    tag="runner",
    body=SubmissionReference,
    response_schema=build_data_schema({"type": "object"}),
    security=("internalKey",),
    error_statuses=(401, 409, 413, 415, 422, 503),
)
async def dispatch_submission(context: Context, request: Request) -> Response:
    """Dispatch to Trigger.dev the runs of a submission that it has not accepted; answer how many it accepted."""
    require_internal_key(request, context)
    body = decode_body(await read_body(request, context.settings.max_body_bytes), _SUBMISSION_REFERENCE)
    if not context.settings.trigger_secret_key:
        raise Fault("no_trigger", "`TRIGGER_SECRET_KEY` is not set", hint="set it, or let a local runner work")
    async with context.connection() as connection:
        runs = await submissions.find_undispatched_runs(connection, str(body.submission_id))
    report = {"dispatched": 0, "not_dispatched": []} | await dispatch_runs(context, runs)
    return build_data_response(msgspec.json.encode(report))


@endpoint(
    "POST",
    "/api/v1/submissions/{submission_id}/cancel",
    name="cancel_submission",
    title="Cancel the runs of a submission that have not ended",
    **_OPTIONS,
    error_statuses=(400, 401, 403, 404, 422, 503),
)
async def cancel_submission(context: Context, request: Request) -> Response:
    """Cancel the runs of a submission: they place no more orders; answers of placed orders are still collected."""
    return await _change_submission(context, request, management.cancel_runs, "canceled")


@endpoint(
    "POST",
    "/api/v1/submissions/{submission_id}/retry",
    name="retry_submission",
    title="Queue again the runs of a submission that failed, were canceled, or lost their runner",
    **_OPTIONS,
    error_statuses=(400, 401, 403, 404, 422, 503),
)
async def retry_submission(context: Context, request: Request) -> Response:
    """Queue the runs of a submission again; steps that succeeded keep their results."""
    return await _change_submission(context, request, management.retry_runs, "queued")


SUBMISSION_ENDPOINTS = (create_submission, read_submission, cancel_submission, retry_submission, dispatch_submission)


async def _change_submission(
    context: Context, request: Request, change: Callable[..., Awaitable[list[ChangedRun]]], name: str
) -> Response:
    """Apply `change` (cancel or retry) to the runs of a submission, here and at Trigger.dev; answer the submission.

    `meta` has the number of changed runs, under `name`, and their ids.
    """
    caller = await authenticate_tenant(request, context)
    require_spender(caller)
    submission_id = _read_submission_id(request)
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


def _read_submission_id(request: Request) -> str:
    submission_id = parse_uuid(request.path_params["submission_id"])
    if submission_id is None:
        raise InvalidBody("the submission's id is not a UUID", field="submission_id")
    return submission_id


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
    """Dispatch the runs of a submission to Trigger.dev, where that executes them; return the `meta` fields about it.

    For a repeated request, only the runs that Trigger.dev has not accepted are dispatched.
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
