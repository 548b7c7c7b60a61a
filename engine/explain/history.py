"""Rebuild the history of a row from its step results: the row's values after each contribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.explain.contributions import Contributions, read_contributions
from engine.explain.stored_row import convert_to_json, format_time, read_stored_row
from engine.plan import Plan
from engine.rows.fold import Contributor, FoldedRow, UnitFold
from engine.rows.keys import Key
from engine.rows.units import Unit
from engine.spec.enums import OnAbsent
from engine.store.connection import Connection
from engine.store.errors import wrap_errors
from engine.store.tenant import open_tenant_snapshot
from engine.values import exact_json
from engine.values.exact_json import Json

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000
#: After so many bytes of JSON, older versions are left out, since one document may have megabytes.
MAX_BYTES = 16 * 1024 * 1024
#: The number of versions that are computed at a time.
_PAGE_SIZE = 20


@dataclass(frozen=True, slots=True)
class Version:
    """A row as it was after one of its step results was added; `row` is None if that removed the row."""

    step_result_id: str
    recorded_at: str
    row: dict[str, Json] | None

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object that `dex history` prints and the history endpoint answers."""
        return {"step_result_id": self.step_result_id, "recorded_at": self.recorded_at, "row": self.row}


@dataclass(frozen=True, slots=True)
class History:
    """Versions of a row, newest first; `more` is True when older ones were left out."""

    versions: Sequence[Version]
    more: bool = False


async def read_history(
    connection: Connection, plan: Plan, org_id: str, row_id: str, limit: int = DEFAULT_LIMIT
) -> History | None:
    """Return the versions of a row of the organisation; None if the organisation has no such row.

    A row that no step result gives has no versions.
    """
    async with wrap_errors(), open_tenant_snapshot(connection, org_id):
        stored = await read_stored_row(connection, plan, org_id, row_id)
        if stored is None:
            return None
        found = stored.find_unit()
        if found is None:
            return History([])
        unit, key = found
        return await _collect_versions(connection, plan, unit, key, stored.step_id, row_id, limit)


async def read_history_of_key(connection: Connection, plan: Plan, unit: Unit, key: Key, limit: int) -> History:
    """Return the history of a key that has no row now."""
    async with wrap_errors(), open_tenant_snapshot(connection, unit.org_id):
        return await _collect_versions(connection, plan, unit, key, None, None, limit)


async def _collect_versions(
    connection: Connection, plan: Plan, unit: Unit, key: Key, step_id: str | None, row_id: str | None, limit: int
) -> History:
    contributions = await read_contributions(connection, plan, unit, step_id)
    versions: list[Version] = []
    size = 0
    end = len(contributions.contributors)
    while end > 0:
        start = max(end - _PAGE_SIZE, 0)
        for version in await _list_page(contributions, key, row_id, range(start, end)):
            if len(versions) == limit or size > MAX_BYTES:
                return History(versions, more=True)
            versions.append(version)
            size += len(exact_json.dumps(version.row))
        end = start
    return History(versions)


async def _list_page(contributions: Contributions, key: Key, row_id: str | None, places: range) -> list[Version]:
    """Return the versions that the step results at the indices `places` gave, newest first."""
    first = max(places.start - 1, 0)
    folds = await contributions.fold_up_to(range(first, places.stop))
    rows = [next((row for row in fold.fold_rows() if row.key == key), None) for fold in folds]
    versions = []
    for place in reversed(places):
        contributor = contributions.contributors[place]
        row = rows[place - first]
        if row is not None and row.newest is contributor:
            values = _build_values(contributions, row, row_id)
            versions.append(Version(contributor.step_id, contributor.recorded_at.isoformat(), values))
        elif row is None and place > first and rows[place - first - 1] is not None:
            if not _replaces_rows_of_parent(contributions.plan, folds[place - first], contributor):
                continue
            versions.append(Version(contributor.step_id, contributor.recorded_at.isoformat(), None))
    return versions


def _replaces_rows_of_parent(plan: Plan, fold: UnitFold, contributor: Contributor) -> bool:
    """Return whether a step result replaces all rows of its parent key, so that those it lacks are removed."""
    return plan.on_absent is OnAbsent.DELETE and fold.find_complete() is contributor


def _build_values(contributions: Contributions, row: FoldedRow, row_id: str | None) -> dict[str, Json]:
    step = row.newest.extracted
    fields = {column.name: convert_to_json(column, row.values[column.name]) for column in contributions.plan.fields}
    return {
        **({"id": row_id} if row_id else {}),
        "org_id": step.org_id,
        **fields,
        "source_submission_id": step.submission_id,
        "source_pipeline_run_id": step.pipeline_run_id,
        "source_step_result_id": step.id,
        "source_recorded_at": format_time(step.recorded_at),
    }
