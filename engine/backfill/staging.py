"""The staged rows of one batch: copied to a temporary table once, merged part by part.

In: groups of candidates. Out: what became of each. It must not know what a refused row means.

A row keeps its number as long as the batch lasts, and a part of what is staged is a range of numbers. So further rounds
and halves copy nothing again and make no table again: the server keeps a lock for each until the transaction ends, and
has room for so many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg import AsyncConnection

from engine.backfill.preview import Preview
from engine.plan import Plan
from engine.rows.grouping import Group
from engine.rows.reading import Reading
from engine.sql import merge


@dataclass(frozen=True)
class Staging:
    """The statements of a plan's batches, spelled once. `preview`, where given, is told what each merge changes."""

    plan: Plan
    stage: str
    copy: str
    merge: str
    settle: str
    snapshot: str
    preview: Preview | None

    @classmethod
    def of(cls, reading: Reading, preview: Preview | None) -> Staging:
        return cls(
            plan=reading.plan,
            stage=merge.stage(reading),
            copy=merge.copy(reading),
            merge=merge.merge(reading),
            settle=merge.settle(reading),
            snapshot=merge.snapshot(reading),
            preview=preview,
        )

    async def open(self, connection: AsyncConnection[Any]) -> Stage:
        """Make the staging table; it goes with the transaction."""
        await connection.execute(self.stage)
        return Stage(connection, self)


@dataclass(slots=True)
class Stage:
    """What is staged so far, by number."""

    connection: AsyncConnection[Any]
    staging: Staging
    groups: list[Group] = field(default_factory=list)

    async def copy(self, groups: Sequence[Group]) -> range:
        """Stage the newest candidate of each group; return their numbers."""
        first = len(self.groups)
        self.groups += groups
        numbers = range(first, len(self.groups))
        async with self.connection.cursor() as cursor, cursor.copy(self.staging.copy) as copy:
            for number in numbers:
                await copy.write_row(self._staged(number))
        return numbers

    async def merge(self, numbers: range) -> dict[int, str]:
        """Merge staged rows of different keys; their outcomes by number. Raises psycopg's error for a refused one."""
        part = {"first": numbers[0], "last": numbers[-1]}
        before = await self._snapshot(part)
        written = await self._ask(self.staging.merge, part)
        outcomes = {number: "written" for (number,) in written}
        if late := [number for number in numbers if number not in outcomes]:
            outcomes.update(await self._ask(self.staging.settle, {"ordinals": late}))
        if self.staging.preview:
            self.staging.preview.compare(before, await self._snapshot(part))
        return outcomes

    async def _ask(self, text: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
        return await (await self.connection.execute(text, parameters)).fetchall()

    async def _snapshot(self, part: dict[str, Any]) -> dict[int, dict[str, Any]]:
        return dict(await self._ask(self.staging.snapshot, part)) if self.staging.preview else {}

    def _staged(self, number: int) -> tuple[Any, ...]:
        newest = self.groups[number].newest
        step, row = newest.step, newest.values
        values = (row[item.name] for item in self.staging.plan.fields)
        return (
            number,
            step.overtaken,
            step.org_id,
            *values,
            step.submission_id,
            step.pipeline_run_id,
            step.recorded_at,
        )
