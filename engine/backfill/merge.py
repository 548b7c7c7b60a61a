"""Merge one batch of step results into its table and record their outcomes, in one transaction.

The steps of `BatchMerge.merge_batch`:
  1. lock the step results; one that changed since it was read stays pending
  2. group the rows by key, in rounds that hold each key once (engine/rows/grouping.py)
  3. copy the rows to a staging table and merge each round in key order (engine/backfill/staging.py)
  4. where the database refuses, halve the round until the row is alone, and record the row as rejected
  5. under `on_absent: delete`, delete the rows whose element is gone (engine/backfill/replace.py)
  6. record the outcomes in the ledger
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import psycopg

from engine.backfill.preview import Preview
from engine.backfill.replace import Replacement
from engine.backfill.staging import StagingStatements, StagingTable
from engine.plan import Plan
from engine.rows.extract import Reason
from engine.rows.grouping import Batch, Group, Step, split_into_rounds
from engine.rows.reading import Reading
from engine.sql import merge
from engine.store.connection import Connection
from engine.store.errors import is_row_error
from engine.values.column_types import shorten_json

_DISCARDED_MESSAGE = "the database took the row and did not keep it under its key: a trigger, a rule, or a rounded key"


@dataclass(frozen=True)
class BatchMerge:
    """A plan with the statements that merge its batches, built once."""

    plan: Plan
    staging: StagingStatements
    replacement: Replacement | None

    @classmethod
    def build(cls, reading: Reading, preview: Preview | None = None) -> BatchMerge:
        """Build the statements of a plan. `preview`, where given, collects what each merge changes."""
        return cls(reading.plan, StagingStatements.build(reading, preview), Replacement.build(reading.plan))

    async def merge_batch(self, connection: Connection, batch: Batch, *, again: bool) -> Sequence[Step]:
        """Merge and record a batch inside the caller's transaction; return the steps that were recorded.

        A step result that changed since it was read is left out and stays pending. `again` overwrites ledger entries.
        Raises psycopg's errors for what is no row's fault.
        """
        batch = batch.select_steps(await self._lock_steps(connection, batch.steps))
        if self.replacement:
            await self.replacement.lock_parents(connection, batch.steps)
        if batch.groups:
            table = await self.staging.create_table(connection)
            await _BatchWriter(self.plan, table).write_groups(batch.groups)
        if self.replacement:
            await self.replacement.delete_rows(connection, batch.steps)
        await self._record_steps(connection, batch.steps, again)
        return batch.steps

    async def _lock_steps(self, connection: Connection, steps: Sequence[Step]) -> set[str]:
        """Lock the step results against changes; return the ids of those that are as they were when read."""
        ids, versions = _join_list(step.id for step in steps), _join_list(step.version for step in steps)
        cursor = await connection.execute(merge.LOCK_STEP_RESULTS_SQL, {"ids": ids, "versions": versions})
        return {step_id for (step_id,) in await cursor.fetchall()}

    async def _record_steps(self, connection: Connection, steps: Sequence[Step], again: bool) -> None:
        parameters = {
            "spec": self.plan.name,
            "digest": self.plan.digest,
            "again": again,
            "ids": _join_list(step.id for step in steps),
            "orgs": _join_list(step.org_id for step in steps),
            "outcomes": _join_list(step.outcome for step in steps),
            "elements": _join_list(str(step.extraction.elements) for step in steps),
            "rows": _join_list(str(step.row_count) for step in steps),
            "reasons": json.dumps([[reason.as_dict() for reason in step.reasons] for step in steps]),
        }
        await connection.execute(merge.RECORD_OUTCOMES_SQL, parameters)


@dataclass(slots=True)
class _BatchWriter:
    """Writes the groups of one batch through its staging table.

    `pending` holds ranges of staged row numbers, to be merged from the left. A range that the database refuses is
    replaced by its halves; a row that it refuses alone by the older candidates for the same key.
    """

    plan: Plan
    table: StagingTable
    pending: deque[range] = field(default_factory=deque)

    async def write_groups(self, groups: Iterable[Group]) -> None:
        """Write the newest candidate of each group that the database accepts, and record the outcome of every one."""
        await self._stage_groups(groups)
        while self.pending:
            older = await self._merge_range(self.pending.popleft())
            if older:
                await self._stage_groups(older)

    async def _stage_groups(self, groups: Iterable[Group]) -> None:
        """Copy `groups` to the staging table and put them before the pending ranges, one range per round."""
        rounds = split_into_rounds(self.plan, groups)
        numbers = await self.table.copy_groups([group for round_ in rounds for group in round_])
        ranges = []
        for round_ in rounds:
            ranges.append(numbers[: len(round_)])
            numbers = numbers[len(round_) :]
        self.pending.extendleft(reversed(ranges))

    async def _merge_range(self, numbers: range) -> list[Group]:
        """Merge staged rows in a savepoint; return the older candidates of those that were rejected."""
        try:
            async with self.table.connection.transaction():
                outcomes = await self.table.merge_range(numbers)
        except psycopg.Error as error:
            if not self._is_row_error(error):
                raise
            if len(numbers) > 1:
                self._split_range(numbers)
                return []
            message = f"the database refuses the row: {error.diag.message_primary or error} ({error.sqlstate})"
            older = [_reject_row(self.table.groups[numbers[0]], message, error.diag.column_name)]
        else:
            older = [_record_row(self.table.groups[number], outcomes[number]) for number in numbers]
        return [group for group in older if group]

    def _split_range(self, numbers: range) -> None:
        middle = len(numbers) // 2
        self.pending.extendleft((numbers[middle:], numbers[:middle]))

    def _is_row_error(self, error: psycopg.Error) -> bool:
        """Return whether a row caused the error.

        No row causes a null in a column that is none of the spec's fields: those step results stay pending, and are
        written once the table is repaired.
        """
        columns = {column.name for column in self.plan.fields}
        unfed = isinstance(error, psycopg.errors.NotNullViolation) and error.diag.column_name not in columns
        return is_row_error(error.sqlstate) and not unfed


def _record_row(group: Group, outcome: str) -> Group | None:
    """Record the outcome of a merged row; return the older candidates for its key where the row was not kept."""
    if outcome == merge.DISCARDED:
        return _reject_row(group, _DISCARDED_MESSAGE)
    group.record_outcome(outcome)
    return None


def _reject_row(group: Group, message: str, column: str | None = None) -> Group | None:
    """Record why the newest candidate is not stored; return the group of the older ones, which may be stored."""
    value = shorten_json([str(part) for part in group.key[1:]])
    return group.reject_newest(Reason("refused_by_database", column, message, value, group.newest.element))


def _join_list(texts: Iterable[str]) -> str:
    return ",".join(texts)
