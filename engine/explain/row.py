"""Explain one stored row, cell by cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from engine.errors import suggest_name
from engine.explain.cells import Cell, build_cells, build_unsourced_cells
from engine.explain.contributions import Contributions, read_contributions
from engine.explain.stored_row import StoredRow, read_stored_row
from engine.plan import Field, Plan
from engine.rows.extract import Reason
from engine.rows.fold import FoldedRow
from engine.rows.query import QueryRejected
from engine.store.connection import Connection
from engine.store.errors import wrap_errors
from engine.store.tenant import open_tenant_snapshot


class RowState(StrEnum):
    """How a stored row compares with what its step results give."""

    SOURCED = "sourced"
    PENDING = "pending"
    CHANGED = "changed"
    UNSOURCED = "unsourced"


_SENTENCES = {
    RowState.SOURCED: "every cell is what the step results give",
    RowState.PENDING: "a change of a step result or the spec is not in the row yet: `dex backfill {spec}` applies it",
    RowState.CHANGED: "a cell differs from what the step results give: `dex verify {spec} --repair` restores it",
    RowState.UNSOURCED: "no step result gives this row: it was written without one, or its step result was deleted",
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """A stored row, how it compares with its step results, and the origin of its cells."""

    plan: Plan
    id: str
    state: RowState
    cells: Sequence[Cell]

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object that `dex explain` and the explain endpoint answer."""
        return {
            "id": self.id,
            "state": self.state.value,
            "explanation": _SENTENCES[self.state].format(spec=self.plan.name),
            "cells": [cell.as_dict() for cell in self.cells],
        }


async def explain_row(
    connection: Connection, plan: Plan, org_id: str, row_id: str, field: str | None = None
) -> Explanation | None:
    """Explain all cells of a row of the organisation, or only that of `field`; return None if it has no such row.

    Raises QueryRejected for a field that the spec does not have, StoreUnavailable.
    """
    columns = choose_columns(plan, field)
    async with wrap_errors(), open_tenant_snapshot(connection, org_id):
        stored = await read_stored_row(connection, plan, org_id, row_id)
        return None if stored is None else await _explain_stored_row(connection, stored, columns)


def choose_columns(plan: Plan, field: str | None) -> Sequence[Field]:
    """Return the fields to explain: all, or only the one called `field`. Raises QueryRejected for an unknown name."""
    if field is None:
        return plan.fields
    chosen = [column for column in plan.fields if column.name == field]
    if not chosen:
        names = [column.name for column in plan.fields]
        reason = Reason("unknown_field", "field", f"`{plan.name}` has no field `{field}`")
        raise QueryRejected([reason], hint=suggest_name(field, names))
    return chosen


async def _explain_stored_row(connection: Connection, stored: StoredRow, columns: Sequence[Field]) -> Explanation:
    plan = stored.plan
    found = stored.find_unit()
    if found is not None:
        unit, key = found
        contributions = await read_contributions(connection, plan, unit, stored.step_id)
        folded = await contributions.fold_row(key)
        if folded is not None:
            cells = await build_cells(contributions, stored, folded, columns)
            return Explanation(plan, stored.id, _judge_row(contributions, stored, folded, cells), cells)
        if contributions.is_stale:
            return Explanation(plan, stored.id, RowState.PENDING, build_unsourced_cells(stored, columns))
    return Explanation(plan, stored.id, RowState.UNSOURCED, build_unsourced_cells(stored, columns))


def _judge_row(contributions: Contributions, stored: StoredRow, folded: FoldedRow, cells: Sequence[Cell]) -> RowState:
    entry = contributions.ledger.get(folded.newest.step_id)
    is_recorded = entry is not None and entry.is_present
    if contributions.is_stale or not is_recorded or stored.step_id != folded.newest.step_id:
        return RowState.PENDING
    return RowState.CHANGED if any(cell.differs for cell in cells) else RowState.SOURCED
