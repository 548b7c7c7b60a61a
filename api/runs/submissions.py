"""Starting work: one submission, a run per input, queued steps.

In: steps and inputs. Out: what was made, and who executes it. It must not know what an operation does.

With `TRIGGER_SECRET_KEY` set the runs are Trigger.dev's, and no local runner is given them. A run Trigger.dev did not
take stays queued, and the answer says so; `submissions/dispatch` asks again.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any
from uuid import UUID

import msgspec
import structlog
from msgspec import Meta, Raw, Struct
from starlette.requests import Request
from starlette.responses import Response

from api.auth import COMPANY_HEADER, ORG_HEADER, Caller, as_uuid, require_internal_key, resolve_tenant
from api.context import Context
from api.http.body import UNSTORABLE_HINT, decode, read, unstorable
from api.http.endpoint import Endpoint, data
from api.http.errors import Fault, invalid, unknown_organisation
from api.http.openapi import of_data
from api.runs import trigger_dev
from api.runs.routes import OneSubmission
from engine.runs import submissions as store
from engine.store import organisation
from engine.store.errors import FOREIGN_KEY, StoreRefused
from engine.store.raw import RawJson

log = structlog.get_logger("api")

MOST_STEPS = 50
MOST_INPUTS = 500
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

    steps: Annotated[list[Step], Meta(min_length=1, max_length=MOST_STEPS)]
    inputs: Annotated[list[dict[str, Raw]], Meta(min_length=1, max_length=MOST_INPUTS)]
    company_id: UUID | None = None
    source: Annotated[str, Meta(max_length=500)] | None = None
    metadata: dict[str, Raw] | None = None


def endpoints(context: Context) -> list[Endpoint]:
    """Return the endpoints of submissions."""
    return [_create_endpoint(context), _read_endpoint(context), _dispatch_endpoint(context)]


def _create_endpoint(context: Context) -> Endpoint:
    return Endpoint(
        method="POST",
        path="/api/v1/submissions",
        name="create_submission",
        title="Start work: steps and inputs become a submission with one run per input",
        tag="submissions",
        body=NewSubmission,
        example={
            "steps": [{"operation_id": "company.derive.icp_job_titles"}],
            "inputs": [{"company_name": "Example", "domain": "example.com"}],
        },
        answer=of_data({"type": "object"}, {"type": "object"}),
        security=("tenant",),
        headers=HEADERS,
        faults=(400, 401, 403, 404, 413, 415, 422, 503),
        answers=partial(_create, context, msgspec.json.Decoder(NewSubmission)),
    )


def _read_endpoint(context: Context) -> Endpoint:
    return Endpoint(
        method="GET",
        path="/api/v1/submissions/{submission_id}",
        name="read_submission",
        title="See how a submission goes: its runs and their steps",
        tag="submissions",
        answer=of_data({"type": "object"}),
        security=("tenant",),
        headers=HEADERS,
        faults=(400, 401, 404, 422, 503),
        answers=partial(_read, context),
    )


def _dispatch_endpoint(context: Context) -> Endpoint:
    return Endpoint(
        method="POST",
        path="/api/internal/submissions/dispatch",
        name="submissions_dispatch",
        title="Offer Trigger.dev again the queued runs it has not confirmed",
        tag="runner",
        body=OneSubmission,
        answer=of_data({"type": "object"}),
        security=("internalKey",),
        faults=(401, 409, 413, 415, 422, 503),
        answers=partial(_dispatch_again, context, msgspec.json.Decoder(OneSubmission)),
    )


async def _create(context: Context, decoder: msgspec.json.Decoder[NewSubmission], request: Request) -> Response:
    caller = await resolve_tenant(request, context)
    raw = await read(request, context.settings.max_body_bytes)
    body = decode(raw, decoder)
    if bad := unstorable(raw):
        raise invalid(f"the body holds `{bad}`", code="unstorable_text", hint=UNSTORABLE_HINT)
    new = _new(context, caller, body)
    made = await _make(context, new)
    offered = [(run_id, new.org_id, new.company_id) for run_id in made.run_ids] if new.runner == "trigger" else []
    meta = {"runner": new.runner, "operations_without_spec": _unclaimed(context, body)}
    return data(made.json, meta | await _dispatch(context, offered))


async def _make(context: Context, new: store.NewSubmission) -> store.Made:
    async with context.connection() as connection:
        try:
            return await store.create(connection, new)
        except store.ForeignCompany as error:
            raise Fault(403, "other_organisation", error.message, hint=error.hint) from error
        except StoreRefused as error:
            if error.sqlstate == FOREIGN_KEY and not await organisation.exists(connection, new.org_id):
                raise unknown_organisation() from error
            raise


def _new(context: Context, caller: Caller, body: NewSubmission) -> store.NewSubmission:
    assert caller.org_id is not None
    steps = [_snapshot(place, step) for place, step in enumerate(body.steps, start=1)]
    return store.NewSubmission(
        org_id=caller.org_id,
        company_id=_company(caller, str(body.company_id) if body.company_id else None),
        steps=RawJson(msgspec.json.encode(steps)),
        inputs=RawJson(msgspec.json.encode(body.inputs)),
        source=body.source,
        metadata=RawJson(msgspec.json.encode(body.metadata or {})),
        runner="trigger" if context.settings.trigger_secret_key else "local",
    )


def _snapshot(place: int, step: Step) -> dict[str, Any]:
    config = step.step_config or {}
    return {"position": place, "operation_id": step.operation_id, "step_config": config, "is_enabled": True}


def _company(caller: Caller, named: str | None) -> str | None:
    """The company to act for. Whoever is bound to one may name no other."""
    if caller.company_id and named not in (None, caller.company_id):
        raise Fault(403, "other_company", "`company_id` names another company than yours", hint="leave it out")
    return named or caller.company_id


def _unclaimed(context: Context, body: NewSubmission) -> list[str]:
    """Operations whose results no spec makes rows of: no mistake, but said, since nothing else would."""
    claimed = {operation for plan in context.plans for operation in plan.operations}
    return sorted({step.operation_id for step in body.steps} - claimed)


async def _dispatch(context: Context, runs: list[tuple[str, str, str | None]]) -> dict[str, Any]:
    """Offer the runs to Trigger.dev and note which it took."""
    if not runs:
        return {}
    results = await trigger_dev.start(context.settings, runs)
    taken = [(result.run_id, result.trigger_run_id) for result in results if result.trigger_run_id]
    async with context.connection() as connection:
        for run_id, trigger_run_id in taken:
            await store.dispatched(connection, run_id, trigger_run_id)
    left = [{"pipeline_run_id": result.run_id, "error": result.error} for result in results if result.error]
    if not left:
        return {"dispatched": len(taken), "not_dispatched": []}
    log.warning("not dispatched", runs=len(left), error=left[0]["error"])
    hint = "these runs stay queued; `POST /api/internal/submissions/dispatch` offers them again"
    return {"dispatched": len(taken), "not_dispatched": left, "hint": hint}


async def _dispatch_again(context: Context, decoder: msgspec.json.Decoder[OneSubmission], request: Request) -> Response:
    require_internal_key(request, context)
    body = decode(await read(request, context.settings.max_body_bytes), decoder)
    if not context.settings.trigger_secret_key:
        raise Fault(409, "no_trigger", "`TRIGGER_SECRET_KEY` is not set", hint="set it, or let a local runner work")
    async with context.connection() as connection:
        runs = await store.undispatched(connection, str(body.submission_id))
    told = {"dispatched": 0, "not_dispatched": []} | await _dispatch(context, runs)
    return data(msgspec.json.encode(told))


async def _read(context: Context, request: Request) -> Response:
    caller = await resolve_tenant(request, context)
    submission_id = as_uuid(request.path_params["submission_id"])
    if submission_id is None:
        raise invalid("the submission's id is not a UUID", field="submission_id")
    assert caller.org_id is not None
    async with context.connection() as connection:
        shown = await store.read(connection, submission_id, caller.org_id, caller.company_id)
    if shown is None:
        raise Fault(404, "not_found", "Submission not found", hint="it may belong to another organisation or company")
    return data(shown)
