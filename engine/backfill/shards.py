"""Backfill one share of the organisations, a shard: N processes on any machines each do one, without waiting.

A key always holds the organisation, so no two shards share a key, and the order of its step results is kept: the
organisations of a shard are done one after the other, oldest step result first. Where shards of different N overlap
(0/2 beside 1/3), locks keep two processes from writing one key at once, and the second finds the work done.

No transaction is longer than a batch, so a connection pooler may be in between, and a process may be killed anywhere.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Final

from engine.backfill.apply import BatchFold
from engine.backfill.counts import count_by_organisation, count_left
from engine.backfill.reader import stream_steps
from engine.backfill.refusals import forget_old_refusals
from engine.backfill.run import BackfillResult, Progress
from engine.backfill.stale_rows import count_stale, fold_stale_rows
from engine.backfill.versions import queue_history, register_unknown_version
from engine.plan import Plan
from engine.rows.accounts import Account
from engine.rows.fetch_plan import FetchPlan
from engine.rows.shards import Shard
from engine.rows.steps import BATCH_SIZE, BatchBuilder, Step
from engine.sql import merge, step_results
from engine.sql.step_results import Scope
from engine.store.connection import Connection, connect, fetch_rows
from engine.store.errors import wrap_errors

#: Step results whose ids are selected at a time; their documents are read in smaller parts.
_PAGE_SIZE: Final = 2_000

#: Called with an organisation that is larger than a shard's fair share, its step results, and those of all shards.
NoteLarge = Callable[[str, int, int], None]


async def run_shard(
    dsn: str,
    plan: Plan,
    scope: Scope,
    shard: Shard,
    *,
    batch_size: int = BATCH_SIZE,
    dry_run: bool = False,
    progress: Progress = lambda account: None,
    note_large: NoteLarge = lambda org_id, found, total: None,
) -> BackfillResult:
    """Backfill the organisations of one shard.

    `note_large` is called for each organisation with more step results than a shard's fair share (all / N). Step
    results that another process recorded meanwhile count neither as found nor as pending. Raises as `run_backfill`.
    """
    fetch_plan = FetchPlan(plan)
    async with wrap_errors(), await connect(dsn) as connection:
        if not dry_run:
            await register_unknown_version(connection, plan)
            await forget_old_refusals(connection, plan)
            scope = replace(scope, queued=await queue_history(connection, plan))
        own = await count_by_organisation(connection, plan, scope, shard)
        if own and shard.count > 1:
            await _note_large_organisations(connection, plan, scope, shard, note_large)
        result = BackfillResult(Account(plan.name, found=sum(own.values())))
        progress(result.account)
        fold = BatchFold.build(fetch_plan)
        for org_id in own:
            async for batch in _stream_batches(
                connection, fetch_plan, org_id, replace(scope, org_ids=[org_id]), batch_size
            ):
                steps = await fold.fold_with_retry(
                    connection, batch, again=scope.all, dry_run=dry_run, is_flushed=False
                )
                result.account.record_steps(steps)
                progress(result.account)
        await _fold_stale_rows(connection, fold, shard, result.account, dry_run=dry_run)
        if not dry_run:
            await connection.execute(merge.FLUSH_COMMITS_SQL)
            result.account.found = result.account.recorded + await count_left(connection, plan, scope, shard)
        return result


async def fetch_organisations(dsn: str, shard: Shard) -> list[str]:
    """Return the organisations of a shard."""
    async with wrap_errors(), await connect(dsn) as connection:
        rows = await fetch_rows(connection, "select id::text from orgs order by id")
    return [org_id for (org_id,) in rows if shard.holds_organisation(org_id)]


async def _note_large_organisations(
    connection: Connection, plan: Plan, scope: Scope, shard: Shard, note_large: NoteLarge
) -> None:
    """Call `note_large` for each organisation of the shard with more step results in scope than its fair share."""
    known = await count_by_organisation(connection, plan, replace(scope, all=True, rejected=False))
    total = sum(known.values())
    for org_id, count in known.items():
        if shard.holds_organisation(org_id) and count * shard.count > total:
            note_large(org_id, count, total)


async def _stream_batches(
    connection: Connection, fetch_plan: FetchPlan, org_id: str, scope: Scope, batch_size: int
) -> AsyncIterator[Sequence[Step]]:
    """Yield the step results of one organisation in batches, oldest first, with no transaction open between them."""
    builder = BatchBuilder(batch_size)
    while ids := await _fetch_page(connection, fetch_plan.plan, org_id, scope):
        scope = replace(scope, after=(ids[-1][1], ids[-1][0]))
        async for step in stream_steps(connection, fetch_plan, [step_id for step_id, _ in ids]):
            if batch := builder.add_step(step):
                yield batch
    if batch := builder.take_batch():
        yield batch


async def _fetch_page(connection: Connection, plan: Plan, org_id: str, scope: Scope) -> list[tuple[str, str]]:
    """Return id and time of an organisation's next step results, without their documents."""
    statement = step_results.build_page_statement(plan, org_id, scope, _PAGE_SIZE)
    return await fetch_rows(connection, *statement)


async def _fold_stale_rows(
    connection: Connection, fold: BatchFold, shard: Shard, account: Account, *, dry_run: bool
) -> None:
    """Compute and store again the rows that are queued in `stale_rows`, of the shard's organisations."""
    waiting = [org_id for org_id in await count_stale(connection, fold.plan, ()) if shard.holds_organisation(org_id)]
    account.stale_rows = 0
    if not waiting:
        return
    await fold_stale_rows(connection, fold, waiting, dry_run=dry_run)
    account.stale_rows = sum((await count_stale(connection, fold.plan, waiting)).values())
