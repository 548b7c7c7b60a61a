"""Turn stored step results into rows and ledger entries, for backfill, repair and reconcile.

The steps of `run_backfill`:

1. register the spec's version, unless it is known; if the table has changed, make the step results pending that the
   database refused; queue the pending step results of a new version, unless the scope covers all of them; take the
   spec's lock, since two backfills of one spec would only repeat each other (the repair of one run takes none)
2. read the step results of the scope over one connection, oldest first, and extract their rows; a transaction of the
   reader lasts some seconds, since row versions that a longer one may still see could not be vacuumed
3. meanwhile fold and record the batches extracted before, over two other connections, one transaction per batch; all
   step results of one key go to the same connection (`assign_writer` in engine/rows/steps.py)
4. fold the rows that were queued because a step result was corrected, moved or deleted
5. wait until everything is on disk, since the transactions did not wait for it

The process may be killed at any time: what was committed is in the ledger, everything else is pending.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias, TypeVar

from engine.backfill.apply import BatchFold
from engine.backfill.counts import count_left
from engine.backfill.preview import Preview
from engine.backfill.reader import FETCH_SIZE, FIRST_SIZE, choose_fetch_size, extract_step, measure_rows
from engine.backfill.refusals import forget_old_refusals
from engine.backfill.spec_lock import hold_spec_lock
from engine.backfill.stale_rows import count_stale, fold_stale_rows
from engine.backfill.versions import SpecOutdated, is_queued, queue_history, register_unknown_version
from engine.errors import EngineError
from engine.plan import Plan
from engine.rows.accounts import Account
from engine.rows.extract import COPIED
from engine.rows.fetch_plan import FetchPlan
from engine.rows.steps import BATCH_SIZE, BatchBuilder, Step, assign_writer
from engine.rows.stored_result import StepResultRow
from engine.sql import merge, step_results
from engine.sql.step_results import Scope
from engine.store.concurrency import run_concurrently
from engine.store.connection import Connection, connect, fetch_rows, fetch_value
from engine.store.errors import StoreRefused, wrap_errors

#: Seconds that a transaction of the reader lasts.
_READ_SECONDS: Final = 5.0
_WRITER_COUNT = 2  # two, since most of the work is compressing documents, for which a connection uses one core
#: After so many step results, extraction lets the writers send their next statements.
_STEPS_IN_A_ROW: Final = 8
_SAMPLE_SIZE = 3
#: How long a repair, and so its caller, waits for a lock. After that its step results stay pending.
_REPAIR_LOCK_TIMEOUT = "5s"

Progress = Callable[[Account], None]
T = TypeVar("T")
Queue: TypeAlias = asyncio.Queue[T | None]  # None marks the end of the queue


@dataclass(slots=True)
class BackfillResult:
    """The result of a backfill: the number of step results per outcome; in a dry run also some rows it would write."""

    account: Account
    sample: list[dict[str, Any]] = field(default_factory=list)


async def run_backfill(
    dsn: str,
    plan: Plan,
    scope: Scope,
    *,
    batch_size: int = BATCH_SIZE,
    dry_run: bool = False,
    preview: Preview | None = None,
    progress: Progress = lambda account: None,
    waiting: Callable[[], None] = lambda: None,
) -> BackfillResult:
    """Backfill one spec. `progress` is called after every batch, `waiting` while another backfill holds the lock.

    A dry run does the same and rolls every batch back. `preview` collects what each batch changes (a key that occurs in
    several batches is counted in each). Raises StoreUnavailable when the database becomes unreachable; the batches
    committed until then stay.
    """
    async with wrap_errors(), AsyncExitStack() as stack:
        reader = await stack.enter_async_context(await connect(dsn))
        if not dry_run:
            await register_unknown_version(reader, plan)
            await forget_old_refusals(reader, plan)
            scope = replace(scope, queued=await _queue_part(reader, plan, scope))
        await hold_spec_lock(stack, dsn, reader, plan, waiting)
        result = BackfillResult(Account(plan.name, found=await _count_found(reader, plan, scope)))
        result.account.stale_rows = sum((await count_stale(reader, plan, scope.org_ids)).values())
        progress(result.account)
        if result.account.found or result.account.stale_rows:
            one_writer = dry_run or plan.many or result.account.found <= batch_size
            writer_count = 1 if one_writer else _WRITER_COUNT
            writers = [await stack.enter_async_context(await connect(dsn)) for _ in range(writer_count)]
            stream = _Stream(FetchPlan(plan), scope, preview, batch_size, dry_run, result, progress)
            if result.account.found:
                await stream.process_scope(reader, writers)
            await fold_stale_rows(writers[0], stream.fold, scope.org_ids, dry_run=dry_run)
            if not dry_run:
                await writers[0].execute(merge.FLUSH_COMMITS_SQL)
            result.account.stale_rows = sum((await count_stale(writers[0], plan, scope.org_ids)).values())
            if not dry_run and result.account.pending and scope.limit is None:
                left = await count_left(reader, plan, scope)  # the others were recorded by another process, or deleted
                result.account.found -= max(result.account.pending - left, 0)
        if not dry_run and not scope.queued and scope.has_all_pending:
            await queue_history(reader, plan)
        return result


async def repair_run(connection: Connection, plans: Sequence[Plan], pipeline_run_id: str) -> list[Account]:
    """Backfill the step results of one run, without the spec's lock; return an Account for each spec that has any.

    An error of one spec (its table does not fit, another version is the present one) does not stop the others: its
    Account counts its step results as pending and has the error.
    """
    accounts = []
    for plan in plans:
        try:
            async with wrap_errors():
                account = await _repair_plan(connection, plan, Scope(pipeline_run_id=pipeline_run_id, all=True))
        except (StoreRefused, SpecOutdated) as error:
            account = await build_pending_account(connection, plan, error, Scope(pipeline_run_id=pipeline_run_id))
        if account.found:
            accounts.append(account)
    return accounts


async def build_pending_account(connection: Connection, plan: Plan, error: EngineError, scope: Scope) -> Account:
    """Return the Account of a spec that could not be backfilled because of `error`: all of `scope` is pending."""
    async with wrap_errors():
        return Account(plan.name, found=await _count_found(connection, plan, scope), error=error.message)


async def _repair_plan(connection: Connection, plan: Plan, scope: Scope) -> Account:
    fetch_plan = FetchPlan(plan)
    statement = step_results.build_step_results_statement(fetch_plan, scope)
    rows = await fetch_rows(connection, *statement)
    account = Account(plan.name, found=len(rows))
    if rows:
        steps = [extract_step(fetch_plan, row) for row in rows]
        fold = BatchFold.build(fetch_plan)
        steps = await fold.fold_with_retry(connection, steps, again=False, lock_timeout=_REPAIR_LOCK_TIMEOUT)
        account.record_steps(steps)
    return account


async def _queue_part(reader: Connection, plan: Plan, scope: Scope) -> bool:
    """Make sure that all pending step results of a new version are queued; return whether they are.

    A scope that covers all of them queues nothing: the backfill would take each out of the queue at once, and queues at
    its end what it leaves pending.
    """
    return await (is_queued if scope.has_all_pending else queue_history)(reader, plan)


async def _count_found(reader: Connection, plan: Plan, scope: Scope) -> int:
    statement = step_results.build_count_statement(plan, scope)
    return int(await fetch_value(reader, *statement))


class _Stream:
    """The stages of one backfill, which run concurrently and pass their results on through queues.

    fetch_step_results -> rows -> extract_step_results -> batches of each writer -> write_batches (per writer)

    A queue holds one item, so each stage is at most one item ahead: the server prepares rows while the last ones are
    extracted, and the next batch waits while one is stored.
    """

    def __init__(
        self,
        fetch_plan: FetchPlan,
        scope: Scope,
        preview: Preview | None,
        batch_size: int,
        dry_run: bool,
        result: BackfillResult,
        progress: Progress,
    ) -> None:
        self.fetch_plan = fetch_plan
        self.scope = scope
        self.fold = BatchFold.build(fetch_plan, preview)
        self.preview = preview
        self.batch_size = batch_size
        self.dry_run = dry_run
        self.result = result
        self.progress = progress

    async def process_scope(self, reader: Connection, writers: Sequence[Connection]) -> None:
        """Fetch the step results to backfill over `reader`, extract their rows, and write these over `writers`."""
        rows: Queue[list[StepResultRow]] = asyncio.Queue(1)
        batches: list[Queue[Sequence[Step]]] = [asyncio.Queue(1) for _ in writers]
        await run_concurrently(
            self.fetch_step_results(reader, rows),
            self.extract_step_results(rows, batches),
            *map(self.write_batches, writers, batches),
        )

    async def fetch_step_results(self, reader: Connection, fetched: Queue[list[StepResultRow]]) -> None:
        """Put the step results to backfill into the queue `fetched`, oldest first."""
        scope: Scope | None = self.scope
        while scope is not None:
            scope = await self._fetch_for_seconds(reader, scope, fetched)
        await fetched.put(None)

    async def _fetch_for_seconds(
        self, reader: Connection, scope: Scope, fetched: Queue[list[StepResultRow]]
    ) -> Scope | None:
        """Fetch step results in one transaction of some seconds; return what is left to fetch, None at the end."""
        clock = asyncio.get_running_loop().time
        ends, size, left = clock() + _READ_SECONDS, FIRST_SIZE, scope.limit
        statement = step_results.build_step_results_statement(self.fetch_plan, scope)
        async with reader.transaction(), reader.cursor(name="dex_backfill") as cursor:
            await cursor.execute(*statement)
            while rows := await cursor.fetchmany(size):
                await fetched.put(rows)
                left = None if left is None else left - len(rows)
                if clock() > ends and left != 0:
                    return replace(scope, limit=left, after=(rows[-1][6], rows[-1][0]))
                size = choose_fetch_size(len(rows), measure_rows(rows), FETCH_SIZE)
        return None

    async def extract_step_results(
        self, fetched: Queue[list[StepResultRow]], batches: Sequence[Queue[Sequence[Step]]]
    ) -> None:
        """Extract step results and collect them into batches of `batch_size`, separately for each writer."""
        builders = [BatchBuilder(self.batch_size) for _ in batches]
        while rows := await fetched.get():
            for number, row in enumerate(rows):
                if number % _STEPS_IN_A_ROW == 0:
                    await asyncio.sleep(0)
                step = extract_step(self.fetch_plan, row)
                if self.preview:
                    self.preview.fill_rates.add_extraction(step.extraction)
                writer = assign_writer(step, len(batches)) if len(batches) > 1 else 0
                if batch := builders[writer].add_step(step):
                    await batches[writer].put(batch)
        for queue, builder in zip(batches, builders, strict=True):
            if batch := builder.take_batch():
                await queue.put(batch)
            await queue.put(None)

    async def write_batches(self, writer: Connection, batches: Queue[Sequence[Step]]) -> None:
        """Write the rows of one batch after the other, and add the outcomes to the account."""
        while batch := await batches.get():
            steps = await self.fold.fold_with_retry(
                writer, batch, again=self.scope.all, dry_run=self.dry_run, is_flushed=False
            )
            if self.dry_run:
                _collect_sample(self.result.sample, steps)
            self.result.account.record_steps(steps)
            self.progress(self.result.account)


def _collect_sample(sample: list[dict[str, Any]], steps: Sequence[Step]) -> None:
    """Add rows of `steps` to `sample` until it is full; a document that stays in Postgres is shown as a placeholder."""
    for step in steps:
        for row in step.extraction.rows[: _SAMPLE_SIZE - len(sample)]:
            values = {name: str(value) if value is COPIED else value for name, value in row.items()}
            sample.append({"step_result_id": step.id, "outcome": step.outcome, **values})
