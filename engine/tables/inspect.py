"""Read tables from a live database and compare them with plans, without changing anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from psycopg import AsyncConnection
from psycopg.rows import class_row

from engine.plan import Plan
from engine.sql.identifiers import quote_table
from engine.sql.tenant import TENANT_ROLE
from engine.store.errors import wrap_errors
from engine.tables import catalog
from engine.tables.catalog import ColumnRow, IndexRow, PolicyRow, Table, TableRow, TypeRow
from engine.tables.compare import compare_reading, compare_table
from engine.tables.differences import Difference, report_missing_table
from engine.values.column_types import TYPES

Connection = AsyncConnection[Any]
Row = TypeVar("Row")


async def find_differences(connection: Connection, plans: Iterable[Plan], *, reading: bool = False) -> list[Difference]:
    """Return the differences between each plan and its table, in the order of plans and codes. Raises StoreUnavailable.

    With `reading`, also what its reading endpoints lack: indexes of queries, and the triggers that record changes.
    """
    differences: list[Difference] = []
    for plan in plans:
        table = await read_table(connection, plan.table)
        if table is None:
            differences.append(report_missing_table(plan.name, plan.table))
            continue
        differences += sorted(compare_table(plan, table) + (compare_reading(plan, table) if reading else []))
    return differences


async def read_table(connection: Connection, name: str) -> Table | None:
    """Return a table as the catalog describes it; None when there is none. Raises StoreUnavailable."""
    async with wrap_errors():
        rows = await _fetch_rows(
            connection, TableRow, catalog.SELECT_TABLE, {"table": quote_table(name), "role": TENANT_ROLE}
        )
        if not rows:
            return None
        parameters = {"oid": rows[0].oid, "role": TENANT_ROLE, "names": [type_.sql for type_ in TYPES.values()]}
        columns = await _fetch_rows(connection, ColumnRow, catalog.SELECT_COLUMNS, parameters)
        types = await _fetch_rows(connection, TypeRow, catalog.SELECT_TYPES, parameters)
        return Table(
            row=rows[0],
            columns={column.name: column for column in columns},
            indexes=await _fetch_rows(connection, IndexRow, catalog.SELECT_INDEXES, parameters),
            policies=await _fetch_rows(connection, PolicyRow, catalog.SELECT_POLICIES, parameters),
            types={row.name: row.type for row in types},
        )


async def _fetch_rows(connection: Connection, kind: type[Row], query: str, parameters: Mapping[str, Any]) -> list[Row]:
    async with connection.cursor(row_factory=class_row(kind)) as cursor:
        return await (await cursor.execute(query, parameters)).fetchall()
