"""Found step results -> rows and accounts. Backfill, repair and reconcile are this one path.

In: a plan and a scope. Out: an Account; rows and ledger entries in the database. It must not know command lines or
HTTP.

The steps of `run`:
  1. take the spec's lock: two backfills of one spec would only repeat each other (repair of one run takes none)
  2. stream the scope's step results, oldest first, over one connection; extract
  3. meanwhile merge and record what was extracted before, over two other connections, one transaction a batch; step
     results of one key are always with the same of them (engine/rows/grouping.py: share)
So it may be killed anywhere: what was committed is in the ledger, the rest is pending.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from psycopg import AsyncConnection, errors

from engine.backfill.merge import Merge
from engine.backfill.preview import Preview
from engine.plan import Plan
from engine.rows import document
from engine.rows.accounts import Account
from engine.rows.document import Run
from engine.rows.extract import HELD, extract
from engine.rows.grouping import BATCH_SIZE, Batch, Filling, Step, assign_writer
from engine.rows.reading import Reading
from engine.sql import step_results
from engine.sql.identifiers import Statement
from engine.sql.step_results import Scope
from engine.store.connection import connect
from engine.store.errors import StoreRefused, wrap
from engine.values import exact_json

_LOCK = "select pg_advisory_xact_lock(hashtextextended('dex backfill ' || %s, 0))"
_TRY_LOCK = "select pg_try_advisory_xact_lock(hashtextextended('dex backfill ' || %s, 0))"
_WRITERS = 2  # most of the work is compressing documents, which one connection does on one core
_FETCHED = 20  # step results at a time: some two milliseconds of extracting, for which the writers' statements wait
_SAMPLE = 3
_TRIES = 5
_PATIENCE = "5s"  # of a repair with who holds a lock: somebody waits for its answer, and what is pending stays visible

Progress = Callable[[Account], None]
T = TypeVar("T")
Queue: TypeAlias = asyncio.Queue[T | None]  # None is the end


@dataclass(slots=True)
class Result:
    """What a backfill did: the account, and in a dry run a few of the rows it would write."""

    account: Account
    sample: list[dict[str, Any]] = field(default_factory=list)


async def run(
    dsn: str,
    plan: Plan,
    scope: Scope,
    *,
    batch_size: int = BATCH_SIZE,
    dry_run: bool = False,
    preview: Preview | None = None,
    progress: Progress = lambda account: None,
    waiting: Callable[[], None] = lambda: None,
) -> Result:
    """Backfill one spec. `progress` is called after every batch, `waiting` when another backfill holds the lock.

    A dry run does the same and rolls every batch back; `preview`, where given, is told what each batch changes (a key
    that comes again in a later batch is told again). Raises StoreUnavailable when the database goes away; what was
    committed until then is recorded.
    """
    async with wrap(), AsyncExitStack() as stack:
        reader = await stack.enter_async_context(await connect(dsn))
        await stack.enter_async_context(reader.transaction())
        await _take_lock(reader, plan, waiting)
        result = Result(Account(plan.name, found=await _count(reader, plan, scope)))
        progress(result.account)
        if result.account.found:
            alone = dry_run or plan.many or result.account.found <= batch_size
            writers = [await stack.enter_async_context(await connect(dsn)) for _ in range(1 if alone else _WRITERS)]
            merge = Merge.of(Reading(plan), preview)
            await _stream(reader, writers, merge, scope, result, batch_size, dry_run, progress)
        return result


async def repair(connection: AsyncConnection[Any], plans: Sequence[Plan], pipeline_run_id: str) -> list[Account]:
    """Do the same for the step results of one run: one Account per spec that found any. Takes no lock.

    A spec whose table does not fit keeps nothing from the others: its Account says what is pending and why.
    Raises StoreUnavailable.
    """
    accounts = []
    for plan in plans:
        try:
            async with wrap():
                account = await _repair_one(connection, plan, Scope(pipeline_run_id=pipeline_run_id, all=True))
        except StoreRefused as error:
            account = await pending(connection, plan, error, Scope(pipeline_run_id=pipeline_run_id))
        if account.found:
            accounts.append(account)
    return accounts


async def pending(connection: AsyncConnection[Any], plan: Plan, error: StoreRefused, scope: Scope) -> Account:
    """Return the Account of a spec that could not be backfilled: everything of `scope` is pending, `error` says why."""
    async with wrap():
        return Account(plan.name, found=await _count(connection, plan, scope), trouble=error.message)


async def _repair_one(connection: AsyncConnection[Any], plan: Plan, scope: Scope) -> Account:
    reading = Reading(plan)
    statement = step_results.step_results(reading, scope)
    found = await (await connection.execute(statement.text, statement.parameters)).fetchall()
    account = Account(plan.name, found=len(found))
    if found:
        batch = Batch.of(plan, [_step(reading, row) for row in found])
        steps = await _merge(connection, Merge.of(reading), batch, again=False, lock_timeout=_PATIENCE)
        _count_steps(account, steps)
    return account


async def _take_lock(reader: AsyncConnection[Any], plan: Plan, waiting: Callable[[], None]) -> None:
    free = await (await reader.execute(_TRY_LOCK, (plan.name,))).fetchone()
    if not free or not free[0]:
        waiting()
        await reader.execute(_LOCK, (plan.name,))


async def _count(reader: AsyncConnection[Any], plan: Plan, scope: Scope) -> int:
    statement = step_results.count(plan, scope)
    row = await (await reader.execute(statement.text, statement.parameters)).fetchone()
    return int(row[0]) if row else 0


async def _stream(
    reader: AsyncConnection[Any],
    writers: Sequence[AsyncConnection[Any]],
    merge: Merge,
    scope: Scope,
    result: Result,
    batch_size: int,
    dry_run: bool,
    progress: Progress,
) -> None:
    found: Queue[list[Any]] = asyncio.Queue(1)  # the server makes ready what follows while this is extracted
    queues: list[Queue[Batch]] = [asyncio.Queue(1) for _ in writers]  # a batch waits while the one before is merged

    async def write(writer: AsyncConnection[Any], queue: Queue[Batch]) -> None:
        while batch := await queue.get():
            steps = await _merge(writer, merge, batch, again=scope.all, dry_run=dry_run)
            _take_sample(result, merge.plan, steps, dry_run)
            _count_steps(result.account, steps)
            progress(result.account)

    reading = Reading(merge.plan)
    await _together(
        _fetch(reader, step_results.step_results(reading, scope), found),
        _extract(reading, found, queues, batch_size),
        *map(write, writers, queues),
    )


async def _merge(
    writer: AsyncConnection[Any],
    merge: Merge,
    batch: Batch,
    *,
    again: bool,
    dry_run: bool = False,
    lock_timeout: str | None = None,
) -> Sequence[Step]:
    """Merge a batch in a transaction of its own. One that loses a deadlock (with who deletes its run) begins anew."""
    tries = 1
    while True:
        try:
            async with writer.transaction(force_rollback=dry_run):
                if lock_timeout:
                    await writer.execute("select set_config('lock_timeout', %s, true)", (lock_timeout,))
                return await merge.apply(writer, batch, again=again)
        except errors.DeadlockDetected:
            if tries == _TRIES:
                raise
            tries, batch = tries + 1, batch.anew()


async def _together(*work: Coroutine[Any, Any, None]) -> None:
    """Run all of them until the last is done; where one raises, stop the others first."""
    tasks = [asyncio.ensure_future(item) for item in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        for task in tasks:  # once: a second time would stop the statements from being taken back at the server
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _fetch(reader: AsyncConnection[Any], statement: Statement, found: Queue[list[Any]]) -> None:
    async with reader.cursor(name="dex_backfill") as cursor:
        await cursor.execute(statement.text, statement.parameters)
        while rows := await cursor.fetchmany(_FETCHED):
            await found.put(rows)
    await found.put(None)


async def _extract(reading: Reading, found: Queue[list[Any]], queues: Sequence[Queue[Batch]], size: int) -> None:
    """Extract what is found and deal it out, in batches of `size` step results per writer."""
    plan = reading.plan
    dealt = [Filling(plan, size) for _ in queues]
    while rows := await found.get():
        for step in (_step(reading, row) for row in rows):
            number = assign_writer(plan, step, len(queues)) if len(queues) > 1 else 0
            if batch := dealt[number].add(step):
                await queues[number].put(batch)
    for queue, filling in zip(queues, dealt, strict=True):
        if batch := filling.cut():
            await queue.put(batch)
        await queue.put(None)


def _step(reading: Reading, row: tuple[Any, ...]) -> Step:
    """Extract one found step result (the columns of find.step_results)."""
    step_id, org_id, submission_id, run_id, position, operation, recorded_at, version, parts, *present = row
    values = exact_json.loads(parts)
    assert isinstance(values, list)
    roots = reading.document_of(values)
    run_ = Run(org_id=org_id, submission_id=submission_id, pipeline_run_id=run_id, step_position=position)
    held = {item.name: there for item, there in zip(reading.held, present, strict=True)}
    extraction = extract(
        reading.plan, operation, document.build(roots["output"], roots["context"], run_, operation), held
    )
    return Step(step_id, org_id, submission_id, run_id, recorded_at, version, extraction)


def _count_steps(account: Account, steps: Sequence[Step]) -> None:
    for step in steps:
        account.record(step.outcome, step.reasons)


def _take_sample(result: Result, plan: Plan, steps: Sequence[Step], dry_run: bool) -> None:
    for step in steps if dry_run else ():
        for row in step.extraction.rows[: _SAMPLE - len(result.sample)]:
            shown = {name: str(value) if value is HELD else value for name, value in row.items()}
            result.sample.append({"step_result_id": step.id, "outcome": step.outcome, **shown})
