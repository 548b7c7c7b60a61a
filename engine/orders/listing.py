"""Lists of orders and sums of what they cost, as JSON texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from engine.sql.named_queries import read_named_queries
from engine.store.connection import Connection
from engine.store.errors import wrap_errors
from engine.store.tenant import open_tenant_transaction

QUERIES: Final = read_named_queries("engine.orders", "orders.sql")
MAX_ORDERS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFilter:
    """Which orders to list, newest first. Each field is a parameter of the query `list_orders`."""

    org_id: str | None = None
    status: str | None = None
    operation: str | None = None
    limit: int = 100
    offset: int = 0


async def list_orders(connection: Connection, wanted: OrderFilter, *, as_tenant: bool = False) -> list[str]:
    """Return orders as JSON texts, newest first; as the tenant `wanted.org_id`, or as the connected user."""
    return await _fetch_texts(connection, "list_orders", asdict(wanted), wanted.org_id if as_tenant else None)


async def sum_costs(
    connection: Connection, org_id: str | None, *, month: str | None = None, as_tenant: bool = False
) -> list[str]:
    """Return what was spent by organisation, operation and month (UTC, `2026-11`), as JSON texts."""
    parameters = {"org_id": org_id, "month": month}
    return await _fetch_texts(connection, "sum_costs", parameters, org_id if as_tenant else None)


async def _fetch_texts(
    connection: Connection, query: str, parameters: Mapping[str, Any], tenant: str | None
) -> list[str]:
    async with wrap_errors():
        if tenant is None:
            rows = await (await connection.execute(QUERIES[query], parameters)).fetchall()
        else:
            async with open_tenant_transaction(connection, tenant) as cursor:
                await cursor.execute(QUERIES[query], parameters)
                rows = await cursor.fetchall()
    return [row[0] for row in rows]
