"""The accounts of every spec and organisation, as they stand in the database.

In: plans. Out: the identity found = written + unchanged + superseded + filtered + rejected + pending, per spec and
organisation. It must not know who asks.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from psycopg import AsyncConnection

from engine.plan import Plan
from engine.rows.accounts import OUTCOMES
from engine.sql import coverage
from engine.sql.identifiers import Statement
from engine.store.errors import wrap


async def fetch(
    connection: AsyncConnection[Any], plans: Sequence[Plan], org_id: str | None = None
) -> list[dict[str, Any]]:
    """Return `{spec, org_id, found}` and the six of the identity, per spec and organisation.

    An organisation without found step results of a spec does not appear. Raises StoreUnavailable.
    """
    async with wrap(), connection.transaction():
        await connection.execute("set transaction isolation level repeatable read")
        await connection.execute(coverage.SCANS)
        found = await _rows(connection, coverage.found(plans))
        outcomes = await _rows(connection, coverage.outcomes(plans))
    totals, ledger = _totals(plans, found), _ledger(outcomes)
    return [
        _identity(spec, org, totals[spec, org], ledger[spec, org])
        for spec, org in sorted(totals.keys() | ledger.keys())
        if org_id in (None, org)
    ]


async def _rows(connection: AsyncConnection[Any], statement: Statement) -> list[tuple[Any, ...]]:
    return await (await connection.execute(statement.text, statement.parameters)).fetchall()


def _totals(plans: Sequence[Plan], found: Iterable[tuple[Any, ...]]) -> Counter[tuple[str, str]]:
    specs = {operation: plan.name for plan in plans for operation in plan.operations}
    totals: Counter[tuple[str, str]] = Counter()
    for operation, org, count in found:
        totals[specs[operation], str(org)] += count
    return totals


def _ledger(outcomes: Iterable[tuple[Any, ...]]) -> defaultdict[tuple[str, str], Counter[str]]:
    ledger: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for spec, org, outcome, count in outcomes:
        ledger[spec, str(org)][outcome] = count
    return ledger


def _identity(spec: str, org: str, found: int, outcomes: Counter[str]) -> dict[str, Any]:
    words = {outcome: outcomes[outcome] for outcome in OUTCOMES}
    return {"spec": spec, "org_id": org, "found": found, **words, "pending": found - sum(words.values())}


async def explain(
    connection: AsyncConnection[Any], plan: Plan, outcome: str, org_id: str | None = None, limit: int = 100
) -> list[dict[str, Any]]:
    """Return the step results behind one number of the identity, newest first, with the reasons on record."""
    statement = coverage.explain(plan, outcome, org_id, limit)
    async with wrap():
        rows = await _rows(connection, statement)
    names = ("step_result_id", "org_id", "pipeline_run_id", "recorded_at", "outcome", "reasons")
    return [
        dict(zip(names, (str(step), str(org), str(run), at.isoformat(), became, reasons), strict=True))
        for step, org, run, at, became, reasons in rows
    ]
