"""Count how many rows have a value in each column, over the rows that all stored step results give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.backfill.reader import FETCH_SIZE, choose_fetch_size, extract_step, measure_rows
from engine.plan import Plan
from engine.rows.fetch_plan import FetchPlan
from engine.rows.fill_rates import FillRates
from engine.sql import step_results
from engine.sql.step_results import Scope
from engine.store.connection import Connection
from engine.store.errors import wrap_errors


async def fetch_fill_rates(connection: Connection, plans: Sequence[Plan], org_id: str | None) -> list[dict[str, Any]]:
    """Return the fill rates of each spec and organisation that has found step results; only of `org_id` if given.

    Extracts the rows of all those step results, which reads all their documents.
    """
    reports = []
    for plan in plans:
        async with wrap_errors():
            rates = await _count_values(connection, plan, org_id)
        reports += [
            {
                "spec": plan.name,
                "org_id": org,
                "step_results": fills.step_results,
                "rows": fills.rows,
                "refused": fills.refused,
                "columns": fills.list_columns(),
            }
            for org, fills in sorted(rates.items())
        ]
    return reports


async def _count_values(connection: Connection, plan: Plan, org_id: str | None) -> dict[str, FillRates]:
    fetch_plan = FetchPlan(plan)
    scope = Scope(org_ids=[org_id] if org_id else [], all=True)
    statement = step_results.build_step_results_statement(fetch_plan, scope)
    rates: dict[str, FillRates] = {}
    async with connection.transaction(), connection.cursor(name="dex_fill_rates") as cursor:
        await cursor.execute(*statement)
        size = FETCH_SIZE
        while rows := await cursor.fetchmany(size):
            for step in (extract_step(fetch_plan, row) for row in rows):
                rates.setdefault(step.org_id, FillRates(plan)).add_extraction(step.extraction)
            size = choose_fetch_size(len(rows), measure_rows(rows), FETCH_SIZE)
    return rates
