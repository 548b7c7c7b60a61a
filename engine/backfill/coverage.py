"""Read the accounts of every spec and organisation from the database.

The accounts close when found = written + unchanged + superseded + filtered + rejected + pending.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from engine.plan import Plan
from engine.rows.accounts import count_outcomes
from engine.sql import coverage
from engine.sql.identifiers import Statement
from engine.store.connection import Connection
from engine.store.errors import wrap_errors


async def fetch_coverage(
    connection: Connection, plans: Sequence[Plan], org_id: str | None = None
) -> list[dict[str, Any]]:
    """Return `{spec, org_id, found}`, the count of each outcome and `pending`, per spec and organisation.

    An organisation without found step results of a spec does not appear. Raises StoreUnavailable.
    """
    async with wrap_errors(), connection.transaction():
        await connection.execute("set transaction isolation level repeatable read")
        await connection.execute(coverage.SET_INDEX_SCANS_SQL)
        found_rows = await _fetch_rows(connection, coverage.build_found_counts_statement(plans))
        outcome_rows = await _fetch_rows(connection, coverage.build_outcome_counts_statement(plans))
    found, outcomes = _sum_found(plans, found_rows), _group_outcomes(outcome_rows)
    return [
        _build_account(spec, org, found[spec, org], outcomes[spec, org])
        for spec, org in sorted(found.keys() | outcomes.keys())
        if org_id in (None, org)
    ]


async def _fetch_rows(connection: Connection, statement: Statement) -> list[tuple[Any, ...]]:
    return await (await connection.execute(statement.text, statement.parameters)).fetchall()


def _sum_found(plans: Sequence[Plan], rows: Iterable[tuple[Any, ...]]) -> Counter[tuple[str, str]]:
    """Add up the counts of a spec's operations, by (spec, organisation); an operation may have several specs."""
    specs: defaultdict[str, list[str]] = defaultdict(list)
    for plan in plans:
        for operation in plan.operations:
            specs[operation].append(plan.name)
    found: Counter[tuple[str, str]] = Counter()
    for operation, org, count in rows:
        for spec in specs[operation]:
            found[spec, str(org)] += count
    return found


def _group_outcomes(rows: Iterable[tuple[Any, ...]]) -> defaultdict[tuple[str, str], Counter[str]]:
    """Group the ledger's counts of outcomes by (spec, organisation)."""
    outcomes: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for spec, org, outcome, count in rows:
        outcomes[spec, str(org)][outcome] = count
    return outcomes


def _build_account(spec: str, org: str, found: int, outcomes: Counter[str]) -> dict[str, Any]:
    counts = count_outcomes(outcomes)
    return {"spec": spec, "org_id": org, "found": found, **counts, "pending": found - sum(counts.values())}


async def explain_outcome(
    connection: Connection, plan: Plan, outcome: str, org_id: str | None = None, limit: int = 100
) -> list[dict[str, Any]]:
    """Return the step results that have `outcome` (or `pending`), newest first, with the ledger's reasons.

    Raises StoreUnavailable.
    """
    statement = coverage.build_results_by_outcome_statement(plan, outcome, org_id, limit)
    async with wrap_errors():
        rows = await _fetch_rows(connection, statement)
    names = ("step_result_id", "org_id", "pipeline_run_id", "recorded_at", "outcome", "reasons")
    return [
        dict(zip(names, (str(step), str(org), str(run), at.isoformat(), row_outcome, reasons), strict=True))
        for step, org, run, at, row_outcome, reasons in rows
    ]
