"""Dispatch queued runs, that is start them at Trigger.dev; repeat that for runs that Trigger.dev lost."""

from __future__ import annotations

import asyncio
from typing import Any, Final, TypeAlias

import structlog

from api.context import Context
from api.runs import trigger_dev
from engine.errors import EngineError
from engine.runs import management, submissions

log = structlog.get_logger("api")

#: Seconds between two searches for runs that Trigger.dev lost or did not receive.
SWEEP_INTERVAL: Final = 60.0

#: A run to dispatch: its id, its organisation, its company, and how often it was dispatched again.
OfferedRun: TypeAlias = tuple[str, str, str | None, int]


async def dispatch_runs(context: Context, runs: list[OfferedRun]) -> dict[str, Any]:
    """Dispatch runs to Trigger.dev and record which it accepted; return the `meta` fields that report this."""
    if not runs:
        return {}
    results = await trigger_dev.start_runs(context.settings, runs)
    taken = [(result.run_id, result.trigger_run_id) for result in results if result.trigger_run_id]
    async with context.connection() as connection:
        for run_id, trigger_run_id in taken:
            await submissions.record_dispatch(connection, run_id, trigger_run_id)
    failed = [{"pipeline_run_id": result.run_id, "error": result.error} for result in results if result.error]
    if not failed:
        return {"dispatched": len(taken), "not_dispatched": []}
    log.warning("not dispatched", runs=len(failed), error=failed[0]["error"])
    hint = "these runs stay queued and are offered again; `POST /api/internal/submissions/dispatch` does so at once"
    return {"dispatched": len(taken), "not_dispatched": failed, "hint": hint}


async def sweep_runs_forever(context: Context) -> None:
    """Dispatch runs that Trigger.dev lost or did not receive, every `SWEEP_INTERVAL` seconds, until cancelled.

    Every API process does so: thanks to the idempotency key, a run that is dispatched twice starts only once.
    """
    while context.settings.trigger_secret_key:
        try:
            async with context.connection() as connection:
                queued = await management.queue_silent_runs(connection, context.settings.max_run_attempts)
                runs = await submissions.find_overdue_runs(connection)
            if queued:
                log.warning("runs at Trigger.dev that have not reported for an hour are dispatched again", runs=queued)
            await dispatch_runs(context, runs)
        except EngineError as error:
            log.warning("runs could not be dispatched", reason=error.message)
        except Exception as error:
            log.error("runs could not be dispatched", exc_info=error)
        await asyncio.sleep(SWEEP_INTERVAL)
