"""One batch of step results, merged and recorded in one transaction.

In: Steps with their extractions. Out: their outcomes, in the table and in the ledger. It must not know how steps were found.

The steps of `apply`:
  1. group the rows by key and fold repeats (engine/batch.py)
  2. copy the folded rows to a staging table and merge them, in the order of their keys
  3. where the database refuses, halve until the row is alone, and record it as rejected
  4. under `on_absent: delete`, remove the rows whose element is gone
  5. write the ledger
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import AsyncConnection

from engine.batch import Group, Step, fold, group
from engine.column import shorten
from engine.extract import Reason
from engine.plan import Plan
from engine.sql import merge
from engine.sql.stored import Reading

#: What a row can be refused for: its data, a constraint, a limit of the program. Anything else is no fault of a row.
_REFUSALS = (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.ProgramLimitExceeded)


@dataclass(frozen=True)
class Merge:
    """A plan with the statements of its batches spelled once."""

    plan: Plan
    stage: str
    copy: str
    merge: str
    ledger: str

    @classmethod
    def of(cls, reading: Reading) -> Merge:
        spelled = (merge.stage(reading), merge.copy(reading), merge.merge(reading), merge.ledger(reading.plan))
        return cls(reading.plan, *spelled)

    async def apply(self, connection: AsyncConnection[Any], steps: Sequence[Step], *, again: bool) -> None:
        """Merge and record `steps` (oldest first) inside the caller's transaction. `again` rewrites ledger entries."""
        await self._write(connection, group(self.plan, steps))
        await self._record(connection, steps, again)

    async def _write(self, connection: AsyncConnection[Any], groups: list[Group]) -> None:
        if not groups:
            return
        try:
            async with connection.transaction():  # a savepoint: what fails leaves no staging table behind
                outcomes = await self._merge(connection, groups)
        except _REFUSALS as error:
            await self._halve(connection, groups, error)
        else:
            for ordinal, outcome in outcomes:
                groups[ordinal].settle(outcome)

    async def _halve(self, connection: AsyncConnection[Any], groups: list[Group], error: psycopg.Error) -> None:
        if len(groups) > 1:
            middle = len(groups) // 2
            await self._write(connection, groups[:middle])
            await self._write(connection, groups[middle:])
            return
        behind = groups[0].refuse(_reason(error, groups[0]))
        if behind:
            await self._write(connection, [behind])

    async def _merge(self, connection: AsyncConnection[Any], groups: list[Group]) -> list[tuple[int, str]]:
        async with connection.cursor() as cursor:
            await cursor.execute(self.stage)
            async with cursor.copy(self.copy) as copy:
                for ordinal, item in enumerate(groups):
                    await copy.write_row(self._staged(ordinal, item))
            await cursor.execute(self.merge)
            outcomes = await cursor.fetchall()
            await cursor.execute(f"drop table {merge.STAGING}")
            return outcomes

    def _staged(self, ordinal: int, item: Group) -> tuple[Any, ...]:
        step, row = item.newest.step, fold(self.plan, item)
        values = (row[field.name] for field in self.plan.fields)
        return (ordinal, step.org_id, *values, step.submission_id, step.pipeline_run_id, step.recorded_at)

    async def _record(self, connection: AsyncConnection[Any], steps: Sequence[Step], again: bool) -> None:
        parameters = {
            "spec": self.plan.name,
            "digest": self.plan.digest,
            "again": again,
            "ids": [step.id for step in steps],
            "orgs": [step.org_id for step in steps],
            "outcomes": [step.outcome for step in steps],
            "elements": [step.extraction.elements for step in steps],
            "rows": [step.rows_out for step in steps],
            "reasons": [json.dumps([reason.as_dict() for reason in step.reasons]) for step in steps],
        }
        await connection.execute(self.ledger, parameters)


def _reason(error: psycopg.Error, item: Group) -> Reason:
    column = error.diag.column_name
    message = f"the database refuses the row: {error.diag.message_primary or error} ({error.sqlstate})"
    return Reason(
        "refused_by_database", column, message, shorten([str(part) for part in item.key[1:]]), item.newest.element
    )
