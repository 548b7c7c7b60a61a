"""Read the step results that contribute to a row, and fold them as a backfill does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.backfill.reader import fetch_steps, read_missing_steps
from engine.plan import Plan
from engine.rows.extract import Reason
from engine.rows.fetch_plan import FetchPlan
from engine.rows.fold import Contributor, FoldedRow, UnitFold
from engine.rows.keys import Key
from engine.rows.units import Unit
from engine.sql.explain import READ_LEDGER_SQL
from engine.sql.lineage import READ_UNITS_SQL
from engine.store.connection import Connection, fetch_rows


@dataclass(slots=True)
class LedgerEntry:
    """The ledger entry of a step result.

    `is_present` tells whether it was made under the present version of the spec.
    """

    is_present: bool
    outcome: str
    reasons: list[dict[str, Any]]


@dataclass(slots=True)
class Contributions:
    """The step results that give, or gave, the rows of one unit, oldest first; and how to read their documents.

    A unit is the rows that are computed together: that of one key, or with `on_absent: delete` all of a parent key.
    """

    connection: Connection
    fetch_plan: FetchPlan
    unit: Unit
    contributors: list[Contributor]
    is_stale: bool  # whether `stale_rows` has the unit: a backfill will compute its rows again
    ledger: dict[str, LedgerEntry] = field(default_factory=dict)

    @property
    def plan(self) -> Plan:
        return self.fetch_plan.plan

    async def fold_up_to(self, places: Sequence[int], *, whole: bool = False) -> list[UnitFold]:
        """Return, for each index in `places`, the fold of the step results up to that one, which computes rows.

        Reads only the documents that these rows need; with `whole`, those of all step results.
        """
        folds = [UnitFold(self.plan, self.unit, self.contributors[: place + 1]) for place in places]
        for fold in folds:  # a refused contribution does not count, so documents of older ones may be needed
            fold.is_tested = whole or any(contributor.was_refused for contributor in fold.contributors)
        await read_missing_steps(self.connection, self.fetch_plan, folds)
        for contributor in self.contributors:
            if contributor.was_refused and contributor.step and not contributor.refusals:
                self._restore_refusals(contributor)
        return folds

    async def fold_row(self, key: Key) -> FoldedRow | None:
        """Return the row that all the step results together give for a key; None if they give none."""
        if not self.contributors:
            return None
        (fold,) = await self.fold_up_to([len(self.contributors) - 1])
        return next((row for row in fold.fold_rows() if row.key == key), None)

    def _restore_refusals(self, contributor: Contributor) -> None:
        """Mark the rows of a contributor that its ledger entry reports as refused; all rows if it reports none."""
        entry = self.ledger.get(contributor.step_id)
        refused = [reason for reason in entry.reasons if reason["code"] == "refused_by_database"] if entry else []
        indices = contributor.extracted.extraction.indices
        by_element = {reason.get("element"): reason for reason in refused}
        for number in contributor.rows:
            reason = by_element.get(indices[number] if indices else None)
            if reason or not refused:
                message = reason["message"] if reason else "the database refused it"
                contributor.refusals[number] = Reason("refused_by_database", None, message)


async def read_contributions(
    connection: Connection, plan: Plan, unit: Unit, step_id: str | None = None
) -> Contributions:
    """Return the step results of a unit's rows: those in `row_lineage`, and `step_id`, the source that the row names.

    `step_id` is left out if it gives no row of the unit.
    """
    fetch_plan = FetchPlan(plan, copies_documents=False)
    parameters = {"spec": plan.name, "orgs": unit.org_id, "units": unit.id, "ids": ""}
    contributors, is_stale = [], False
    for entry in await fetch_rows(connection, READ_UNITS_SQL, parameters):
        _, _, _, contributor_id, recorded_at, row_id, refused, _, revision = entry
        if revision is not None:
            is_stale = True
        elif recorded_at is not None:  # the step result still exists
            contributors.append(Contributor(contributor_id, recorded_at, row_id=row_id, was_refused=refused))
    if step_id is not None and step_id not in {contributor.step_id for contributor in contributors}:
        steps = await fetch_steps(connection, fetch_plan, [step_id])
        contributors += [
            Contributor(step.id, step.recorded_at, step, step.units[unit]) for step in steps if unit in step.units
        ]
    contributors.sort(key=lambda contributor: contributor.sort_key)
    ledger = await read_ledger(connection, plan, [contributor.step_id for contributor in contributors])
    return Contributions(connection, fetch_plan, unit, contributors, is_stale, ledger)


async def read_ledger(connection: Connection, plan: Plan, step_ids: Sequence[str]) -> dict[str, LedgerEntry]:
    """Return the ledger entries of step results by step result id."""
    parameters = {"spec": plan.name, "digest": plan.digest, "ids": ",".join(step_ids)}
    rows = await fetch_rows(connection, READ_LEDGER_SQL, parameters)
    return {step_id: LedgerEntry(present, outcome, reasons) for step_id, present, outcome, reasons in rows}
