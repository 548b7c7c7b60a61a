"""Find orders whose answer no step result has yet, and write an answer into the step that placed its order.

An order survives a time-out, cancellation or crash of the step that waits for it. Its answer is collected without
starting the run again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from engine.orders.orders import require_order
from engine.orders.queries import QUERIES
from engine.runs.runs import RUN_QUERIES, SUBMISSION_QUERIES
from engine.runs.statuses import StepStatus
from engine.store.connection import Connection, RawJson, fetch_row, fetch_rows, fetch_value
from engine.store.errors import wrap_errors

_FIRST_TIME: Final = "-infinity"
_FIRST_ID: Final = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectableFilter:
    """Which orders to return: at most `limit`, oldest first, after the order (`after_time`, `after_id`)."""

    org_id: str | None = None
    order_id: str | None = None
    held_too: bool = False  # also orders whose lease another process holds
    after_time: str | None = None
    after_id: str | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """The result to write into the step that placed an order."""

    order_id: str
    status: StepStatus
    output_payload: RawJson
    message: str | None
    details: RawJson | None


async def find_collectable_orders(connection: Connection, wanted: CollectableFilter) -> list[str]:
    """Return the orders that are open, or whose answer no step result has yet, as JSON texts."""
    parameters = {
        "org_id": wanted.org_id,
        "order_id": wanted.order_id,
        "held_too": wanted.held_too,
        "after_time": wanted.after_time or _FIRST_TIME,
        "after_id": wanted.after_id or _FIRST_ID,
        "limit": wanted.limit,
    }
    async with wrap_errors():
        return [text for (text,) in await fetch_rows(connection, QUERIES["find_collectable"], parameters)]


async def settle_order(connection: Connection, settlement: Settlement, org_id: str | None) -> str | None:
    """Write the answer of an ended order into the step that placed it; return the run's id, or None if nothing changed.

    A run that failed only because answers were missing becomes succeeded once all its steps have one.
    """
    parameters = {
        "order_id": settlement.order_id,
        "status": settlement.status,
        "output_payload": settlement.output_payload,
        "message": settlement.message,
        "details": settlement.details,
        "org_id": org_id,
    }
    async with wrap_errors(), connection.transaction():
        await require_order(connection, settlement.order_id, org_id)
        step = await fetch_row(connection, QUERIES["settle_step"], parameters)
        if step is None:
            return None
        run_id, step_result_id = step
        await connection.execute(RUN_QUERIES["forget_answer_of_step"], {"step_result_id": step_result_id})
        run = {"pipeline_run_id": run_id}
        if await fetch_row(connection, QUERIES["complete_run"], run):
            submission_id = await fetch_value(connection, SUBMISSION_QUERIES["lock_submission_of_run"], run)
            synced = {"submission_id": submission_id, "org_id": None}
            await connection.execute(SUBMISSION_QUERIES["sync_submission_status"], synced)
        return str(run_id)
