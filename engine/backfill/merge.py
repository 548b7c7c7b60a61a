"""One batch of step results, merged and recorded in one transaction.

In: Steps with their extractions. Out: their outcomes, in the table and in the ledger. It must not know how steps were
found.

The steps of `apply`:
  1. hold the step results still; one that changed since it was read stays pending
  2. group the rows by key, in rounds that hold each key once (engine/rows/grouping.py)
  3. copy them to a staging table and merge each round, in the order of the keys (engine/backfill/staging.py)
  4. where the database refuses, halve until the row is alone, and record it as rejected
  5. under `on_absent: delete`, remove the rows whose element is gone (engine/backfill/replace.py)
  6. write the ledger
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import AsyncConnection

from engine.backfill.preview import Preview
from engine.backfill.replace import Absent
from engine.backfill.staging import Stage, Staging
from engine.plan import Plan
from engine.rows.extract import Reason
from engine.rows.grouping import Batch, Group, Step, rounds
from engine.rows.reading import Reading
from engine.sql import merge
from engine.store.errors import is_of_row
from engine.values.column_types import shorten


@dataclass(frozen=True)
class Merge:
    """A plan with the statements of its batches spelled once."""

    plan: Plan
    staging: Staging
    absent: Absent | None

    @classmethod
    def of(cls, reading: Reading, preview: Preview | None = None) -> Merge:
        """Spell the statements of a plan. `preview`, where given, is told what each merge changes."""
        return cls(reading.plan, Staging.of(reading, preview), Absent.of(reading.plan))

    async def apply(self, connection: AsyncConnection[Any], batch: Batch, *, again: bool) -> Sequence[Step]:
        """Merge and record a batch inside the caller's transaction; return the steps that were recorded.

        One that changed since it was read is left out: it is pending. `again` rewrites ledger entries.
        """
        batch = batch.only(await self._hold(connection, batch.steps))
        if self.absent:
            await self.absent.prepare(connection, batch.steps)
        if batch.groups:
            await self._write(await self.staging.open(connection), batch.groups)
        if self.absent:
            await self.absent.delete(connection, batch.steps)
        await self._record(connection, batch.steps, again)
        return batch.steps

    async def _hold(self, connection: AsyncConnection[Any], steps: Sequence[Step]) -> set[str]:
        parameters = {"ids": _listed(step.id for step in steps), "versions": _listed(step.version for step in steps)}
        found = await (await connection.execute(merge.HOLD, parameters)).fetchall()
        return {step_id for (step_id,) in found}

    async def _write(self, stage: Stage, groups: Iterable[Group]) -> None:
        turns = rounds(self.plan, groups)
        numbers = await stage.copy([item for round_ in turns for item in round_])
        for round_ in turns:
            await self._try(stage, numbers[: len(round_)])
            numbers = numbers[len(round_) :]

    async def _try(self, stage: Stage, numbers: range) -> None:
        try:
            async with stage.connection.transaction():
                outcomes = await stage.merge(numbers)
        except psycopg.Error as error:
            if not self._blames_row(error):
                raise
            await self._halve(stage, numbers, error)
        else:
            for number in numbers:
                await self._settle(stage, stage.groups[number], outcomes[number])

    def _blames_row(self, error: psycopg.Error) -> bool:
        """A column nobody feeds is no row's fault: what is pending is written once the table is mended."""
        unfed = isinstance(error, psycopg.errors.NotNullViolation) and error.diag.column_name not in self._columns
        return is_of_row(error.sqlstate) and not unfed

    async def _settle(self, stage: Stage, item: Group, outcome: str) -> None:
        if outcome == "swallowed":
            said = "the database took the row and did not keep it under its key: a trigger, a rule, or a rounded key"
            await self._refuse(stage, item, said)
        else:
            item.settle(outcome)

    @property
    def _columns(self) -> set[str]:
        return {field.name for field in self.plan.fields}

    async def _halve(self, stage: Stage, numbers: range, error: psycopg.Error) -> None:
        if len(numbers) > 1:
            middle = len(numbers) // 2
            await self._try(stage, numbers[:middle])
            await self._try(stage, numbers[middle:])
            return
        said = f"the database refuses the row: {error.diag.message_primary or error} ({error.sqlstate})"
        await self._refuse(stage, stage.groups[numbers[0]], said, error.diag.column_name)

    async def _refuse(self, stage: Stage, item: Group, message: str, column: str | None = None) -> None:
        """Record why the newest candidate is not stored, and try those behind it."""
        value = shorten([str(part) for part in item.key[1:]])
        behind = item.refuse(Reason("refused_by_database", column, message, value, item.newest.element))
        if behind:
            await self._write(stage, [behind])

    async def _record(self, connection: AsyncConnection[Any], steps: Sequence[Step], again: bool) -> None:
        parameters = {
            "spec": self.plan.name,
            "digest": self.plan.digest,
            "again": again,
            "ids": _listed(step.id for step in steps),
            "orgs": _listed(step.org_id for step in steps),
            "outcomes": _listed(step.outcome for step in steps),
            "elements": _listed(str(step.extraction.elements) for step in steps),
            "rows": _listed(str(step.rows_out) for step in steps),
            "reasons": json.dumps([[reason.as_dict() for reason in step.reasons] for step in steps]),
        }
        await connection.execute(merge.LEDGER, parameters)


def _listed(words: Iterable[str]) -> str:
    return ",".join(words)
