"""Stage the rows of one batch in a temporary table and merge them range by range.

A row keeps its number as long as the batch lasts, and what is merged at a time is a range of numbers. So further rounds
and halves neither copy rows again nor create another table: Postgres keeps a lock for each table until the transaction
ends, and has room for a limited number of locks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.backfill.preview import Preview
from engine.plan import Plan
from engine.rows.grouping import Group
from engine.rows.outcomes import Outcome
from engine.rows.reading import Reading
from engine.sql import merge
from engine.store.connection import Connection


@dataclass(frozen=True)
class StagingStatements:
    """The staging and merge statements of a plan. `preview`, where given, collects what each merge changes."""

    plan: Plan
    create_sql: str
    copy_sql: str
    merge_sql: str
    outcome_sql: str
    snapshot_sql: str
    preview: Preview | None

    @classmethod
    def build(cls, reading: Reading, preview: Preview | None) -> StagingStatements:
        return cls(
            plan=reading.plan,
            create_sql=merge.build_staging_table_sql(reading),
            copy_sql=merge.build_copy_sql(reading),
            merge_sql=merge.build_merge_sql(reading),
            outcome_sql=merge.build_outcome_sql(reading),
            snapshot_sql=merge.build_snapshot_sql(reading),
            preview=preview,
        )

    async def create_table(self, connection: Connection) -> StagingTable:
        """Create the staging table, which lasts until the transaction ends."""
        await connection.execute(self.create_sql)
        return StagingTable(connection, self)


@dataclass(slots=True)
class StagingTable:
    """The staging table of one batch. `groups` holds the staged groups; an index is the number of a staged row."""

    connection: Connection
    statements: StagingStatements
    groups: list[Group] = field(default_factory=list)

    async def copy_groups(self, groups: Sequence[Group]) -> range:
        """Stage the newest candidate of each group; return the numbers of the staged rows."""
        first = len(self.groups)
        self.groups += groups
        numbers = range(first, len(self.groups))
        async with self.connection.cursor() as cursor, cursor.copy(self.statements.copy_sql) as copy:
            for number in numbers:
                await copy.write_row(self._build_staged_row(number))
        return numbers

    async def merge_range(self, numbers: range) -> dict[int, str]:
        """Merge staged rows of different keys; return the outcome (or `merge.DISCARDED`) of each by number.

        Raises psycopg's error when the database refuses any of them.
        """
        bounds = {"first": numbers[0], "last": numbers[-1]}
        before = await self._fetch_snapshot(bounds)
        written = await self._fetch_rows(self.statements.merge_sql, bounds)
        outcomes: dict[int, str] = {number: Outcome.WRITTEN for (number,) in written}
        if unwritten := [number for number in numbers if number not in outcomes]:
            outcomes.update(await self._fetch_rows(self.statements.outcome_sql, {"ordinals": unwritten}))
        if self.statements.preview:
            self.statements.preview.compare_rows(before, await self._fetch_snapshot(bounds))
        return outcomes

    async def _fetch_rows(self, sql: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
        return await (await self.connection.execute(sql, parameters)).fetchall()

    async def _fetch_snapshot(self, bounds: dict[str, Any]) -> dict[int, dict[str, Any]]:
        """Return the stored rows with the keys of a staged range, by number, when a preview wants them."""
        if not self.statements.preview:
            return {}
        return dict(await self._fetch_rows(self.statements.snapshot_sql, bounds))

    def _build_staged_row(self, number: int) -> tuple[Any, ...]:
        newest = self.groups[number].newest
        step, row = newest.step, newest.values
        values = (row[column.name] for column in self.statements.plan.fields)
        return (
            number,
            step.stale,
            step.org_id,
            *values,
            step.submission_id,
            step.pipeline_run_id,
            step.recorded_at,
        )
