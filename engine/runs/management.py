"""Cancel, retry and list runs, local ones and those of Trigger.dev alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from engine.runs.runs import RUN_QUERIES, end_exhausted_runs, sync_submissions
from engine.store.connection import Connection, fetch_rows
from engine.store.errors import wrap_errors


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs to list, newest first.

    With `abandoned`, only running ones whose runner has stopped working on them.
    """

    org_id: str | None = None
    status: str | None = None
    abandoned: bool = False
    limit: int = 100


@dataclass(frozen=True, slots=True)
class ChangedRun:
    """A run that was canceled or queued again, and the id of its run at Trigger.dev, if any."""

    id: str
    submission_id: str
    trigger_run_id: str | None


async def cancel_runs(
    connection: Connection, *, run_id: str | None = None, submission_id: str | None = None
) -> list[ChangedRun]:
    """Cancel a run, or all runs of a submission, that have not ended; return those that were canceled.

    Their runners learn of it at their next request. Answers that were ordered already are collected nevertheless.
    """
    return await _change_runs(connection, "cancel_runs", run_id, submission_id)


async def retry_runs(
    connection: Connection, *, run_id: str | None = None, submission_id: str | None = None
) -> list[ChangedRun]:
    """Queue a run, or all runs of a submission, again if they failed, were canceled or lost their runner; return them.

    Steps that succeeded keep their results, and orders that may still be answered are not placed again.
    """
    return await _change_runs(connection, "retry_runs", run_id, submission_id)


async def queue_silent_runs(connection: Connection, max_attempts: int) -> int:
    """Queue the runs of Trigger.dev again whose runner has stopped working on them; return how many.

    A run that had `max_attempts` attempts already is marked failed instead.
    """
    async with wrap_errors(), connection.transaction():
        await end_exhausted_runs(connection, "set_aside_silent_runs", {"max_attempts": max_attempts})
        queued = await fetch_rows(connection, RUN_QUERIES["queue_silent_runs"])
        await sync_submissions(connection, {submission for _, submission in queued})
    return len(queued)


async def list_runs(connection: Connection, wanted: RunFilter) -> list[str]:
    """Return runs as JSON texts, newest first."""
    async with wrap_errors():
        return [text for (text,) in await fetch_rows(connection, RUN_QUERIES["list_runs"], asdict(wanted))]


async def _change_runs(
    connection: Connection, query: str, run_id: str | None, submission_id: str | None
) -> list[ChangedRun]:
    parameters: Mapping[str, Any] = {"pipeline_run_id": run_id, "submission_id": submission_id}
    async with wrap_errors(), connection.transaction():
        changed = [ChangedRun(*row) for row in await fetch_rows(connection, RUN_QUERIES[query], parameters)]
        await sync_submissions(connection, {run.submission_id for run in changed})
    return changed
