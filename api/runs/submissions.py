"""The endpoints of submissions: start work, see how it goes, dispatch its runs again.

With `TRIGGER_SECRET_KEY` set, Trigger.dev executes the runs and no local runner gets them. A run that Trigger.dev did
not take stays queued, and the answer says so; `submissions/dispatch` offers it again.
"""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import msgspec
import structlog
from msgspec import Meta, Raw, Struct
from starlette.requests import Request
from starlette.responses import Response

from api.auth import COMPANY_HEADER, ORG_HEADER, Caller, authenticate_tenant, require_internal_key
from api.context import Context
from api.http.body import UNSTORABLE_HINT, decode_body, find_unstorable_escape, read_body
from api.http.endpoint import build_data_response, endpoint
from api.http.errors import Fault, InvalidBody
from api.http.openapi import build_data_schema
from api.runs import trigger_dev
from api.runs.routes import OneSubmission
from engine.runs import submissions
from engine.runs.errors import ForeignCompany
from engine.runs.statuses import Runner
from engine.store.connection import RawJson
from engine.values.uuid_text import parse_uuid

log = structlog.get_logger("api")

MAX_STEPS = 50
MAX_INPUTS = 500
HEADERS = {
    ORG_HEADER: (False, "With the internal key: the organisation to act for."),
    COMPANY_HEADER: (False, "With the internal key: the company to act for."),
}


