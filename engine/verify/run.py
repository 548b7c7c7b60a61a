"""Verify the table of one spec against its step results.

`verify_spec` reads everything in one snapshot of the database, so that concurrent writers do not affect it:

1. stream the found step results over one connection and extract their rows
2. meanwhile copy what each gives for each key to a temporary table, over another connection with the same snapshot
3. there, fold the contributions of each key and compare them with the table by a full join

Memory stays bounded, since the data is in the temporary table.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from engine.plan import Plan
from engine.rows.extract import COPIED, Extraction, Row
from engine.rows.fetch_plan import FetchPlan
from engine.rows.outcomes import ExtractionOutcome
from engine.rows.stored_result import StepResultRow, extract_stored_result
from engine.rows.units import Unit, build_unit
from engine.sql import expected_rows, step_results, verify
from engine.sql.step_results import Scope
from engine.store.concurrency import run_concurrently
from engine.store.connection import Connection, connect, fetch_rows, fetch_value
from engine.store.errors import wrap_errors
from engine.verify.report import KINDS, SAMPLE_SIZE, Sample, Verification

_FETCH_SIZE = 50
_PAGE_SIZE = 1_000

#: A function that is called with the number of step results that were read since its last call.
Progress = Callable[[int], None]


def report_nothing(read: int) -> None:
    """Do nothing: the `Progress` of callers that want none."""


async def verify_spec(
    dsn: str, plan: Plan, org_ids: Sequence[str] = (), *, progress: Progress = report_nothing
) -> Verification:
    """Compare the table of `plan` with what the present step results give.

    Only for the organisations `org_ids`, or for all if it is empty. Raises StoreUnavailable, and StoreRefused when the
    table does not fit the plan.
    """
    fetch_plan = FetchPlan(plan)
    async with wrap_errors(), open_snapshot(dsn) as (reader, writer):
        await judge_rows(reader, writer, fetch_plan, org_ids, progress)
        return await _build_report(writer, plan, org_ids)


@asynccontextmanager
async def open_snapshot(dsn: str) -> AsyncIterator[tuple[Connection, Connection]]:
    """Yield two connections in transactions with the same snapshot: one to read with, one for temporary tables.

    After an error they are only closed: a COPY that was interrupted leaves no way to roll back.
    """
    async with AsyncExitStack() as stack:
        reader = await connect(dsn)
        stack.push_async_callback(reader.close)
        writer = await connect(dsn)
        stack.push_async_callback(writer.close)
        await reader.execute(verify.BEGIN_READER_SQL)
        snapshot = await fetch_value(reader, verify.EXPORT_SNAPSHOT_SQL)
        await writer.execute(verify.BEGIN_SQL)
        await writer.execute(verify.build_import_snapshot_sql(snapshot))
        await writer.execute(verify.SET_PLANNER_SQL)
        yield reader, writer
        await writer.rollback()
        await reader.rollback()


async def judge_rows(
    reader: Connection, writer: Connection, fetch_plan: FetchPlan, org_ids: Sequence[str], progress: Progress
) -> None:
    """Fill the temporary table of mismatches: extract all step results, compute the rows, compare with the table."""
    await writer.execute(expected_rows.build_given_table_sql(fetch_plan))
    scope = Scope(all=True, org_ids=org_ids)
    fetched: asyncio.Queue[list[StepResultRow] | None] = asyncio.Queue(1)
    await run_concurrently(
        _fetch_step_results(reader, fetch_plan, scope, fetched),
        _copy_contributions(writer, fetch_plan, fetched, progress),
    )
    await writer.execute(expected_rows.ANALYZE_SQL)
    await writer.execute(*verify.build_judge_statement(fetch_plan, org_ids))
    await writer.execute(verify.INDEX_SQL)
    await _mark_stale(writer, fetch_plan.plan)


@dataclass(frozen=True, slots=True)
class Judged:
    """A key that does not match: its number, the kind of mismatch, its row, and its unit (rows computed together)."""

    number: int
    kind: str
    row_id: str | None
    is_given: bool  # whether a step result gives the key
    unit: Unit


async def list_judged(connection: Connection, plan: Plan) -> AsyncIterator[list[Judged]]:
    """Yield the mismatching keys that are not pending, page by page."""
    sql, after, names = verify.build_judged_page_sql(plan), 0, [column.name for column in plan.key_fields]
    while rows := await fetch_rows(connection, sql, {"after": after, "limit": _PAGE_SIZE}):
        yield [
            Judged(number, kind, row_id, given, build_unit(plan, org_id, dict(zip(names, key, strict=True))))
            for number, kind, row_id, given, org_id, *key in rows
        ]
        after = rows[-1][0]


async def _mark_stale(connection: Connection, plan: Plan) -> None:
    """Mark mismatches as pending whose rows wait in `stale_rows` to be computed again."""
    if not await fetch_value(connection, verify.HAS_STALE_SQL, {"spec": plan.name}):
        return
    async for page in list_judged(connection, plan):
        parameters = {
            "spec": plan.name,
            "numbers": [judged.number for judged in page],
            "orgs": [judged.unit.org_id for judged in page],
            "units": [judged.unit.id for judged in page],
        }
        await connection.execute(verify.MARK_STALE_SQL, parameters)


async def _fetch_step_results(
    reader: Connection, fetch_plan: FetchPlan, scope: Scope, fetched: asyncio.Queue[list[StepResultRow] | None]
) -> None:
    """Put all step results to verify into the queue, some at a time, and None at the end."""
    async with reader.cursor(name="dex_verify") as cursor:
        await cursor.execute(*step_results.build_step_results_statement(fetch_plan, scope))
        while rows := await cursor.fetchmany(_FETCH_SIZE):
            await fetched.put(rows)
    await fetched.put(None)


async def _copy_contributions(
    writer: Connection, fetch_plan: FetchPlan, fetched: asyncio.Queue[list[StepResultRow] | None], progress: Progress
) -> None:
    async with writer.cursor() as cursor, cursor.copy(expected_rows.build_copy_sql(fetch_plan)) as copy:
        while rows := await fetched.get():
            for row in rows:
                for contribution in list_contributions(fetch_plan, row):
                    await copy.write_row(contribution)
            progress(len(rows))


def list_contributions(fetch_plan: FetchPlan, row: StepResultRow) -> Iterator[tuple[Any, ...]]:
    """Yield what a step result gives for each key, as the columns of `expected_rows.list_given_columns`."""
    step_id, org_id, submission_id, run_id, _, _, recorded_at, *_ = row
    extraction = extract_stored_result(fetch_plan, row, with_duplicates=True)
    if extraction.outcome is not ExtractionOutcome.ROW:
        return
    leading = (step_id, recorded_at)
    sources = (org_id, submission_id, run_id)
    fields = [column.name for column in fetch_plan.plan.fields]
    if extraction.parent is not None:
        values = (extraction.parent.get(name) for name in fields)
        yield (*leading, expected_rows.PARENT_ELEMENT, is_complete(extraction), *sources, *values)
    elements = extraction.indices or (0,) * len(extraction.rows)
    for element, extracted in zip(elements, extraction.rows, strict=True):
        yield (*leading, element, None, *sources, *_list_values(step_id, fields, extracted))


def is_complete(extraction: Extraction) -> bool:
    """Return whether no element of a step result was refused, so that it replaces all rows of its parent key."""
    return extraction.refused == 0


def _list_values(step_id: str, fields: list[str], row: Row) -> Iterator[Any]:
    for name in fields:
        value = row[name]
        yield step_id if value is COPIED else value


async def _build_report(connection: Connection, plan: Plan, org_ids: Sequence[str]) -> Verification:
    rows = await fetch_value(connection, *verify.build_row_count_statement(plan, org_ids))
    mismatches = {kind: (count, stored) for kind, count, stored in await fetch_rows(connection, verify.COUNTS_SQL)}
    counts = {kind: mismatches.get(kind, (0, 0))[0] for kind in KINDS}
    samples = await fetch_rows(connection, verify.build_samples_sql(plan), {"most": SAMPLE_SIZE})
    return Verification(
        spec=plan.name,
        rows=rows,
        counts=counts,
        matching=rows - sum(stored for _, stored in mismatches.values()),
        samples=tuple(
            Sample(kind, json.loads(key, parse_float=Decimal), row_id, tuple(columns))
            for kind, key, row_id, columns in sorted(samples, key=lambda sample: KINDS.index(sample[0]))
        ),
    )
