"""Create and read submissions; record which of their runs Trigger.dev has taken."""

from __future__ import annotations

from dataclasses import dataclass, fields

from engine.runs.errors import ForeignCompany, IdempotencyConflict, TooManyQueuedSteps
from engine.runs.runs import SUBMISSION_QUERIES
from engine.runs.statuses import Runner
from engine.store.connection import Connection, RawJson, fetch_rows
from engine.store.errors import FOREIGN_KEY_VIOLATION, StoreRefused, wrap_errors
from engine.store.identity import check_organisation
from engine.store.tenant import open_tenant_transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSubmission:
    """A submission to create. Each field is a parameter of the query `create_submission`."""

    org_id: str
    company_id: str | None
    steps: RawJson
    inputs: RawJson
    source: str | None
    metadata: RawJson
    runner: Runner
    requested_by: str | None = None
    traceparent: str | None = None  # the W3C trace context of the request, passed on to the runner
    idempotency_key: str | None = None
    request_digest: str | None = None  # a hash of the request that came with `idempotency_key`
    step_count: int = 0  # the number of steps of all its runs
    max_queued_steps: int | None = None  # the organisation's limit; None means none


@dataclass(frozen=True, slots=True)
class CreatedSubmission:
    """A submission as stored, as JSON text, and its runs in the order of the inputs."""

    json: str
    run_ids: tuple[str, ...]
    is_replayed: bool = False  # whether an earlier request with the same idempotency key created it


async def create_submission(connection: Connection, submission: NewSubmission) -> CreatedSubmission:
    """Create a submission, a run per input, and the queued steps of each run, in one transaction.

    If an earlier request had the same idempotency key and was equal, return its submission; if it was another request,
    raise IdempotencyConflict. Raises UnknownOrganisation when there is no such organisation, ForeignCompany when the
    company is not its own, and TooManyQueuedSteps when more steps would be queued than it may have.
    """
    try:
        return await _insert_submission(connection, submission)
    except StoreRefused as error:
        if error.sqlstate == FOREIGN_KEY_VIOLATION:
            await check_organisation(connection, submission.org_id)
        raise


async def _insert_submission(connection: Connection, submission: NewSubmission) -> CreatedSubmission:
    parameters = {field.name: getattr(submission, field.name) for field in fields(submission)}
    async with wrap_errors(), open_tenant_transaction(connection, submission.org_id) as cursor:
        if submission.company_id:
            await cursor.execute(SUBMISSION_QUERIES["find_company"], parameters)
            if await cursor.fetchone() != (True,):
                raise ForeignCompany(
                    "`company_id` does not belong to this organisation",
                    hint="send one of the organisation's own, or none",
                )
        await cursor.execute(SUBMISSION_QUERIES["lock_submitting"], parameters)
        if submission.idempotency_key is not None:
            await cursor.execute(SUBMISSION_QUERIES["find_by_idempotency_key"], parameters)
            earlier = await cursor.fetchone()
            if earlier:
                return _replay_submission(submission, *earlier)
        if submission.max_queued_steps is not None:
            await cursor.execute(SUBMISSION_QUERIES["count_queued_steps"], parameters)
            (queued,) = await cursor.fetchone() or (0,)
            _check_queue(submission.step_count, queued, submission.max_queued_steps)
        await cursor.execute(SUBMISSION_QUERIES["create_submission"], parameters)
        row = await cursor.fetchone()
    assert row is not None
    text, run_ids = row
    return CreatedSubmission(text, tuple(run_ids))


def _replay_submission(
    submission: NewSubmission, digest: str | None, text: str, run_ids: list[str] | None
) -> CreatedSubmission:
    if digest != submission.request_digest:
        raise IdempotencyConflict(
            "the idempotency key was sent before with another request",
            hint="send the same request again, or another key",
        )
    return CreatedSubmission(text, tuple(run_ids or ()), is_replayed=True)


def _check_queue(steps: int, queued: int, most: int) -> None:
    if queued + steps > most:
        raise TooManyQueuedSteps(
            f"{queued} step(s) of the organisation are queued, and {steps} more would exceed its limit of {most}",
            hint="wait until some are done, send fewer, or cancel what is not needed",
        )


async def read_submission(
    connection: Connection, submission_id: str, org_id: str, company_id: str | None = None
) -> str | None:
    """Return a submission with its runs and steps, without payloads; None if the organisation has none with that id."""
    parameters = {"submission_id": submission_id, "org_id": org_id, "company_id": company_id}
    async with wrap_errors(), open_tenant_transaction(connection, org_id) as cursor:
        await cursor.execute(SUBMISSION_QUERIES["read_submission"], parameters)
        row = await cursor.fetchone()
    return row[0] if row else None


async def find_undispatched_runs(connection: Connection, submission_id: str) -> list[tuple[str, str, str | None, int]]:
    """Return id, organisation, company and restarts of each queued run that is not confirmed to be at Trigger.dev."""
    async with wrap_errors():
        return await fetch_rows(
            connection, SUBMISSION_QUERIES["find_undispatched_runs"], {"submission_id": submission_id}
        )


async def find_overdue_runs(connection: Connection) -> list[tuple[str, str, str | None, int]]:
    """Return the same for at most 100 runs, of all submissions, that have been queued for more than a minute."""
    async with wrap_errors():
        return await fetch_rows(connection, SUBMISSION_QUERIES["find_left_runs"])


async def record_dispatch(connection: Connection, run_id: str, trigger_run_id: str) -> None:
    """Store the id that Trigger.dev gave a run."""
    parameters = {"pipeline_run_id": run_id, "trigger_run_id": trigger_run_id}
    async with wrap_errors():
        await connection.execute(SUBMISSION_QUERIES["record_dispatch"], parameters)
