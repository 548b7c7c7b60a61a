"""Explain a key, or read its history, whether or not the key has a row."""

from __future__ import annotations

from collections.abc import Iterable

from engine.explain.absence import Absence, explain_absence
from engine.explain.history import DEFAULT_LIMIT, History, read_history, read_history_of_key
from engine.explain.key_lookup import PartialKey, find_row_of_key
from engine.explain.row import Explanation, choose_columns, explain_row
from engine.plan import Plan
from engine.rows.units import build_unit
from engine.store.connection import Connection


async def explain_key(
    connection: Connection, plan: Plan, org_id: str, key: PartialKey, plans: Iterable[Plan], field: str | None = None
) -> Explanation | Absence:
    """Explain the row of a key of the organisation; for a key without a row, return why there is none.

    `plans` are those of the project. Raises QueryRejected for an unknown field and for a key that several rows have,
    StoreUnavailable.
    """
    choose_columns(plan, field)
    row_id = await find_row_of_key(connection, plan, org_id, key)
    explained = await explain_row(connection, plan, org_id, row_id, field) if row_id else None
    return explained or await explain_absence(connection, plan, org_id, key, plans)


async def read_key_history(
    connection: Connection, plan: Plan, org_id: str, key: PartialKey, limit: int = DEFAULT_LIMIT
) -> History:
    """Return the history of a key of the organisation, whether or not it has a row at present.

    Raises QueryRejected for a key that several rows have, StoreUnavailable.
    """
    row_id = await find_row_of_key(connection, plan, org_id, key)
    history = await read_history(connection, plan, org_id, row_id, limit) if row_id else None
    names = [column.name for column in plan.key_fields]
    if history is None and all(name in key for name in names):
        unit = build_unit(plan, org_id, key)
        return await read_history_of_key(connection, plan, unit, tuple(key[name] for name in names), limit)
    return history or History([])
