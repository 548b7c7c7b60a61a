"""What the runner needs: claim a run, read it, say how it goes.

In: small bodies, and step payloads of any size as JSON text. Out: rows as Postgres wrote them. It must not know what a
step does. When a run ends, what its live persist blocks missed is written before the answer goes out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import structlog
from msgspec import UNSET, Meta, Raw, Struct, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from api.auth import ORG_HEADER, named_organisation, require_internal_key
from api.context import Context
from api.http.body import decode, mend, read
from api.http.endpoint import Endpoint, JsonSchema, data
from api.http.errors import Fault
from api.http.openapi import of_data
from engine.backfill.run import repair
from engine.errors import EngineError
from engine.rows.accounts import Account
from engine.runs import runs as store
from engine.store.raw import RawJson

log = structlog.get_logger("api")

FAULTS = (400, 401, 403, 404, 409, 413, 415, 422, 503)
HEADERS = {ORG_HEADER: (False, "When sent, it must be the organisation of the run.")}
OBJECT: Mapping[str, Any] = {"type": "object"}

RunStatus = Literal["queued", "running", "succeeded", "failed", "canceled"]
StepStatus = Literal["queued", "running", "succeeded", "failed", "skipped", "retrying"]
#: JSON does not tell 10.0 from 10, so a whole number may be spelled either way.
Seconds = Annotated[
    float, Meta(ge=1, le=86_400, multiple_of=1, description="How long the lease lasts without a heartbeat.")
]
Count = Annotated[float, Meta(ge=0, le=2_147_483_647, multiple_of=1)]
Text = Annotated[str, Meta(max_length=100_000)]
Name = Annotated[str, Meta(min_length=1, max_length=500)]
Time = Annotated[datetime, Meta(tz=True, description="Where it is not the time of the call.")]


Call = Callable[[Context, Any, str | None, int], Awaitable[Response]]


class Body(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """A body of this module: what it does not name is refused."""


class Claim(Body, frozen=True):
    """Ask for the next run."""

    worker: Name
    lease_seconds: Seconds = 60


class Heartbeat(Body, frozen=True):
    """Keep a run."""

    pipeline_run_id: UUID
    lease_token: UUID
    lease_seconds: Seconds = 60


class OneRun(Body, frozen=True):
    """Name a run."""

    pipeline_run_id: UUID


class RunUpdate(Body, frozen=True):
    """Say how a run goes; its submission follows. A field sent as null is cleared, one that is left out stays."""

    pipeline_run_id: UUID
    status: RunStatus
    error_message: Text | UnsetType | None = UNSET
    error_details: Raw | UnsetType = UNSET
    trigger_run_id: Name | UnsetType | None = UNSET
    started_at: Time | None = None
    finished_at: Time | None = None
    lease_token: UUID | None = None


class StepUpdate(Body, frozen=True):
    """Say how a step goes. A field sent as null is cleared, one that is left out stays."""

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
    provider_requested_at: Annotated[bool, Meta(extra_json_schema={"enum": [True]})] = False
    provider_request_withdrawn_by: Name | None = None
    provider_run_id: Name | None = None
    lease_token: UUID | None = None


class SkipRemaining(Body, frozen=True):
    """Skip what is still queued after a position, which is that of the step that failed."""

    pipeline_run_id: UUID
    from_step_position: Count


class OneSubmission(Body, frozen=True):
    """Name a submission."""

    submission_id: UUID


def endpoints(context: Context) -> list[Endpoint]:
    """Return the endpoints of the runner."""
    calls: tuple[tuple[str, type[Body], Call, str, JsonSchema], ...] = (
        ("pipeline-runs/claim", Claim, _claim, "Take the next queued run, or one whose runner died", {}),
        ("pipeline-runs/heartbeat", Heartbeat, _heartbeat, "Prolong the lease of a run", OBJECT),
        ("pipeline-runs/get", OneRun, _get, "Read a run with its submission and step results", OBJECT),
        ("pipeline-runs/update-status", RunUpdate, _update, "Say how a run goes; its end is repaired", OBJECT),
        ("step-results/update", StepUpdate, _update_step, "Say how a step goes", OBJECT),
        ("step-results/mark-remaining-skipped", SkipRemaining, _skip, "Skip the queued steps of a run", OBJECT),
        ("submissions/sync-status", OneSubmission, _sync, "Bring a submission's status in line with its runs", OBJECT),
    )
    return [_endpoint(context, *call) for call in calls]


def _endpoint(context: Context, path: str, body: type[Body], call: Call, title: str, answer: JsonSchema) -> Endpoint:
    return Endpoint(
        method="POST",
        path=f"/api/internal/{path}",
        name=path.replace("/", "_").replace("-", "_"),
        title=title,
        tag="runner",
        body=body,
        answer=of_data(answer),
        security=("internalKey",),
        headers=HEADERS,
        faults=FAULTS,
        answers=partial(_answer, context, msgspec.json.Decoder(body), call),
    )


async def _answer(context: Context, decoder: msgspec.json.Decoder[Any], call: Call, request: Request) -> Response:
    require_internal_key(request, context)
    org_id = named_organisation(request)
    raw, replaced = mend(await read(request, context.settings.max_body_bytes))
    try:
        return await call(context, decode(raw, decoder), org_id, replaced)
    except EngineError as error:
        raise _fault(error) from error


def _fault(error: EngineError) -> Exception:
    """What the store found in the way, as a status. Errors of the store itself are answered elsewhere."""
    match error:
        case store.NotHere():
            return Fault(404, "not_found", error.message, hint=error.hint)
        case store.ForeignRun():
            return Fault(403, "other_organisation", error.message, hint=error.hint)
        case store.LostLease():
            return Fault(409, "lost_lease", error.message, hint=error.hint)
        case store.PaidTwice():
            return Fault(409, error.code, error.message, hint=error.hint)
    return error


async def _claim(context: Context, body: Claim, org_id: str | None, replaced: int) -> Response:
    async with context.connection() as connection:
        claimed = await store.claim(connection, int(body.lease_seconds), org_id)
    if claimed:
        log.info("claimed", worker=body.worker, pipeline_run_id=msgspec.json.decode(claimed)["id"])
    return data(claimed or "null")


async def _heartbeat(context: Context, body: Heartbeat, org_id: str | None, replaced: int) -> Response:
    asked = (str(body.pipeline_run_id), str(body.lease_token), int(body.lease_seconds), org_id)
    async with context.connection() as connection:
        return data(await store.heartbeat(connection, *asked))


async def _get(context: Context, body: OneRun, org_id: str | None, replaced: int) -> Response:
    async with context.connection() as connection:
        return data(await store.get(connection, str(body.pipeline_run_id), org_id))


async def _update(context: Context, body: RunUpdate, org_id: str | None, replaced: int) -> Response:
    change = store.RunChange(
        id=str(body.pipeline_run_id),
        status=body.status,
        changes=_changes(body, ("error_message", "error_details", "trigger_run_id")),
        started_at=body.started_at,
        finished_at=body.finished_at,
        lease_token=str(body.lease_token) if body.lease_token else None,
    )
    async with context.connection() as connection:
        shown = await store.update(connection, change, org_id)
    if body.status not in store.ENDED:
        return data(shown)
    return data(shown[:-1].rstrip() + "," + (await _persistence(context, change.id))[1:])


async def _persistence(context: Context, run_id: str) -> str:
    """Repair the run; return `{"persistence": [...]}`. A failure is told, never raised: the run has ended all the same.

    What is not written now stays pending in the accounts, and `dex reconcile` takes it up.
    """
    try:
        async with context.connection() as connection:
            accounts = await repair(connection, context.plans, run_id)
    except Exception as error:
        log.error("repair failed", pipeline_run_id=run_id, exc_info=error)
        told = {"code": "repair_failed", "message": "what this run found is pending; `dex reconcile` writes it"}
        return msgspec.json.encode({"persistence": [], "persistence_error": told}).decode()
    _note(context, run_id, accounts)
    words: dict[str, Any] = {"persistence": [account.as_dict() for account in accounts]}
    if left := [account.spec for account in accounts if account.trouble]:
        message = f"pending: {', '.join(f'`{spec}`' for spec in left)}; mend the table, then `dex reconcile` writes it"
        words["persistence_error"] = {"code": "repair_failed", "message": message}
    return msgspec.json.encode(words).decode()


def _note(context: Context, run_id: str, accounts: list[Account]) -> None:
    for account in accounts:
        for outcome, number in account.outcomes.items():
            context.meters.repaired(account.spec, outcome, number)
        if account.trouble:
            log.error("repair failed", pipeline_run_id=run_id, spec=account.spec, reason=account.trouble)
        log.info("repaired", pipeline_run_id=run_id, spec=account.spec, **dict(account.outcomes))


async def _update_step(context: Context, body: StepUpdate, org_id: str | None, replaced: int) -> Response:
    names = ("input_payload", "output_payload", "error_message", "error_details", "task_run_id")
    change = store.StepChange(
        id=str(body.step_result_id),
        status=body.status,
        changes=_changes(body, names),
        duration_ms=None if body.duration_ms is None else int(body.duration_ms),
        provider_run_id=body.provider_run_id,
        requested=body.provider_requested_at,
        withdrawn_by=body.provider_request_withdrawn_by,
        started_at=body.started_at,
        finished_at=body.finished_at,
        lease_token=str(body.lease_token) if body.lease_token else None,
    )
    async with context.connection() as connection:
        return data(await store.update_step(connection, change, org_id), {"replaced": replaced})


async def _skip(context: Context, body: SkipRemaining, org_id: str | None, replaced: int) -> Response:
    async with context.connection() as connection:
        return data(
            await store.skip_remaining(connection, str(body.pipeline_run_id), int(body.from_step_position), org_id)
        )


async def _sync(context: Context, body: OneSubmission, org_id: str | None, replaced: int) -> Response:
    async with context.connection() as connection:
        return data(await store.sync_submission(connection, str(body.submission_id), org_id))


def _changes(body: Body, names: tuple[str, ...]) -> dict[str, Any]:
    """The fields that were sent. JSON stays the text it came as; null, in JSON too, clears."""
    sent = {name: getattr(body, name) for name in names}
    return {name: _change(value) for name, value in sent.items() if value is not UNSET}


def _change(value: Any) -> Any:
    if not isinstance(value, Raw):
        return value
    text = bytes(value)
    return None if text == b"null" else RawJson(text)
