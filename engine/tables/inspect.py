"""Whether plans fit the tables of a live database.

In: plans and a connection. Out: every Problem, with the SQL that mends it. It must not know what makes a table fit, and
it changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import dict_row

from engine.plan import Plan
from engine.sql import tenant
from engine.sql.identifiers import quote
from engine.store.errors import wrap
from engine.tables import catalog, compare
from engine.tables.catalog import Existing
from engine.tables.compare import Problem, Table
from engine.values.column_types import TYPES

Rows = AsyncCursor[dict[str, Any]]


async def inspect(connection: AsyncConnection[Any], plans: Iterable[Plan]) -> list[Problem]:
    """Return what keeps each plan from its table, in the order of specs and codes. Raises StoreUnavailable."""
    found: list[Problem] = []
    async with wrap(), connection.cursor(row_factory=dict_row) as cursor:
        for plan in plans:
            table = await _read(cursor, plan)
            found += compare.problems(table) if table else [compare.no_table(plan)]
    return found


async def existing(connection: AsyncConnection[Any], table: str) -> Existing | None:
    """Return what a table has; None when there is no such table. Raises StoreUnavailable."""
    async with wrap(), connection.cursor(row_factory=dict_row) as cursor:
        facts = await _facts(cursor, table)
        if facts is None:
            return None
        columns = await _all(cursor, catalog.COLUMNS, {"oid": facts["oid"]})
        indexes = await _all(cursor, catalog.INDEXES, {"oid": facts["oid"]})
    return Existing(
        {row["name"]: row["type"] for row in columns},
        tuple(tuple(row["columns"]) for row in indexes if row["valid"] and not row["partial"]),
    )


async def _read(cursor: Rows, plan: Plan) -> Table | None:
    facts = await _facts(cursor, plan.table)
    if facts is None:
        return None
    asked = {"oid": facts["oid"], "role": tenant.TENANT_ROLE}
    columns = await _all(cursor, catalog.COLUMNS, asked)
    indexes = [row for row in await _all(cursor, catalog.INDEXES, asked) if row["unique"]]
    policies = await _all(cursor, catalog.POLICIES, asked)
    types = {kind.sql: await _catalog_type(cursor, kind.sql) for kind in TYPES.values()}
    return Table(plan, facts, {row["name"]: row for row in columns}, indexes, policies, types)


async def _facts(cursor: Rows, table: str) -> dict[str, Any] | None:
    await cursor.execute(catalog.TABLE, {"table": quote(table), "role": tenant.TENANT_ROLE})
    return await cursor.fetchone()


async def _all(cursor: Rows, text: str, asked: dict[str, Any]) -> list[dict[str, Any]]:
    await cursor.execute(text, asked)
    return await cursor.fetchall()


async def _catalog_type(cursor: Rows, name: str) -> str:
    await cursor.execute(catalog.TYPE, {"name": name})
    row = await cursor.fetchone()
    assert row is not None
    return str(row["type"])
