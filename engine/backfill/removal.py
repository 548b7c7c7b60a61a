"""Remove rows that no step result gives any more; clear the source columns of rows whose step result was deleted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from engine.backfill.lineage import Lineage
from engine.backfill.preview import Preview
from engine.plan import Plan
from engine.rows.extract import Reason
from engine.rows.fold import UnitFold
from engine.rows.outcomes import ExtractionOutcome, Outcome
from engine.rows.steps import Step
from engine.rows.units import Unit, build_unit, get_unit_fields
from engine.spec.enums import OnAbsent
from engine.sql import lineage
from engine.store.connection import Connection, fetch_rows


@dataclass(frozen=True)
class RemovalStatements:
    """The SQL statements of a plan that remove rows; build them once."""

    plan: Plan
    unit_rows_sql: str
    remove_sql: str
    unsource_sql: str
    remove_absent_sql: str
    unsource_absent_sql: str

    @classmethod
    def build(cls, plan: Plan) -> RemovalStatements:
        deletes_absent = plan.on_absent is OnAbsent.DELETE
        return cls(
            plan=plan,
            unit_rows_sql=lineage.build_unit_rows_sql(plan),
            remove_sql=lineage.build_remove_rows_sql(plan),
            unsource_sql=lineage.build_unsource_rows_sql(plan),
            remove_absent_sql=lineage.build_remove_absent_sql(plan) if deletes_absent else "",
            unsource_absent_sql=lineage.build_unsource_absent_sql(plan) if deletes_absent else "",
        )


@dataclass(frozen=True)
class Removal:
    """Removes rows over one connection, inside the transaction that computes the rows which stay."""

    statements: RemovalStatements
    connection: Connection
    lineage: Lineage
    preview: Preview | None

    async def remove_rows(self, folds: Sequence[UnitFold]) -> None:
        """Remove the rows of `folds` that no step result gives any more; the rows that stay must be stored already."""
        deletes_absent = self.statements.plan.on_absent is OnAbsent.DELETE
        await self._remove_empty([fold for fold in folds if fold.row_ids and not (deletes_absent and fold.unit.parent)])
        parents = [fold for fold in folds if deletes_absent and fold.unit.parent]
        if parents:
            await self._remove_absent(parents)

    async def _remove_empty(self, folds: Sequence[UnitFold]) -> None:
        """Delete the rows of `folds` to which no step result contributes any more.

        A row whose step result was deleted stays; its source columns are cleared. After a change of the spec's key a
        row may belong to another unit (rows that are computed together), and is queued to be computed with that. So is
        the row of a parent key: a step result that was executed during `dex rebuild` has left the id of only one.
        """
        units = {row_id: fold for fold in folds for row_id in fold.row_ids - _list_stored_ids(fold)}
        if not units:
            return
        removed, unsourced, queued = list[str](), list[str](), list[tuple[Unit, str]]()
        names = [column.name for column in get_unit_fields(self.statements.plan)]
        rows = await fetch_rows(self.connection, self.statements.unit_rows_sql, {"ids": ",".join(units)})
        for row_id, org_id, has_source, *values in rows:
            fold = units[row_id]
            unit = build_unit(self.statements.plan, org_id, dict(zip(names, values, strict=True)))
            if unit != fold.unit or unit.parent:
                if has_source:
                    queued.append((unit, row_id))
            elif fold.removes_when_empty:
                removed.append(row_id)
            else:
                unsourced.append(row_id)
        if removed:
            sql = self.statements.remove_sql
            self._preview_removed(await fetch_rows(self.connection, sql, {"ids": ",".join(removed)}))
        if unsourced:
            await self.connection.execute(self.statements.unsource_sql, {"ids": ",".join(unsourced)})
        await self.lineage.queue_stale(queued)

    async def _remove_absent(self, folds: Sequence[UnitFold]) -> None:
        """Delete, for each parent key, the rows that its newest complete step result does not have.

        A step result is complete if none of its elements was refused. It records how many rows it removed.
        """
        complete = [fold.find_complete() for fold in folds]
        parameters = {
            "orgs": ",".join(fold.unit.org_id for fold in folds),
            "parents": [fold.unit.parent for fold in folds],
            "times": [contributor.recorded_at if contributor else None for contributor in complete],
            "kept": ",".join(row_id for fold in folds for row_id in _list_stored_ids(fold)),
        }
        removed: defaultdict[int, int] = defaultdict(int)
        rows = await fetch_rows(self.connection, self.statements.remove_absent_sql, parameters)
        for number, row_id, key in rows:
            removed[number] += 1
            self._preview_removed([(row_id, key)])
        await self.connection.execute(self.statements.unsource_absent_sql, parameters)
        for number, (fold, contributor) in enumerate(zip(folds, complete, strict=True), start=1):
            for member in fold.contributors:
                if member.is_new and member.step:
                    _record_deletion(member.step, removed[number] if member is contributor else None)

    def _preview_removed(self, rows: Iterable[tuple[Any, ...]]) -> None:
        if self.preview:
            for row_id, key in rows:
                self.preview.add_removed_row(row_id, key)


def _list_stored_ids(fold: UnitFold) -> set[str]:
    return {result.row_id for result in fold.results.values()}


def _record_deletion(step: Step, removed: int | None) -> None:
    """Record how many rows a step result with `on_absent: delete` removed.

    `removed` is None for one that is not the newest complete step result of its parent key.
    """
    if step.extraction.outcome != ExtractionOutcome.ROW or step.extraction.parent is None:
        return
    if step.refused_count:
        message = "rows of earlier results were kept: an element was rejected"
        step.merge_reasons.append(Reason("absent_kept", None, message))
    elif removed:
        step.deletion_outcome = Outcome.WRITTEN
        rows = "1 row of an earlier result was" if removed == 1 else f"{removed} rows of earlier results were"
        step.merge_reasons.append(
            Reason("absent_deleted", None, f"{rows} deleted: no element of this result has their key")
        )
    elif not step.outcomes:
        step.deletion_outcome = Outcome.SUPERSEDED if removed is None else Outcome.UNCHANGED
