"""Find out whether a table may refuse rows that its spec accepts; retry refused rows once the table has changed."""

from __future__ import annotations

from psycopg import errors

from engine.plan import Plan
from engine.sql.identifiers import quote_table
from engine.sql.refusals import FORGET_REFUSALS_SQL, MAY_REFUSE_SQL, TABLE_STATE_SQL
from engine.store.connection import Connection, fetch_value


async def may_refuse_rows(connection: Connection, plan: Plan) -> bool:
    """Return whether the table of `plan` has checks, triggers or column types that may refuse a row for its values."""
    parameters = {
        "table": quote_table(plan.table),
        "fields": [column.name for column in plan.fields],
        "optional": [column.name for column in plan.fields if not column.required],
        "conflict": list(plan.conflict),
    }
    return bool(await fetch_value(connection, MAY_REFUSE_SQL, parameters))


async def forget_old_refusals(connection: Connection, plan: Plan) -> None:
    """Make step results pending again whose rows the database refused, if the table has changed since."""
    state = await _fetch_table_state(connection, plan)
    await connection.execute(FORGET_REFUSALS_SQL, {"spec": plan.name, "digest": plan.digest, "state": state})


async def _fetch_table_state(connection: Connection, plan: Plan) -> str:
    """Return a hash of what in the table can refuse a row.

    While a rebuild swaps the table, Postgres waits for the table that goes, and then does not find it (XX000); the
    second time there is the new one.
    """
    parameters = {"table": quote_table(plan.table)}
    try:
        state = await fetch_value(connection, TABLE_STATE_SQL, parameters)
    except errors.InternalError_:
        state = await fetch_value(connection, TABLE_STATE_SQL, parameters)
    return str(state)
