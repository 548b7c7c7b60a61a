"""Runs and step results, as the runner reads and changes them.

In: ids, statuses, payloads as JSON text. Out: JSON text as Postgres wrote it, so that no number changes on the way. It
must not know HTTP, nor what a step does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from engine.errors import EngineError
from engine.runs import statements as sql
from engine.runs import submission_statements as submission_sql
from engine.store.errors import wrap

ENDED = ("succeeded", "failed", "canceled")
STEP_ENDED = ("succeeded", "failed", "skipped")


class NotHere(EngineError):
    """There is no such run, step result or submission."""


class ForeignRun(EngineError):
    """The row belongs to another organisation than the caller named."""


class LostLease(EngineError):
    """Another runner holds the run."""


class PaidTwice(EngineError):
    """The step's research has been asked for already: asking again would buy it twice. `code` says how it shows."""

    def __init__(self, code: str, message: str, *, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class RunChange:
    """What is to become of a run. `changes` holds the fields that were sent: None clears one."""

    id: str
    status: str
    changes: Mapping[str, Any]
    started_at: datetime | None = None
    finished_at: datetime | None = None
    lease_token: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepChange:
    """What is to become of a step result. `changes` holds the fields that were sent: None clears one."""

    id: str
    status: str | None
    changes: Mapping[str, Any]
    duration_ms: int | None = None
    provider_run_id: str | None = None
    requested: bool = False
    withdrawn_by: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    lease_token: str | None = None


async def claim(connection: AsyncConnection[Any], seconds: int, org_id: str | None) -> str | None:
    """Take the next run (a dead runner's first, then the oldest queued one) for `seconds`; None when there is none."""
    row = await _ask(connection, sql.CLAIM, {"seconds": seconds, "org_id": org_id})
    return row[0] if row else None


async def heartbeat(
    connection: AsyncConnection[Any], run_id: str, lease_token: str, seconds: int, org_id: str | None
) -> str:
    """Prolong a lease. Raises NotHere, ForeignRun, LostLease."""
    asked = {"id": run_id, "lease_token": lease_token, "seconds": seconds, "org_id": org_id}
    return _held(await _ask(connection, sql.HEARTBEAT, asked), "Pipeline run", org_id)


async def get(connection: AsyncConnection[Any], run_id: str, org_id: str | None) -> str:
    """Return a run with its submission and its step results. Raises NotHere, ForeignRun."""
    return _held(await _ask(connection, sql.GET, {"id": run_id}), "Pipeline run", org_id)


async def update(connection: AsyncConnection[Any], change: RunChange, org_id: str | None) -> str:
    """Change a run, and its submission's status with it: both or neither. Raises NotHere, ForeignRun, LostLease."""
    sent = _sent(change.changes, ("error_message", "error_details", "trigger_run_id"))
    asked = {
        "id": change.id,
        "status": change.status,
        "ended": change.status in ENDED,
        "started_at": change.started_at,
        "finished_at": change.finished_at,
        "lease_token": change.lease_token,
        "org_id": org_id,
        **sent,
    }
    async with wrap(), connection.transaction():
        row = await _ask(connection, sql.UPDATE, asked)
        if row and row[2]:
            (submission_id,) = await _ask(connection, submission_sql.HOLD, {"run_id": change.id})
            await _ask(connection, submission_sql.SYNC, {"id": submission_id, "org_id": org_id})
    return _held(row, "Pipeline run", org_id)


async def update_step(connection: AsyncConnection[Any], change: StepChange, org_id: str | None) -> str:
    """Change a step result. Raises NotHere, ForeignRun, LostLease, PaidTwice."""
    names = ("input_payload", "output_payload", "error_message", "error_details", "task_run_id")
    asked = {
        "id": change.id,
        "status": change.status,
        "ended": change.status in STEP_ENDED,
        "duration_ms": change.duration_ms,
        "provider_run_id": change.provider_run_id,
        "requested": change.requested,
        "withdrawn_by": change.withdrawn_by,
        "started_at": change.started_at,
        "finished_at": change.finished_at,
        "lease_token": change.lease_token,
        "org_id": org_id,
        **_sent(change.changes, names),
    }
    row = await _ask(connection, sql.UPDATE_STEP, asked)
    if row and row[1] and (org_id is None or org_id == row[0]):
        _check_research(same=row[3], first=row[4])
    return _held(row, "Step result", org_id)


async def skip_remaining(connection: AsyncConnection[Any], run_id: str, position: int, org_id: str | None) -> str:
    """Skip the queued steps of a run after `position`. Raises NotHere, ForeignRun."""
    asked = {"id": run_id, "position": position, "org_id": org_id}
    return _held(await _ask(connection, sql.SKIP, asked), "Pipeline run", org_id)


async def sync_submission(connection: AsyncConnection[Any], submission_id: str, org_id: str | None) -> str:
    """Bring a submission's status in line with its runs. Raises NotHere, ForeignRun."""
    asked = {"id": submission_id, "org_id": org_id}
    return _held(await _ask(connection, submission_sql.SYNC, asked), "Submission", org_id)


async def _ask(connection: AsyncConnection[Any], text: str, asked: Mapping[str, Any]) -> Any:
    async with wrap():
        return await (await connection.execute(text, asked)).fetchone()


def _sent(changes: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    flags = {f"set_{name}": name in changes for name in names}
    return {**flags, **{name: changes.get(name) for name in names}}


def _held(row: Any, what: str, org_id: str | None) -> str:
    if row is None:
        raise NotHere(f"{what} not found", hint="check the id, and that it is of this database")
    owner, held, shown = row[:3]
    if org_id is not None and owner != org_id:
        raise ForeignRun(
            f"{what} belongs to another organisation", hint="send the organisation of the run in `x-internal-org-id`"
        )
    if not held:
        raise LostLease(
            "another runner holds this run", hint="stop working on it: what is recorded already stays recorded"
        )
    return str(shown)


def _check_research(*, same: bool, first: bool) -> None:
    if not same:
        raise PaidTwice(
            "provider_run_id_taken",
            "the step already holds another `provider_run_id`",
            hint="resume that research instead of starting one",
        )
    if not first:
        raise PaidTwice(
            "provider_already_requested",
            "research for this step was requested before",
            hint="resume by `provider_run_id`; without one the request may have been paid and its answer lost",
        )