class Step(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """One step of every run."""

    operation_id: Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[!-~]+$")]
    step_config: dict[str, Raw] | None = None


class NewSubmission(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """What is to be researched: the steps, and one run of them per input."""

    steps: Annotated[list[Step], Meta(min_length=1, max_length=MAX_STEPS)]
    inputs: Annotated[list[dict[str, Raw]], Meta(min_length=1, max_length=MAX_INPUTS)]
    company_id: UUID | None = None
    source: Annotated[str, Meta(max_length=500)] | None = None
    metadata: dict[str, Raw] | None = None


_NEW_SUBMISSION: msgspec.json.Decoder[NewSubmission] = msgspec.json.Decoder(NewSubmission)
_ONE_SUBMISSION: msgspec.json.Decoder[OneSubmission] = msgspec.json.Decoder(OneSubmission)


@endpoint(
    "POST",
    "/api/v1/submissions",
    name="create_submission",
    title="Start work: steps and inputs become a submission with one run per input",
    tag="submissions",
    body=NewSubmission,
    example={
        "steps": [{"operation_id": "company.derive.icp_job_titles"}],
        "inputs": [{"company_name": "Example", "domain": "example.com"}],
    },
    response_schema=build_data_schema({"type": "object"}, {"type": "object"}),
    security=("tenant",),
    headers=HEADERS,
    error_statuses=(400, 401, 403, 404, 413, 415, 422, 503),
)
async def create_submission(context: Context, request: Request) -> Response:
    """Store a submission and offer its runs to Trigger.dev, where that executes them."""
    caller = await authenticate_tenant(request, context)
    raw = await read_body(request, context.settings.max_body_bytes)
    body = decode_body(raw, _NEW_SUBMISSION)
    if escape := find_unstorable_escape(raw):
        raise InvalidBody(f"the body holds `{escape}`", code="unstorable_text", hint=UNSTORABLE_HINT)
    submission = _build_submission(context, caller, body)
    created = await _store_submission(context, submission)
    offered = created.run_ids if submission.runner is Runner.TRIGGER else ()
    dispatch = await _dispatch_runs(context, [(run_id, submission.org_id, submission.company_id) for run_id in offered])
    meta = {"runner": submission.runner, "operations_without_spec": _find_operations_without_spec(context, body)}
    return build_data_response(created.json, meta | dispatch)


@endpoint(
    "GET",
    "/api/v1/submissions/{submission_id}",
    name="read_submission",
    title="See how a submission goes: its runs and their steps",
    tag="submissions",
    response_schema=build_data_schema({"type": "object"}),
    security=("tenant",),
    headers=HEADERS,
    error_statuses=(400, 401, 404, 422, 503),
)
async def read_submission(context: Context, request: Request) -> Response:
    """Answer a submission of the caller with its runs and their steps."""
    caller = await authenticate_tenant(request, context)
    submission_id = parse_uuid(request.path_params["submission_id"])
    if submission_id is None:
        raise InvalidBody("the submission's id is not a UUID", field="submission_id")
    assert caller.org_id is not None
    async with context.connection() as connection:
        submission = await submissions.read_submission(connection, submission_id, caller.org_id, caller.company_id)
    if submission is None:
        raise Fault("not_found", "Submission not found", hint="it may belong to another organisation or company")
    return build_data_response(submission)


@endpoint(
    "POST",
    "/api/internal/submissions/dispatch",
    name="submissions_dispatch",
    title="Offer Trigger.dev again the queued runs it has not confirmed",
    tag="runner",
    body=OneSubmission,
    response_schema=build_data_schema({"type": "object"}),
    security=("internalKey",),
    error_statuses=(401, 409, 413, 415, 422, 503),
)
async def dispatch_submission(context: Context, request: Request) -> Response:
    """Offer Trigger.dev the runs of a submission that it has not confirmed."""
    require_internal_key(request, context)
    body = decode_body(await read_body(request, context.settings.max_body_bytes), _ONE_SUBMISSION)
    if not context.settings.trigger_secret_key:
        raise Fault("no_trigger", "`TRIGGER_SECRET_KEY` is not set", hint="set it, or let a local runner work")
    async with context.connection() as connection:
        runs = await submissions.find_undispatched_runs(connection, str(body.submission_id))
    report = {"dispatched": 0, "not_dispatched": []} | await _dispatch_runs(context, runs)
    return build_data_response(msgspec.json.encode(report))


SUBMISSION_ENDPOINTS = (create_submission, read_submission, dispatch_submission)


async def _store_submission(context: Context, submission: submissions.NewSubmission) -> submissions.CreatedSubmission:
    async with context.connection() as connection:
        try:
            return await submissions.create_submission(connection, submission)
        except ForeignCompany as error:
            raise Fault("other_organisation", error.message, hint=error.hint) from error


def _build_submission(context: Context, caller: Caller, body: NewSubmission) -> submissions.NewSubmission:
    assert caller.org_id is not None
    steps = [_build_step_snapshot(position, step) for position, step in enumerate(body.steps, start=1)]
    return submissions.NewSubmission(
        org_id=caller.org_id,
        company_id=_choose_company(caller, str(body.company_id) if body.company_id else None),
        steps=RawJson(msgspec.json.encode(steps)),
        inputs=RawJson(msgspec.json.encode(body.inputs)),
        source=body.source,
        metadata=RawJson(msgspec.json.encode(body.metadata or {})),
        runner=Runner.TRIGGER if context.settings.trigger_secret_key else Runner.LOCAL,
    )


def _build_step_snapshot(position: int, step: Step) -> dict[str, Any]:
    """Return a step as the blueprint of a run holds it."""
    config = step.step_config or {}
    return {"position": position, "operation_id": step.operation_id, "step_config": config, "is_enabled": True}


def _choose_company(caller: Caller, named: str | None) -> str | None:
    """Return the company to act for. Raises Fault 403 when a caller bound to one company names another."""
    if caller.company_id and named not in (None, caller.company_id):
        raise Fault("other_company", "`company_id` names another company than yours", hint="leave it out")
    return named or caller.company_id


def _find_operations_without_spec(context: Context, body: NewSubmission) -> list[str]:
    """Return the operations whose results no spec turns into rows. They run all the same, so the answer names them."""
    claimed = {operation for plan in context.plans for operation in plan.operations}
    return sorted({step.operation_id for step in body.steps} - claimed)


async def _dispatch_runs(context: Context, runs: list[tuple[str, str, str | None]]) -> dict[str, Any]:
    """Offer runs (id, organisation, company) to Trigger.dev and record which it took."""
    if not runs:
        return {}
    results = await trigger_dev.start_runs(context.settings, runs)
    taken = [(result.run_id, result.trigger_run_id) for result in results if result.trigger_run_id]
    async with context.connection() as connection:
        for run_id, trigger_run_id in taken:
            await submissions.record_dispatch(connection, run_id, trigger_run_id)
    left = [{"pipeline_run_id": result.run_id, "error": result.error} for result in results if result.error]
    if not left:
        return {"dispatched": len(taken), "not_dispatched": []}
    log.warning("not dispatched", runs=len(left), error=left[0]["error"])
    hint = "these runs stay queued; `POST /api/internal/submissions/dispatch` offers them again"
    return {"dispatched": len(taken), "not_dispatched": left, "hint": hint}
