"""Repair what a verification found: compute the rows of the mismatching keys again, then verify again."""

from __future__ import annotations

from collections.abc import Sequence

from engine.backfill.lineage import Lineage
from engine.backfill.run import run_backfill
from engine.plan import Plan
from engine.rows.fetch_plan import FetchPlan
from engine.sql import verify
from engine.sql.step_results import Scope
from engine.store.connection import Connection, connect, fetch_rows
from engine.store.errors import wrap_errors
from engine.verify.report import Verification
from engine.verify.run import Judged, Progress, judge_rows, list_judged, open_snapshot, report_nothing, verify_spec


async def repair_spec(
    dsn: str, plan: Plan, org_ids: Sequence[str] = (), *, progress: Progress = report_nothing
) -> Verification:
    """Verify the table of `plan`, compute mismatching rows again, and return the result of a second verification.

    The step results of a mismatching row become pending, and the row stale, with the rows that are computed together
    with it; then a backfill processes these, and everything that was pending before.

    Raises StoreUnavailable, StoreRefused, and SpecOutdated when another version of the spec is the
    present one.
    """
    async with wrap_errors(), open_snapshot(dsn) as (reader, writer), await connect(dsn) as queue:
        await judge_rows(reader, writer, FetchPlan(plan), org_ids, progress)
        async for page in list_judged(writer, plan):
            wrong = [judged for judged in page if judged.kind != "unsourced" or judged.is_given]
            if wrong:
                await _queue_units(writer, queue, plan, wrong)
    await run_backfill(dsn, plan, Scope(org_ids=org_ids))
    return await verify_spec(dsn, plan, org_ids, progress=progress)


async def _queue_units(writer: Connection, queue: Connection, plan: Plan, wrong: Sequence[Judged]) -> None:
    """Queue the mismatching keys `wrong`: make their step results pending and their rows stale, in one transaction."""
    numbers = [judged.number for judged in wrong]
    rows = await fetch_rows(writer, verify.build_contributors_sql(plan), {"numbers": numbers})
    units = {judged.unit: judged.row_id or "" for judged in wrong}  # several rows of a parent key are one unit
    lineage = Lineage(plan, queue)
    async with queue.transaction():
        await lineage.forget_outcomes(step_id for (step_id,) in rows)
        await lineage.queue_stale(list(units.items()))
