"""Find out whether a table may refuse rows that its spec accepts; retry refused rows once the table has changed."""

from __future__ import annotations

from engine.plan import Plan
from engine.sql.identifiers import quote_table
from engine.sql.refusals import FORGET_REFUSALS_SQL, MAY_REFUSE_SQL, TABLE_STATE_SQL
from engine.store.connection import Connection


async def may_refuse_rows(connection: Connection, plan: Plan) -> bool:
    """Return whether the table of `plan` has checks, triggers or column types that may refuse a row for its values."""
    parameters = {
        "table": quote_table(plan.table),
        "fields": [column.name for column in plan.fields],
        "optional": [column.name for column in plan.fields if not column.required],
        "conflict": list(plan.conflict),
    }
    row = await (await connection.execute(MAY_REFUSE_SQL, parameters)).fetchone()
    return bool(row and row[0])


async def forget_old_refusals(connection: Connection, plan: Plan) -> None:
    """Make step results pending again whose rows the database refused, if the table has changed since."""
    cursor = await connection.execute(TABLE_STATE_SQL, {"table": quote_table(plan.table)})
    (state,) = await cursor.fetchone() or (None,)
    await connection.execute(FORGET_REFUSALS_SQL, {"spec": plan.name, "digest": plan.digest, "state": state})
