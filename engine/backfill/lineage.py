"""Read and write which step results contribute to which row, inside the transaction that folds the rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from engine.plan import Plan
from engine.rows.fold import Contributor, StaleEntry, UnitFold
from engine.rows.steps import Step
from engine.rows.units import Unit, list_locks
from engine.sql import lineage
from engine.store.connection import Connection, fetch_rows

Entry = tuple[Any, ...]


@dataclass(frozen=True)
class Lineage:
    """The lineage of one spec's rows over a connection: reads and writes the tables `row_lineage` and `stale_rows`."""

    plan: Plan
    connection: Connection

    async def lock_units(self, steps: Sequence[Step], stale: Iterable[Unit]) -> list[UnitFold]:
        """Lock the rows that `steps` give or gave (as units), and the units in `stale`; return a fold of each unit.

        A unit is the rows that are computed together. Which units the steps had rows in before is known only once the
        lineage was read. Where that adds units, they are locked too and everything is read again, since another process
        may have changed it before its lock was taken.
        """
        units = {(unit.org_id, unit.id): unit for step in steps for unit in step.units}
        units |= {(unit.org_id, unit.id): unit for unit in stale}
        locked: set[int] = set()
        while True:
            needed = list_locks(self.plan.name, units.values())
            if missing := [number for number in needed if number not in locked]:
                await self.connection.execute(lineage.LOCK_UNITS_SQL, {"locks": ",".join(map(str, missing))})
                locked.update(missing)
            entries = await self._read_units(units.values(), steps)
            known = len(units)
            for org_id, unit_id, parent, *_ in entries:
                units.setdefault((org_id, unit_id), Unit(org_id, unit_id, parent))
            if len(units) == known:
                return self._build_folds(units, steps, entries)

    async def _read_units(self, units: Iterable[Unit], steps: Sequence[Step]) -> list[Entry]:
        units = list(units)
        parameters = {
            "spec": self.plan.name,
            "orgs": ",".join(unit.org_id for unit in units),
            "units": ",".join(unit.id for unit in units),
            "ids": ",".join(step.id for step in steps),
        }
        return await fetch_rows(self.connection, lineage.READ_UNITS_SQL, parameters)

    def _build_folds(
        self, units: dict[tuple[str, str], Unit], steps: Sequence[Step], entries: Iterable[Entry]
    ) -> list[UnitFold]:
        folds = {key: UnitFold(self.plan, unit) for key, unit in units.items()}
        new: dict[tuple[str, str, str], Contributor] = {}
        for step in steps:
            for unit, rows in step.units.items():
                contributor = Contributor(step.id, step.recorded_at, step, rows, is_new=True)
                folds[unit.org_id, unit.id].contributors.append(contributor)
                new[unit.org_id, unit.id, step.id] = contributor
        ids = {step.id for step in steps}
        for org_id, unit_id, _, step_id, recorded_at, row_id, refused, remove_when_empty, revision in entries:
            fold = folds[org_id, unit_id]
            if revision is not None:
                fold.stale = StaleEntry(fold.unit, row_id, remove_when_empty, revision)
                continue
            contributor = new.get((org_id, unit_id, step_id)) or Contributor(step_id, recorded_at)
            contributor.row_id, contributor.was_refused, contributor.is_recorded = row_id, refused, True
            if step_id in ids and not contributor.is_new:
                fold.former.append(contributor)
            elif not contributor.is_new and recorded_at is not None:
                fold.contributors.append(contributor)
        for fold in folds.values():
            fold.sort_contributors()
        return list(folds.values())

    async def write_entries(self, folds: Sequence[UnitFold]) -> None:
        """Record which step results gave the rows in `folds`; delete the entries of these rows in `stale_rows`."""
        new: list[tuple[UnitFold, Contributor]] = []
        other: list[tuple[UnitFold, Contributor]] = []
        for fold in folds:
            row_id = _find_row_id(fold)
            for contributor in fold.contributors:
                is_refused = _is_refused(contributor)
                if contributor.is_recorded and (contributor.row_id, contributor.was_refused) == (row_id, is_refused):
                    continue
                (new if contributor.is_new else other).append((fold, contributor))
        await self._write_new(new)
        await self._update_other(other)
        await self._delete_former([(fold, contributor) for fold in folds for contributor in fold.former])
        await self._delete_stale([fold.stale for fold in folds if fold.stale])

    async def _write_new(self, pairs: Sequence[tuple[UnitFold, Contributor]]) -> None:
        if pairs:
            parents = [fold.unit.parent for fold, _ in pairs]
            parameters = {**self._build_parameters(pairs), "parents": parents, "spec": self.plan.name}
            await self.connection.execute(lineage.WRITE_LINEAGE_SQL, parameters)

    async def _update_other(self, pairs: Sequence[tuple[UnitFold, Contributor]]) -> None:
        """Update the lineage of step results outside of the batch.

        Those that are refused now and were not before, or the other way round, become pending.
        """
        if not pairs:
            return
        await self.connection.execute(lineage.UPDATE_LINEAGE_SQL, self._build_parameters(pairs))
        changed = [
            contributor.step_id
            for _, contributor in pairs
            if contributor.step and _is_refused(contributor) != contributor.was_refused
        ]
        if changed:
            await self.forget_outcomes(changed)

    async def forget_outcomes(self, step_ids: Iterable[str]) -> None:
        """Make step results pending again."""
        parameters = {"spec": self.plan.name, "ids": ",".join(step_ids)}
        await self.connection.execute(lineage.FORGET_OUTCOMES_SQL, parameters)

    async def _delete_former(self, pairs: Sequence[tuple[UnitFold, Contributor]]) -> None:
        if pairs:
            await self.connection.execute(lineage.DELETE_LINEAGE_SQL, self._build_parameters(pairs))

    async def _delete_stale(self, entries: Sequence[StaleEntry]) -> None:
        if entries:
            parameters = {
                "spec": self.plan.name,
                "orgs": ",".join(entry.unit.org_id for entry in entries),
                "units": ",".join(entry.unit.id for entry in entries),
                "revisions": ",".join(str(entry.revision) for entry in entries),
            }
            await self.connection.execute(lineage.DELETE_STALE_SQL, parameters)

    async def queue_stale(self, units: Sequence[tuple[Unit, str]]) -> None:
        """Queue units (rows that are computed together) in `stale_rows` for a backfill.

        Each comes with the id of one of its rows, which is stored only for a unit without parent key: the rows of a
        parent key are looked up by that key.
        """
        if units:
            parameters = {
                "spec": self.plan.name,
                "orgs": ",".join(unit.org_id for unit, _ in units),
                "units": ",".join(unit.id for unit, _ in units),
                "rows": ",".join(row_id if unit.parent is None else "" for unit, row_id in units),
                "parents": [unit.parent for unit, _ in units],
            }
            await self.connection.execute(lineage.QUEUE_STALE_SQL, parameters)

    def _build_parameters(self, pairs: Sequence[tuple[UnitFold, Contributor]]) -> dict[str, Any]:
        return {
            "orgs": ",".join(fold.unit.org_id for fold, _ in pairs),
            "units": ",".join(fold.unit.id for fold, _ in pairs),
            "ids": ",".join(contributor.step_id for _, contributor in pairs),
            "rows": ",".join(_find_row_id(fold) or "" for fold, _ in pairs),
            "refused": ",".join("true" if _is_refused(contributor) else "false" for _, contributor in pairs),
        }


def _find_row_id(fold: UnitFold) -> str | None:
    """Return the id of the unit's row; None for the rows of a parent key, which are looked up by that key."""
    if fold.unit.parent is not None:
        return None
    return next((result.row_id for result in fold.results.values()), None)


def _is_refused(contributor: Contributor) -> bool:
    """Return whether the database refuses a row of the step result; for one that was not read, as recorded earlier."""
    return bool(contributor.refusals) if contributor.step else contributor.was_refused
