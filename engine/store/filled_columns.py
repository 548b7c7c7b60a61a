"""Count, for each column, in how many of a table's newest rows it has a value."""

from __future__ import annotations

from dataclasses import dataclass

from engine.plan import Plan
from engine.sql.filled_columns import build_filled_columns_statement
from engine.store.connection import Connection
from engine.store.errors import wrap_errors
from engine.store.tenant import run_as_tenant


@dataclass(frozen=True, slots=True)
class FilledColumns:
    """The number of rows read, and for each column how many of them have a value."""

    rows: int
    filled: dict[str, int]


async def fetch_filled_columns(connection: Connection, plan: Plan, org_id: str, newest: int) -> FilledColumns:
    """Count the values of each column in the `newest` rows of an organisation."""
    async with wrap_errors():
        ((row,),) = await run_as_tenant(connection, org_id, [build_filled_columns_statement(plan, org_id, newest)])
    count, *filled = (int(value or b"0") for value in row)
    return FilledColumns(count, dict(zip((column.name for column in plan.fields), filled, strict=True)))
