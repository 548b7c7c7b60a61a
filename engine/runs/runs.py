"""Read, claim and change pipeline runs and step results.

Records are returned as the JSON text that Postgres wrote, so that no number changes on the way to the runner. Functions
that take the id of a record raise RecordNotFound when there is none, and ForeignRecord when it belongs to another
organisation than the caller named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from enum import Enum
from typing import Any, Final

from engine.runs.errors import ForeignRecord, LostLease, RecordNotFound
from engine.runs.statuses import RunStatus, StepStatus
from engine.sql.named_queries import read_named_queries
from engine.store.connection import Connection, RawJson, fetch_row, fetch_rows
from engine.store.errors import wrap_errors

RUN_QUERIES: Final = read_named_queries("engine.runs", "runs.sql")
SUBMISSION_QUERIES: Final = read_named_queries("engine.runs", "submissions.sql", shared=("engine.runs", "runs.sql"))


class Keep(Enum):
    """The type of KEEP."""

    KEEP = "keep"


#: As a field of RunChange or StepChange: leave the column as it is. (None would clear it.)
KEEP: Final = Keep.KEEP


@dataclass(frozen=True, slots=True, kw_only=True)
class RunChange:
    """A new status of one run, and what to store with it; the parameters of the query `update_run`.

    KEEP leaves a column as it is, except that success clears the error; None clears the column. A time that is None
    stays as stored, or is now if the run starts or ends with this. With a `lease_token`, the update is refused when the
    run has another one.
    """

    pipeline_run_id: str
    status: RunStatus
    error_message: str | Keep | None = KEEP
    error_details: RawJson | Keep | None = KEEP
    trigger_run_id: str | Keep | None = KEEP
    started_at: datetime | None = None
    finished_at: datetime | None = None
    lease_token: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepChange:
    """An update of one step result. Each field is a parameter of the query `update_step`."""

    step_result_id: str
    status: StepStatus | None = None
    input_payload: RawJson | Keep | None = KEEP
    output_payload: RawJson | Keep | None = KEEP
    error_message: str | Keep | None = KEEP
    error_details: RawJson | Keep | None = KEEP
    task_run_id: str | Keep | None = KEEP
    duration_ms: int | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    lease_token: str | None = None


async def claim_run(connection: Connection, lease_seconds: int, org_id: str | None, max_attempts: int) -> str | None:
    """Lease the next run for `lease_seconds` and return it as JSON text; None if no run is waiting.

    A run whose runner died comes before the oldest queued one; if it had `max_attempts` attempts already, it is marked
    failed instead.
    """
    parameters = {"seconds": lease_seconds, "org_id": org_id, "max_attempts": max_attempts}
    async with wrap_errors(), connection.transaction():
        await end_exhausted_runs(connection, "set_aside_runs", parameters)
    row = await _fetch_row(connection, RUN_QUERIES["claim_run"], parameters)
    return row[0] if row else None


async def renew_lease(
    connection: Connection,
    run_id: str,
    lease_token: str,
    lease_seconds: int,
    org_id: str | None,
    *,
    error_message: str | None = None,
    released: bool = False,
) -> str:
    """Extend the lease of a run to `lease_seconds` from now; `error_message` says why its runner gives it up.

    With `released` the runner was told to stop and gives the run back, so this attempt does not count. Raises LostLease
    when the caller no longer holds the run's lease.
    """
    parameters = {
        "pipeline_run_id": run_id,
        "lease_token": lease_token,
        "seconds": lease_seconds,
        "org_id": org_id,
        "error_message": error_message,
        "released": released,
    }
    row = await _fetch_row(connection, RUN_QUERIES["renew_lease"], parameters)
    return _check_access(row, "Pipeline run", org_id)


async def read_run(connection: Connection, run_id: str, org_id: str | None) -> str:
    """Return a run with its submission and its step results as JSON text."""
    row = await _fetch_row(connection, RUN_QUERIES["read_run"], {"pipeline_run_id": run_id})
    return _check_access(row, "Pipeline run", org_id)


async def read_queue(connection: Connection, org_id: str | None) -> str:
    """Return, as JSON text, how many runs are queued, leased or at Trigger.dev, and how many orders are open."""
    (text,) = await _fetch_row(connection, RUN_QUERIES["read_queue"], {"org_id": org_id})
    return str(text)


async def update_run(connection: Connection, change: RunChange, org_id: str | None) -> str:
    """Update a run and the status of its submission in one transaction; return the run as JSON text.

    Raises LostLease when the caller no longer holds the run's lease.
    """
    parameters = {**_build_parameters(change), "ended": change.status.is_final, "org_id": org_id}
    async with wrap_errors(), connection.transaction():
        row = await _fetch_row(connection, RUN_QUERIES["update_run"], parameters)
        if row and row[2]:
            query = SUBMISSION_QUERIES["lock_submission_of_run"]
            (submission_id,) = await _fetch_row(connection, query, {"pipeline_run_id": change.pipeline_run_id})
            await _fetch_synced_status(connection, submission_id, org_id)
    return _check_access(row, "Pipeline run", org_id)


async def update_step(connection: Connection, change: StepChange, org_id: str | None) -> str:
    """Update a step result and return it as JSON text.

    Raises LostLease when the caller no longer holds the run's lease.
    """
    ended = change.status is not None and change.status.is_final
    parameters = {**_build_parameters(change), "ended": ended, "org_id": org_id}
    async with wrap_errors(), connection.transaction():
        row = await _fetch_row(connection, RUN_QUERIES["update_step"], parameters)
        if change.status is StepStatus.SUCCEEDED:
            await connection.execute(RUN_QUERIES["forget_answer_of_step"], parameters)
    return _check_access(row, "Step result", org_id)


async def skip_remaining_steps(connection: Connection, run_id: str, position: int, org_id: str | None) -> str:
    """Set the queued steps of a run after `position` to skipped."""
    parameters = {"pipeline_run_id": run_id, "position": position, "org_id": org_id}
    row = await _fetch_row(connection, RUN_QUERIES["skip_remaining_steps"], parameters)
    return _check_access(row, "Pipeline run", org_id)


async def sync_submission_status(connection: Connection, submission_id: str, org_id: str | None) -> str:
    """Set the status of a submission as its runs' statuses imply."""
    return _check_access(await _fetch_synced_status(connection, submission_id, org_id), "Submission", org_id)


