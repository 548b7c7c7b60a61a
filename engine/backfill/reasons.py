"""Read from the ledger why an organisation's step results gave no row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from engine.backfill.versions import is_queued
from engine.plan import Plan
from engine.sql.reasons import (
    StepFilter,
    build_pending_statement,
    build_reason_counts_statement,
    build_steps_statement,
)
from engine.store.connection import Connection
from engine.store.errors import wrap_errors
from engine.store.tenant import run_as_tenant

_MOST_REASONS: Final = 500
_NAMES: Final = ("outcome", "code", "field", "count", "message", "step_result_id")


async def count_reasons(
    connection: Connection, plans: Sequence[Plan], org_id: str
) -> Mapping[str, list[dict[str, Any]]]:
    """Return the reasons of each spec, the most frequent first, each with its count and one example."""
    statement = build_reason_counts_statement(plans, org_id, _MOST_REASONS)
    async with wrap_errors():
        (rows,) = await run_as_tenant(connection, org_id, [statement])
    reasons: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        spec, *values = (None if value is None else value.decode() for value in row)
        reason: dict[str, Any] = dict(zip(_NAMES, values, strict=True))
        reasons[str(spec)].append({**reason, "count": int(reason["count"])})
    return reasons


async def list_step_results(connection: Connection, plan: Plan, wanted: StepFilter) -> list[bytes]:
    """Return the newest step results that match the filter `wanted`, each as JSON text."""
    async with wrap_errors():
        statement = build_steps_statement(plan, wanted, queued=await is_queued(connection, plan))
        (rows,) = await run_as_tenant(connection, wanted.org_id, [statement])
    return [text for (text,) in rows if text is not None]


async def count_pending(connection: Connection, plans: Sequence[Plan], org_id: str) -> list[dict[str, Any]]:
    """Return, per spec, how many step results are pending and when the oldest of them was recorded."""
    async with wrap_errors():
        statements = [build_pending_statement(plan, org_id, queued=await is_queued(connection, plan)) for plan in plans]
        results = await run_as_tenant(connection, org_id, statements)
    counts = [tuple(value and value.decode() for value in rows[0]) for rows in results]
    return [
        {"spec": plan.name, "pending": int(count or 0), "since": since}
        for plan, (count, since) in zip(plans, counts, strict=True)
    ]
