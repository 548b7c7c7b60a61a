"""Fold the contributions to a key into the row to store, without access to a database.

A contribution is what one step result gives for one key. They are ordered by (recorded_at, id of the step result):

    newest wins    the row is that of the newest contribution; a column with `on_missing: keep` that has no value there
                   takes the newest older value
    refused        contributions are added oldest first; one that makes a row which the database refuses is ignored
    complete       with `on_absent: delete`, of one parent key: the newest step result without a refused element
                   replaces all earlier ones; only it and later ones count

Documents are read only as far back as the fold needs them (`UnitFold.list_missing`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from engine.plan import Field, Plan
from engine.rows.extract import COPIED, Reason, Row
from engine.rows.keys import Key, build_key
from engine.rows.outcomes import Outcome
from engine.rows.steps import Step
from engine.rows.units import Unit
from engine.spec.enums import OnAbsent

#: A value with at least so many characters may be too long for an index of its column.
_LONG_VALUE = 500


@dataclass(slots=True)
class Contributor:
    """A step result that gives rows of one unit, with what `row_lineage` says about it."""

    step_id: str
    recorded_at: datetime
    step: Step | None = None  # None until its document was read
    rows: Sequence[int] = ()  # the indices of its extracted rows that belong to the unit
    is_new: bool = False  # whether it is in the present batch: its lineage and ledger entries get written
    was_refused: bool = False  # `refused` of its entry in row_lineage
    row_id: str | None = None  # `row_id` of its entry in row_lineage
    is_recorded: bool = False  # whether it has an entry in row_lineage
    refusals: dict[int, Reason] = field(default_factory=dict)  # by index of a row: why the database refuses it

    @property
    def sort_key(self) -> tuple[datetime, str]:
        """The time at which the step result was recorded, and its id: sorts contributors oldest first."""
        return self.recorded_at, self.step_id

    @property
    def extracted(self) -> Step:
        """The extracted step result, whose document must have been read."""
        assert self.step is not None
        return self.step

    @property
    def is_complete(self) -> bool:
        """Whether no element of the step result was refused, so that it has all rows of its parent key."""
        extraction = self.extracted.extraction
        return extraction.parent is not None and extraction.refused == 0 and not self.refusals


@dataclass(slots=True)
class FoldedRow:
    """The row to store for one key: the newest contribution, with the values kept from older ones."""

    fold: UnitFold
    key: Key
    newest: Contributor
    number: int  # the index of the newest contribution among the rows of its step result
    values: Row  # by column; for a document that Postgres copies itself, the id of the step result to copy from


@dataclass(slots=True)
class RowResult:
    """The outcome of storing a computed row, and the id of the stored row."""

    outcome: Outcome
    row_id: str


@dataclass(slots=True)
class StaleEntry:
    """An entry of `stale_rows`: rows (a unit) that have to be computed again."""

    unit: Unit
    row_id: str | None
    remove_when_empty: bool
    revision: int


@dataclass(slots=True)
class UnitFold:
    """The step results that give the rows of one unit, oldest first, and the outcomes of these rows.

    A unit is the rows that are computed together: that of one key, or with `on_absent: delete` all of a parent key.
    """

    plan: Plan
    unit: Unit
    contributors: list[Contributor] = field(default_factory=list)
    former: list[Contributor] = field(default_factory=list)  # step results of the batch that no longer contribute to it
    stale: StaleEntry | None = None
    is_tested: bool = False  # whether each contribution is tried in the database, to find refused ones
    results: dict[Key, RowResult] = field(default_factory=dict)

    @property
    def row_ids(self) -> set[str]:
        """The known ids of the stored rows that the unit has had until now."""
        known = [*self.contributors, *self.former]
        ids = {contributor.row_id for contributor in known} | {self.stale.row_id if self.stale else None}
        return {row_id for row_id in ids if row_id}

    @property
    def removes_when_empty(self) -> bool:
        """Whether the unit's row is deleted once no step result contributes any more.

        The row is kept if its step result was deleted: then only the source columns of the row are cleared.
        """
        return bool(self.former) or self.stale is None or self.stale.remove_when_empty

    def sort_contributors(self) -> None:
        self.contributors.sort(key=lambda contributor: contributor.sort_key)

    def attach_step(self, contributor: Contributor, step: Step | None) -> None:
        """Give a contributor its step result; remove the contributor if that no longer gives rows of the unit."""
        rows = step.units.get(self.unit) if step else None
        if rows is None:
            self.contributors.remove(contributor)
        else:
            contributor.step, contributor.rows = step, rows

    def list_missing(self, limit: int) -> list[Contributor]:
        """Return the step results whose documents still have to be read for the rows, newest first, at most `limit`."""
        missing: list[Contributor] = []
        open_columns = {column.name for column in self.plan.kept_fields}
        for contributor in reversed(self.contributors):
            if contributor.step is None:
                missing.append(contributor)
            elif not missing and not self.is_tested and self._is_settled_by(contributor, open_columns):
                return []
            if len(missing) == limit:
                break
        return missing

    def _is_settled_by(self, contributor: Contributor, open_columns: set[str]) -> bool:
        """Return whether nothing older than `contributor` has to be read; drop columns it fills from `open_columns`."""
        if self.plan.on_absent is OnAbsent.DELETE:
            return contributor.is_complete
        row = contributor.extracted.extraction.rows[contributor.rows[0]]
        open_columns -= {name for name in open_columns if row[name] is not None}
        return not open_columns

    def needs_test(self, table_may_refuse: bool) -> bool:
        """Return whether each step result's row has to be tried in the database, since refused ones are ignored."""
        if self.is_tested or len(self.contributors) < 2:
            return False
        return table_may_refuse or any(
            contributor.was_refused or self._has_long_value(contributor) for contributor in self.contributors
        )

    def _has_long_value(self, contributor: Contributor) -> bool:
        """Return whether a value of an indexed column may be too long for the index."""
        if contributor.step is None:
            return False
        return any(
            isinstance(value := contributor.step.extraction.rows[number][column.name], str) and len(value) > _LONG_VALUE
            for column in list_indexed_fields(self.plan)
            for number in contributor.rows
        )

    def find_source(self, row: FoldedRow, column: Field) -> tuple[Contributor, int]:
        """Return the contributor from which a cell's value comes, and the index of the row in its extraction.

        That is the newest one, or for a kept value an older one.
        """
        if column in self.plan.kept_fields:
            for contributor in self._list_counting(self.contributors):
                for number in contributor.rows:
                    older = contributor.extracted.extraction.rows[number]
                    is_counted = number not in contributor.refusals and build_key(self.plan, older) == row.key
                    if is_counted and older[column.name] is not None:
                        return contributor, number
        return row.newest, row.number

    def list_newest(self) -> set[tuple[str, int]]:
        """Return the rows that no later contribution replaces, each as (id of the step result, index of the row)."""
        if len(self.contributors) == 1:  # the rows of one step result never have the same key
            only = self.contributors[0]
            return {(only.step_id, number) for number in only.rows if number not in only.refusals}
        return {(row.newest.step_id, row.number) for row in self.fold_rows()}

    def fold_rows(self) -> list[FoldedRow]:
        """Return the rows that all the step results together give."""
        return self._fold_contributions(self._list_counting(self.contributors))

    def fold_rows_up_to(self, place: int) -> list[FoldedRow]:
        """Return the rows that take values from the step result at index `place`, as if there were no later ones."""
        if place >= len(self.contributors):
            return []
        folded = self._fold_contributions(self._list_counting(self.contributors[: place + 1]))
        return [row for row in folded if row.newest is self.contributors[place]]

    def find_complete(self) -> Contributor | None:
        """Return the newest contributor that has all rows of its parent key; None if there is none."""
        read = [contributor for contributor in self.contributors if contributor.step]
        return next((contributor for contributor in reversed(read) if contributor.is_complete), None)

    def _list_counting(self, contributors: Sequence[Contributor]) -> list[Contributor]:
        """Return the `contributors` that count, newest first: those already read, back to the newest complete one."""
        counting: list[Contributor] = []
        for contributor in reversed(contributors):
            if contributor.step is None:
                continue
            counting.append(contributor)
            if contributor.is_complete:
                break
        return counting

    def _fold_contributions(self, newest_first: Iterable[Contributor]) -> list[FoldedRow]:
        """Return one row per key from the step results that count: the newest values, and kept older ones."""
        folded: dict[Key, FoldedRow] = {}
        for contributor in newest_first:
            for number in contributor.rows:
                if number in contributor.refusals:
                    continue
                row = contributor.extracted.extraction.rows[number]
                key = build_key(self.plan, row)
                if known := folded.get(key):
                    _fill_kept_values(self.plan, known.values, row, contributor.step_id)
                else:
                    step_id = contributor.step_id
                    values = {name: step_id if value is COPIED else value for name, value in row.items()}
                    folded[key] = FoldedRow(self, key, contributor, number, values)
        return list(folded.values())


def list_indexed_fields(plan: Plan) -> list[Field]:
    """Return the fields whose columns have an index: those of the key, of filters, and of `indexes`."""
    indexed = {name for names in plan.indexes for name in names}
    return [column for column in plan.fields if column.key or column.filter or column.name in indexed]


def _fill_kept_values(plan: Plan, values: Row, older: Row, step_id: str) -> None:
    for column in plan.kept_fields:
        if values[column.name] is None:
            value = older[column.name]
            values[column.name] = step_id if value is COPIED else value
