"""Dispatch queued runs, that is start them at Trigger.dev; repeat that for runs that Trigger.dev lost."""

from __future__ import annotations

import asyncio
from typing import Any, Final, TypeAlias

import structlog

from api.context import Context
from api.http.errors import Fault, build_store_fault
from api.runs import trigger_dev
from api.runs.trigger_dev import Dispatch
from engine.errors import EngineError
from engine.runs import management, submissions
from engine.store.connection import Connection
from engine.store.errors import StoreError, StoreRefused

log = structlog.get_logger("api")

#: Seconds between two searches for runs that Trigger.dev lost or did not receive.
SWEEP_INTERVAL: Final = 60.0

#: A run to dispatch: its id, its organisation, its company, and how often it was dispatched again.
OfferedRun: TypeAlias = tuple[str, str, str | None, int]


async def dispatch_runs(context: Context, runs: list[OfferedRun]) -> dict[str, Any]:
    """Dispatch runs to Trigger.dev and record which it accepted; return the `meta` fields that report this.

    Raises nothing when the database fails meanwhile: the runs are stored already, and those that could not be recorded
    are reported as not dispatched.
    """
    if not runs:
        return {}
    results = await _record_dispatches(context, await trigger_dev.start_runs(context.settings, runs))
    failed = [{"pipeline_run_id": result.run_id, "error": result.error} for result in results if result.error]
    if not failed:
        return {"dispatched": len(results), "not_dispatched": []}
    log.warning("not dispatched", runs=len(failed), error=failed[0]["error"])
    hint = "these runs stay queued and are offered again; `POST /api/internal/submissions/dispatch` does so at once"
    return {"dispatched": len(results) - len(failed), "not_dispatched": failed, "hint": hint}


async def _record_dispatches(context: Context, results: list[Dispatch]) -> list[Dispatch]:
    """Store the id of each run at Trigger.dev; return the results, with an error where an id could not be stored.

    Such a run is offered again, and gets the same id: its idempotency key keeps it from starting twice.
    """
    recorded: list[Dispatch] = []
    try:
        async with context.connection() as connection:
            for result in results:
                recorded.append(await _record_dispatch(connection, result))  # noqa: PERF401 - a failure keeps these
    except StoreError as error:
        fault = build_store_fault(error)
    except Fault as error:
        fault = error
    else:
        return recorded
    return recorded + [_report_unrecorded(result, fault) for result in results[len(recorded) :]]


async def _record_dispatch(connection: Connection, result: Dispatch) -> Dispatch:
    if result.trigger_run_id is None:
        return result
    try:
        await submissions.record_dispatch(connection, result.run_id, result.trigger_run_id)
    except StoreRefused as error:
        return _report_unrecorded(result, build_store_fault(error))
    return result


def _report_unrecorded(result: Dispatch, fault: Fault) -> Dispatch:
    if result.error:
        return result
    return Dispatch(result.run_id, error=f"Trigger.dev accepted it, which was not recorded: {fault.message}")


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
