"""Explain a key, or read its history, whether or not the key has a row."""

from __future__ import annotations

from collections.abc import Iterable

from engine.explain.absence import Absence, explain_absence
from engine.explain.history import DEFAULT_LIMIT, History, read_history, read_history_of_key
from engine.explain.key_lookup import PartialKey, SeveralRows, find_rows_of_key
from engine.explain.row import Explanation, choose_columns, explain_row
from engine.plan import Plan
from engine.rows.extract import Reason
from engine.rows.keys import build_key
from engine.rows.query import QueryRejected
from engine.rows.units import build_unit
from engine.store.connection import Connection


async def explain_key(
    connection: Connection, plan: Plan, org_id: str, key: PartialKey, plans: Iterable[Plan], field: str | None = None
) -> Explanation | SeveralRows | Absence:
    """Explain the row that has the key in the organisation, list several such rows, or say why there is none.

    `plans` are all plans of the project. Raises QueryRejected for an unknown field, StoreUnavailable.
    """
    choose_columns(plan, field)
    found = await find_rows_of_key(connection, plan, org_id, key)
    if len(found.rows) > 1:
        return found
    explained = await explain_row(connection, plan, org_id, found.rows[0].id, field) if found.rows else None
    return explained or await explain_absence(connection, plan, org_id, key, plans)


async def read_key_history(
    connection: Connection, plan: Plan, org_id: str, key: PartialKey, limit: int = DEFAULT_LIMIT
) -> History:
    """Return the history of a key in the organisation, even if it has no row now.

    Raises QueryRejected when several rows have the key, StoreUnavailable.
    """
    found = await find_rows_of_key(connection, plan, org_id, key)
    if len(found.rows) > 1:
        reason = Reason("ambiguous_key", None, f"several rows of `{plan.name}` have this key")
        raise QueryRejected([reason], hint=f"also give {found.missing}; `dex explain` lists the rows")
    history = await read_history(connection, plan, org_id, found.rows[0].id, limit) if found.rows else None
    if history is None and all(column.name in key for column in plan.key_fields):
        return await read_history_of_key(connection, plan, build_unit(plan, org_id, key), build_key(plan, key), limit)
    return history or History([])