async def end_exhausted_runs(connection: Connection, query: str, parameters: Mapping[str, Any]) -> None:
    """Mark the runs that had too many attempts as failed, with their steps and submissions.

    Runs inside the caller's transaction.
    """
    rows = await fetch_rows(connection, RUN_QUERIES[query], parameters)
    for run_id, _, error_message in rows:
        run = {"pipeline_run_id": run_id, "error_message": error_message}
        await connection.execute(RUN_QUERIES["end_steps_of_run"], run)
    await sync_submissions(connection, {submission_id for _, submission_id, _ in rows})


async def sync_submissions(connection: Connection, submission_ids: set[str]) -> None:
    """Set the status of each submission as its runs' statuses imply, in the caller's transaction.

    They are locked in the order of their ids, so that two callers cannot deadlock.
    """
    for submission_id in sorted(submission_ids):
        await connection.execute(SUBMISSION_QUERIES["lock_submission"], {"submission_id": submission_id})
        await _fetch_synced_status(connection, submission_id, None)


async def _fetch_synced_status(connection: Connection, submission_id: str, org_id: str | None) -> Any:
    parameters = {"submission_id": submission_id, "org_id": org_id}
    return await _fetch_row(connection, SUBMISSION_QUERIES["sync_submission_status"], parameters)


async def _fetch_row(connection: Connection, query: str, parameters: Mapping[str, Any]) -> Any:
    async with wrap_errors():
        return await fetch_row(connection, query, parameters)


def _build_parameters(change: RunChange | StepChange) -> dict[str, Any]:
    """Return the fields of `change` by name, and `set_<name>` for each that can be KEEP."""
    parameters: dict[str, Any] = {}
    for field in fields(change):
        value = getattr(change, field.name)
        if field.default is KEEP:
            parameters[f"set_{field.name}"] = value is not KEEP
        parameters[field.name] = None if value is KEEP else value
    return parameters


def _check_access(row: Any, kind: str, org_id: str | None) -> str:
    """Return the JSON text in a row of (owner, whether the caller holds the lease, text), if the caller may see it.

    Raises LostLease when the caller no longer holds the run's lease.
    """
    if row is None:
        raise RecordNotFound(f"{kind} not found", hint="check the id, and that it is of this database")
    owner, holds_lease, text = row[:3]
    if org_id is not None and owner != org_id:
        raise ForeignRecord(f"{kind} belongs to another organisation")
    if not holds_lease:
        raise LostLease(
            "another runner holds this run", hint="stop working on it: what is recorded already stays recorded"
        )
    return str(text)
