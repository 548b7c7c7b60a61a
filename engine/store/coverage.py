"""The accounts of every spec and organisation, as they stand in the database.

In: plans. Out: the identity found = written + unchanged + superseded + filtered + rejected + pending, per spec and
organisation. It must not know who asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import AsyncConnection

from engine.account import OUTCOMES
from engine.plan import Plan
from engine.sql import coverage
from engine.store.fault import wrap


async def fetch(
    connection: AsyncConnection[Any], plans: Sequence[Plan], org_id: str | None = None
) -> list[dict[str, Any]]:
    """Return `{spec, org_id, found, written, unchanged, superseded, filtered, rejected, pending}` per spec and organisation.

    An organisation without found step results of a spec does not appear. Raises StoreUnavailable.
    """
    accounts: list[dict[str, Any]] = []
    async with wrap(), connection.transaction():
        await connection.execute("set transaction isolation level repeatable read")
        for plan in plans:
            accounts += await _fetch_one(connection, plan)
    return [account for account in accounts if org_id in (None, account["org_id"])]


async def _fetch_one(connection: AsyncConnection[Any], plan: Plan) -> list[dict[str, Any]]:
    found, outcomes = coverage.found(plan), coverage.outcomes(plan)
    by_org: dict[str, dict[str, int]] = {}
    for org, outcome, count in await (await connection.execute(outcomes.text, outcomes.parameters)).fetchall():
        by_org.setdefault(str(org), {})[outcome] = count
    totals = {
        str(org): count for org, count in await (await connection.execute(found.text, found.parameters)).fetchall()
    }
    return [
        _identity(plan, org, totals.get(org, 0), by_org.get(org, {})) for org in sorted(totals.keys() | by_org.keys())
    ]


def _identity(plan: Plan, org: str, found: int, outcomes: dict[str, int]) -> dict[str, Any]:
    words = {outcome: outcomes.get(outcome, 0) for outcome in OUTCOMES}
    return {"spec": plan.name, "org_id": org, "found": found, **words, "pending": found - sum(words.values())}


async def explain(
    connection: AsyncConnection[Any], plan: Plan, outcome: str, org_id: str | None = None, limit: int = 100
) -> list[dict[str, Any]]:
    """Return the step results behind one number of the identity, newest first, with the reasons on record."""
    statement = coverage.explain(plan, outcome, org_id, limit)
    async with wrap():
        rows = await (await connection.execute(statement.text, statement.parameters)).fetchall()
    names = ("step_result_id", "org_id", "pipeline_run_id", "recorded_at", "reasons")
    return [
        dict(zip(names, (str(step), str(org), str(run), at.isoformat(), reasons), strict=True))
        for step, org, run, at, reasons in rows
    ]
