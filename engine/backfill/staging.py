"""Copy the computed rows of one batch to a temporary table, and store them from there range by range.

A row keeps its number until the batch ends, and a range of numbers is stored at a time. So halving a range neither
copies rows again nor creates another table: Postgres keeps a lock on each table until the transaction ends, and the
number of locks it can hold is limited.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.backfill.preview import Preview
from engine.plan import Plan
from engine.rows.fetch_plan import FetchPlan
from engine.rows.fold import FoldedRow, RowResult
from engine.rows.outcomes import Outcome
from engine.sql import merge
from engine.store.connection import Connection, fetch_rows

#: How often rows are inserted and looked up in turn: another transaction may insert a key and roll back, or delete it.
_MAX_ATTEMPTS = 3


@dataclass(frozen=True)
class StagingStatements:
    """The SQL statements of a plan that stage and merge rows. `preview`, if given, collects what each merge changes."""

    plan: Plan
    create_sql: str
    clear_sql: str
    copy_sql: str
    lookup_sql: str
    insert_sql: str
    update_sql: str
    delete_misplaced_sql: str
    snapshot_sql: str
    preview: Preview | None

    @classmethod
    def build(cls, fetch_plan: FetchPlan, preview: Preview | None) -> StagingStatements:
        return cls(
            plan=fetch_plan.plan,
            create_sql=merge.build_staging_table_sql(fetch_plan),
            clear_sql=merge.build_clear_staging_sql(fetch_plan),
            copy_sql=merge.build_copy_sql(fetch_plan),
            lookup_sql=merge.build_lookup_sql(fetch_plan),
            insert_sql=merge.build_insert_sql(fetch_plan),
            update_sql=merge.build_update_sql(fetch_plan),
            delete_misplaced_sql=merge.build_delete_misplaced_sql(fetch_plan.plan),
            snapshot_sql=merge.build_snapshot_sql(fetch_plan),
            preview=preview,
        )

    async def create_table(self, connection: Connection) -> StagingTable:
        """Create the staging table, unless the session has it. It is empty when a transaction begins."""
        await connection.execute(self.create_sql)
        return StagingTable(connection, self)


@dataclass(slots=True)
class StagingTable:
    """The temporary table of one batch. The index of a row in `rows` is its ordinal in the table."""

    connection: Connection
    statements: StagingStatements
    rows: list[FoldedRow] = field(default_factory=list)

    async def copy_rows(self, rows: Sequence[FoldedRow]) -> range:
        """Copy rows to the table; return the range of their ordinals."""
        first = len(self.rows)
        self.rows += rows
        numbers = range(first, len(self.rows))
        async with self.connection.cursor() as cursor, cursor.copy(self.statements.copy_sql) as copy:
            for number in numbers:
                await copy.write_row(self._build_staged_row(number))
        return numbers

    async def store_range(self, numbers: range, *, is_preview: bool) -> dict[int, RowResult]:
        """Insert or update the staged rows with these ordinals, which have different keys; return the result of each.

        With `is_preview` the cells that change are also collected. A row that the table did not keep under its key has
        no result (a trigger dropped or changed it). Raises psycopg's error when the database refuses any of the rows.

        A row of which no stored row is known is inserted without a look-up before: as a rule there is none, and until
        a growing table was analyzed, the planner may look it up by an index that finds many other rows.
        """
        before = await self._fetch_snapshot(numbers, is_preview)
        results: dict[int, RowResult] = {}
        differing: dict[int, str] = {}
        rest = list(numbers)  # those without a result yet
        new = [number for number in numbers if not self.rows[number].fold.row_ids]
        for _ in range(_MAX_ATTEMPTS):
            inserted, misplaced = await self._insert_rows(new)
            results |= inserted
            rest = [number for number in rest if number not in inserted and number not in misplaced]
            found = await self._look_up_rows(rest)
            for number, (row_id, differs) in found.items():
                if differs:
                    differing[number] = row_id
                else:
                    results[number] = RowResult(Outcome.UNCHANGED, row_id)
            rest = [number for number in rest if number not in found]
            # Where another transaction inserted one of their keys, the others may have met one that it rolled back.
            is_contested = any(number in found for number in new)
            tried = set(new)
            new = [number for number in rest if is_contested or number not in tried]
            if not new:
                break
        if differing:
            parameters = {"ordinals": list(differing), "ids": list(differing.values())}
            for (number,) in await fetch_rows(self.connection, self.statements.update_sql, parameters):
                results[number] = RowResult(Outcome.WRITTEN, differing[number])
        if self.statements.preview and is_preview:
            self.statements.preview.compare_rows(before, await self._fetch_snapshot(numbers, is_preview))
        return results

    async def _insert_rows(self, numbers: Sequence[int]) -> tuple[dict[int, RowResult], set[int]]:
        """Insert staged rows; return the results, and which rows the table did not keep under their keys.

        A row is in neither if the table already has a row of its key, or if a trigger discards it.
        """
        results: dict[int, RowResult] = {}
        misplaced: dict[int, str] = {}
        if numbers:
            parameters = {"ordinals": list(numbers)}
            for number, row_id, is_kept in await fetch_rows(self.connection, self.statements.insert_sql, parameters):
                if is_kept:
                    results[number] = RowResult(Outcome.WRITTEN, row_id)
                else:
                    misplaced[number] = row_id
        if misplaced:
            await self.connection.execute(self.statements.delete_misplaced_sql, {"ids": list(misplaced.values())})
        return results, set(misplaced)

    async def _look_up_rows(self, numbers: Sequence[int]) -> dict[int, tuple[str, bool]]:
        """Return, for each staged row whose key has a stored row, the id of that and whether the two differ."""
        if not numbers:
            return {}
        rows = await fetch_rows(self.connection, self.statements.lookup_sql, {"ordinals": list(numbers)})
        return {number: (row_id, differs) for number, row_id, differs in rows if row_id is not None}

    async def _fetch_snapshot(self, numbers: range, is_preview: bool) -> dict[int, dict[str, Any]]:
        """Return the stored rows that have the keys of a range, by ordinal; nothing unless a preview needs them."""
        if not (self.statements.preview and is_preview):
            return {}
        return dict(await fetch_rows(self.connection, self.statements.snapshot_sql, {"ordinals": list(numbers)}))

    def _build_staged_row(self, number: int) -> tuple[Any, ...]:
        row = self.rows[number]
        step = row.newest.extracted
        values = (row.values[column.name] for column in self.statements.plan.fields)
        sources = (step.submission_id, step.pipeline_run_id, step.id, step.recorded_at)
        return (number, step.org_id, *values, *sources)
