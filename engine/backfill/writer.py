"""Store the computed rows of a batch; where the database refuses one, find out which contributions it accepts.

A contribution is the rows that one step result gives for a key. They are added oldest first; one whose resulting row
the database refuses does not count. A table whose checks and triggers do not look at values accepts or refuses all
rows alike, so there only the final rows are written. Otherwise, and where a final row is refused, the row after each
contribution is written in turn, in a savepoint that is rolled back, so that no reader sees it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import psycopg

from engine.backfill.staging import StagingTable
from engine.plan import Plan
from engine.rows.extract import Reason
from engine.rows.fold import FoldedRow, UnitFold
from engine.rows.keys import build_sort_key
from engine.rows.outcomes import Outcome
from engine.store.errors import DISCARDED_MESSAGE, is_row_error
from engine.store.long_values import describe_long_value
from engine.values.column_types import shorten_json

#: A function that reads the step results that folds need.
ReadMissing = Callable[[Sequence[UnitFold]], Awaitable[None]]
Refusal = tuple[FoldedRow, Reason]


@dataclass(slots=True)
class FoldWriter:
    """Stores computed rows (folds) in their table, through the staging table of their batch."""

    plan: Plan
    table: StagingTable
    read_missing: ReadMissing

    async def write_folds(self, folds: Sequence[UnitFold]) -> None:
        """Store the rows of `folds`; set on each fold the results of its rows, and which step results were refused."""
        await self._test_folds([fold for fold in folds if fold.is_tested])
        rows = [row for fold in folds for row in fold.fold_rows()]
        while rows:
            refusals = await self._store_rows(rows, is_final=True)
            untested: dict[int, UnitFold] = {}
            rows = []
            for row, reason in refusals:
                if row.fold.is_tested or len(row.fold.contributors) == 1:
                    row.newest.refusals[row.number] = reason
                    rows += [other for other in row.fold.fold_rows() if other.key == row.key]
                else:
                    untested[id(row.fold)] = row.fold
            if untested:
                again = list(untested.values())
                for fold in again:
                    fold.is_tested = True
                await self.read_missing(again)
                await self._test_folds(again)
                rows += [row for fold in again for row in fold.fold_rows()]

    async def _test_folds(self, folds: Sequence[UnitFold]) -> None:
        """Find out which step results of `folds` the database accepts; everything written for this is rolled back."""
        if not folds:
            return
        async with self.table.connection.transaction(force_rollback=True):
            for place in range(max(len(fold.contributors) for fold in folds)):
                rows = [row for fold in folds for row in fold.fold_rows_up_to(place)]
                for row, reason in await self._store_rows(rows, is_final=False):
                    row.newest.refusals[row.number] = reason

    async def _store_rows(self, rows: Sequence[FoldedRow], *, is_final: bool) -> list[Refusal]:
        """Stage and store rows that have different keys; return those that the database refuses, with the reasons.

        A range that the database refuses is halved until the refused row is alone.
        """
        if not rows:
            return []
        ordered = sorted(rows, key=lambda row: build_sort_key((row.fold.unit.org_id, *row.key)))
        pending = deque([await self.table.copy_rows(ordered)])
        refusals: list[Refusal] = []
        while pending:
            numbers = pending.popleft()
            try:
                async with self.table.connection.transaction():
                    results = await self.table.store_range(numbers, is_preview=is_final)
            except psycopg.Error as error:
                if not self._is_row_error(error):
                    raise
                if len(numbers) > 1:
                    middle = len(numbers) // 2
                    pending.extendleft((numbers[middle:], numbers[:middle]))
                else:
                    values = self.table.rows[numbers[0]].values
                    column, reason = describe_long_value(self.plan, [values], error) or (
                        error.diag.column_name,
                        error.diag.message_primary or str(error),
                    )
                    message = f"the database refuses the row: {reason} ({error.sqlstate})"
                    refusals.append(self._build_refusal(numbers[0], message, column))
                continue
            refusals += [self._build_refusal(number, DISCARDED_MESSAGE) for number in numbers if number not in results]
            if is_final:
                for number, result in results.items():
                    row = self.table.rows[number]
                    known = row.fold.results.get(row.key)
                    if known and known.outcome is Outcome.WRITTEN:
                        result.outcome = Outcome.WRITTEN
                    row.fold.results[row.key] = result
        return refusals

    def _build_refusal(self, number: int, message: str, column: str | None = None) -> Refusal:
        row = self.table.rows[number]
        extraction = row.newest.extracted.extraction
        element = extraction.indices[row.number] if extraction.indices else None
        value = shorten_json([str(part) for part in row.key])
        return row, Reason("refused_by_database", column, message, value, element)

    def _is_row_error(self, error: psycopg.Error) -> bool:
        """Return whether the values of a row caused the error.

        A null in a column that is no field of the spec is not the row's fault: the step results stay pending, and are
        written once the table is repaired.
        """
        columns = {column.name for column in self.plan.fields}
        unfed = isinstance(error, psycopg.errors.NotNullViolation) and error.diag.column_name not in columns
        return is_row_error(error.sqlstate) and not unfed
