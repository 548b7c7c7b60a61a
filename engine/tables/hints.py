"""Check whether the SQL of a hint would work with the existing rows; if it would not, advise a rebuild instead.

A cast fails at the first value that cannot become the type, a unique index at the first key that two rows have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from psycopg import errors

from engine.plan import Plan
from engine.sql.existing_rows import build_cast_sql, build_repeated_key_sql
from engine.store.connection import Connection, fetch_value
from engine.store.errors import wrap_errors
from engine.tables.catalog import Table
from engine.tables.differences import Code, Difference

_UNIQUE: Final = (Code.NO_UNIQUE_INDEX, Code.NULLABLE_KEY)
#: Differences whose SQL may fail because of existing rows.
DEPENDS_ON_ROWS: Final = (*_UNIQUE, Code.TYPE_DIFFERS)


def add_rebuild_advice(plan: Plan, difference: Difference) -> Difference:
    """Add to a hint that may fail what to do in that case, for callers that have not looked at the rows."""
    is_field = difference.column in {column.name for column in plan.fields}
    if difference.code not in (DEPENDS_ON_ROWS if is_field else _UNIQUE):
        return difference
    advice = f"where the rows do not fit: dex rebuild {plan.name}"
    return replace(difference, advice="; ".join(filter(None, (difference.advice, advice))))


async def check_hints(
    connection: Connection, plan: Plan, table: Table, differences: Sequence[Difference]
) -> list[Difference]:
    """Return the differences with hints that work."""
    return [await _check_hint(connection, plan, table, difference) for difference in differences]


async def _check_hint(connection: Connection, plan: Plan, table: Table, difference: Difference) -> Difference:
    fields = {column.name: column.type.sql for column in plan.fields}
    if difference.code is Code.TYPE_DIFFERS and difference.column in fields:
        async with wrap_errors():
            try:
                await connection.execute(build_cast_sql(plan.table, difference.column, fields[difference.column]))
            except (errors.DataError, errors.CannotCoerce):
                return _advise_rebuild(plan, difference, "not every value can become that type")
    elif difference.code in _UNIQUE:
        columns = [name for name in plan.conflict if name in table.columns]
        async with wrap_errors():
            is_repeated = await fetch_value(connection, build_repeated_key_sql(plan.table, columns))
        if is_repeated:
            return _advise_rebuild(plan, difference, "rows share a key")
    return difference


def _advise_rebuild(plan: Plan, difference: Difference, reason: str) -> Difference:
    advice = f"dex rebuild {plan.name}: {reason}"
    if difference.advice:
        advice += f"; {difference.advice}"
    return replace(difference, sql="", advice=advice)
