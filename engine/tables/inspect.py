"""Read tables from a live database and compare them with plans; change nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from psycopg import errors

from engine.plan import Plan
from engine.sql.existing_rows import build_missing_values_sql
from engine.sql.identifiers import quote_table
from engine.sql.search import SELECT_STORED_WORDS
from engine.sql.tenant import TENANT_ROLE
from engine.store.connection import Connection, fetch_records, fetch_value
from engine.store.errors import wrap_errors
from engine.tables import catalog
from engine.tables.catalog import ColumnRow, IndexRow, PolicyRow, Table, TableRow, TypeRow
from engine.tables.compare import compare_reading, compare_table, list_required_columns, report_missing_values
from engine.tables.compare_indexes import compare_old_key, compare_superfluous
from engine.tables.differences import Difference, report_missing_table
from engine.tables.hints import add_rebuild_advice, check_hints
from engine.values.column_types import TYPES

#: The number up to which rows of a former key are counted: one is as wrong as a million.
_MOST_COUNTED_ROWS = 1000


async def find_differences(connection: Connection, plans: Iterable[Plan], *, reading: bool = False) -> list[Difference]:
    """Return the differences between each plan and its table, in the order of plans and codes.

    With `reading`, also what the endpoints that read need: indexes for queries, and triggers that record changes.
    """
    differences: list[Difference] = []
    for plan in plans:
        table = await read_table(connection, plan.table)
        if table is None:
            differences.append(report_missing_table(plan.name, plan.table))
            continue
        of_plan = compare_table(plan, table)
        if reading:
            of_plan += [*compare_reading(plan, table), *compare_old_key(plan, table), *compare_superfluous(plan, table)]
            of_plan += await _find_missing_values(connection, plan, table)
            of_plan = await check_hints(connection, plan, table, of_plan)
        else:
            of_plan = [add_rebuild_advice(plan, difference) for difference in of_plan]
        differences += sorted(of_plan)
    return differences


async def _find_missing_values(connection: Connection, plan: Plan, table: Table) -> list[Difference]:
    """Count the rows that lack a required value, up to a limit."""
    columns = list_required_columns(plan, table)
    if not columns:
        return []
    async with wrap_errors():
        sql = build_missing_values_sql(plan.table, columns)
        count = await fetch_value(connection, sql, {"limit": _MOST_COUNTED_ROWS + 1})
    if not count:
        return []
    return [report_missing_values(plan, columns, min(count, _MOST_COUNTED_ROWS), is_more=count > _MOST_COUNTED_ROWS)]


async def read_table(connection: Connection, name: str) -> Table | None:
    """Return a table as the catalog describes it; None if it does not exist.

    It is read again if another table has got its name meanwhile, as at the swap of a rebuild: what was read of the
    former one may lack anything.
    """
    named = {"table": quote_table(name), "role": TENANT_ROLE}
    oid = None
    async with wrap_errors():
        while True:
            rows = await fetch_records(connection, TableRow, catalog.SELECT_TABLE, named)
            if not rows:
                return None
            try:
                table = await _read_parts(connection, rows[0], named)
            except errors.InternalError_:  # some of Postgres's functions say so of a table that is gone
                if rows[0].oid == oid:
                    raise
                table = None
            oid = await fetch_value(connection, catalog.SELECT_OID, named)
            if table is not None and oid == rows[0].oid:
                return table


async def _read_parts(connection: Connection, row: TableRow, named: Mapping[str, str]) -> Table:
    parameters = {"oid": row.oid, "role": TENANT_ROLE, "names": [type_.sql for type_ in TYPES.values()]}
    columns = await fetch_records(connection, ColumnRow, catalog.SELECT_COLUMNS, parameters)
    types = await fetch_records(connection, TypeRow, catalog.SELECT_TYPES, parameters)
    return Table(
        row=row,
        stored_words=await fetch_value(connection, SELECT_STORED_WORDS, named),
        columns={column.name: column for column in columns},
        indexes=await fetch_records(connection, IndexRow, catalog.SELECT_INDEXES, parameters),
        policies=await fetch_records(connection, PolicyRow, catalog.SELECT_POLICIES, parameters),
        types={row.name: row.type for row in types},
    )
