"""One batch of step results, merged and recorded in one transaction.

In: Steps with their extractions. Out: their outcomes, in the table and in the ledger. It must not know how steps were
found.

The steps of `apply`:
  1. hold the step results still; one that changed since it was read stays pending
  2. group the rows by key, in rounds that hold each key once (engine/batch.py)
  3. copy each round to a staging table and merge it, in the order of the keys
  4. where the database refuses, halve until the row is alone, and record it as rejected
  5. under `on_absent: delete`, remove the rows whose element is gone (engine/store/absent.py)
  6. write the ledger
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import AsyncConnection, AsyncCursor

from engine.batch import Batch, Group, Step, rounds
from engine.column import shorten
from engine.extract import Reason
from engine.plan import Plan
from engine.sql import merge
from engine.sql.stored import Reading
from engine.store.absent import Absent
from engine.store.preview import Preview

#: What a row can be refused for: its data, a constraint, a trigger, a limit of the program. All else is no row's fault.
_REFUSALS = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.errors.RaiseException,
    psycopg.errors.ProgramLimitExceeded,
)


@dataclass(frozen=True)
class Merge:
    """A plan with the statements of its batches spelled once."""

    plan: Plan
    stage: str
    copy: str
    merge: str
    settle: str
    snapshot: str
    absent: Absent | None
    preview: Preview | None

    @classmethod
    def of(cls, reading: Reading, preview: Preview | None = None) -> Merge:
        """Spell the statements of a plan. `preview`, where given, is told what each merge changes."""
        return cls(
            plan=reading.plan,
            stage=merge.stage(reading),
            copy=merge.copy(reading),
            merge=merge.merge(reading),
            settle=merge.settle(reading),
            snapshot=merge.snapshot(reading),
            absent=Absent.of(reading.plan),
            preview=preview,
        )

    async def apply(self, connection: AsyncConnection[Any], batch: Batch, *, again: bool) -> Sequence[Step]:
        """Merge and record a batch inside the caller's transaction; return the steps that were recorded.

        One that changed since it was read is left out: it is pending. `again` rewrites ledger entries.
        """
        batch = batch.only(await self._hold(connection, batch.steps))
        if self.absent:
            await self.absent.prepare(connection, batch.steps)
        await self._write(connection, batch.groups)
        if self.absent:
            await self.absent.delete(connection, batch.steps)
        await self._record(connection, batch.steps, again)
        return batch.steps

    async def _hold(self, connection: AsyncConnection[Any], steps: Sequence[Step]) -> set[str]:
        parameters = {"ids": _listed(step.id for step in steps), "versions": _listed(step.version for step in steps)}
        found = await (await connection.execute(merge.HOLD, parameters)).fetchall()
        return {step_id for (step_id,) in found}

    async def _write(self, connection: AsyncConnection[Any], groups: Iterable[Group]) -> None:
        for round_ in rounds(self.plan, groups):
            await self._try(connection, round_)

    async def _try(self, connection: AsyncConnection[Any], groups: list[Group]) -> None:
        try:
            async with connection.transaction():  # a savepoint: what fails leaves no staging table behind
                outcomes = await self._merge(connection, groups)
        except _REFUSALS as error:
            if isinstance(error, psycopg.errors.NotNullViolation) and error.diag.column_name not in self._columns:
                raise  # a column nobody feeds: no row is at fault, and what is pending is written once it is mended
            await self._halve(connection, groups, error)
        else:
            for ordinal, item in enumerate(groups):
                await self._settle(connection, item, outcomes[ordinal])

    async def _settle(self, connection: AsyncConnection[Any], item: Group, outcome: str) -> None:
        if outcome == "swallowed":
            await self._refuse(connection, item, "the database took the row and did not keep it: a trigger, or a rule")
        else:
            item.settle(outcome)

    @property
    def _columns(self) -> set[str]:
        return {field.name for field in self.plan.fields}

    async def _halve(self, connection: AsyncConnection[Any], groups: list[Group], error: psycopg.Error) -> None:
        if len(groups) > 1:
            middle = len(groups) // 2
            await self._try(connection, groups[:middle])
            await self._try(connection, groups[middle:])
            return
        said = f"the database refuses the row: {error.diag.message_primary or error} ({error.sqlstate})"
        await self._refuse(connection, groups[0], said, error.diag.column_name)

    async def _refuse(
        self, connection: AsyncConnection[Any], item: Group, message: str, column: str | None = None
    ) -> None:
        """Record why the newest candidate is not stored, and try those behind it."""
        value = shorten([str(part) for part in item.key[1:]])
        behind = item.refuse(Reason("refused_by_database", column, message, value, item.newest.element))
        if behind:
            await self._write(connection, [behind])

    async def _merge(self, connection: AsyncConnection[Any], groups: list[Group]) -> dict[int, str]:
        """Merge groups of different keys; their outcomes by ordinal."""
        async with connection.cursor() as cursor:
            await cursor.execute(self.stage)
            async with cursor.copy(self.copy) as copy:
                for ordinal, item in enumerate(groups):
                    await copy.write_row(self._staged(ordinal, item))
            before = await self._snapshot(cursor)
            await cursor.execute(self.merge, {})  # with parameters, if none: `%%` is `%` only then
            outcomes = {ordinal: "written" for (ordinal,) in await cursor.fetchall()}
            if late := [ordinal for ordinal in range(len(groups)) if ordinal not in outcomes]:
                await cursor.execute(self.settle, {"ordinals": late})
                outcomes.update(await cursor.fetchall())
            if self.preview:
                self.preview.compare(before, await self._snapshot(cursor))
            await cursor.execute(f"drop table {merge.STAGING}")
            return outcomes

    async def _snapshot(self, cursor: AsyncCursor[Any]) -> dict[int, dict[str, Any]]:
        if self.preview is None:
            return {}
        await cursor.execute(self.snapshot, {})
        return dict(await cursor.fetchall())

    def _staged(self, ordinal: int, item: Group) -> tuple[Any, ...]:
        step, row = item.newest.step, item.newest.values
        values = (row[field.name] for field in self.plan.fields)
        return (
            ordinal,
            step.overtaken,
            step.org_id,
            *values,
            step.submission_id,
            step.pipeline_run_id,
            step.recorded_at,
        )

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
