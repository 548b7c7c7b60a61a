"""Find out whether a table may refuse rows that the spec accepts."""

from __future__ import annotations

from engine.plan import Plan
from engine.sql.identifiers import quote_table
from engine.sql.refusals import MAY_REFUSE_SQL
from engine.store.connection import Connection


async def may_refuse_rows(connection: Connection, plan: Plan) -> bool:
    """Return whether the table of `plan` has conditions of its own on the content of a row: checks, triggers, types."""
    parameters = {
        "table": quote_table(plan.table).replace("%%", "%"),
        "fields": [column.name for column in plan.fields],
        "optional": [column.name for column in plan.fields if not column.required],
        "conflict": list(plan.conflict),
    }
    row = await (await connection.execute(MAY_REFUSE_SQL, parameters)).fetchone()
    return bool(row and row[0])
