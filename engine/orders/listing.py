"""Lists of orders and sums of their costs, as JSON texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from engine.orders.queries import QUERIES
from engine.runs.errors import RecordNotFound
from engine.store.connection import Connection, fetch_rows, fetch_value
from engine.store.errors import wrap_errors
from engine.store.tenant import open_tenant_transaction

MAX_ORDERS: Final = 1000
#: The regular expression of a month.
MONTH: Final = "[0-9]{4}-(0[1-9]|1[0-2])"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFilter:
    """Which orders to list, newest first. Each field is a parameter of the query `list_orders`."""

    org_id: str | None = None
    status: str | None = None
    operation: str | None = None
    limit: int = 100
    offset: int = 0


async def list_orders(connection: Connection, wanted: OrderFilter, *, as_tenant: bool = False) -> list[str]:
    """Return orders as JSON texts, newest first.

    With `as_tenant`, row level security limits them to `wanted.org_id`.
    """
    return await _fetch_texts(connection, "list_orders", asdict(wanted), wanted.org_id if as_tenant else None)


async def sum_costs(
    connection: Connection, org_id: str | None, *, month: str | None, as_tenant: bool = False
) -> list[str]:
    """Return the costs by organisation, operation and month (UTC, `2026-11`) as JSON texts."""
    parameters = {"org_id": org_id, "month": month}
    return await _fetch_texts(connection, "sum_costs", parameters, org_id if as_tenant else None)


async def show_run(connection: Connection, run_id: str) -> str:
    """Return a run with its steps and their orders as JSON text. Raises RecordNotFound when there is no such run."""
    async with wrap_errors():
        text = await fetch_value(connection, QUERIES["show_run"], {"pipeline_run_id": run_id})
    if text is None:
        raise RecordNotFound("Pipeline run not found", hint="`dex runs list` lists the runs")
    return str(text)


async def _fetch_texts(
    connection: Connection, query: str, parameters: Mapping[str, Any], tenant: str | None
) -> list[str]:
    async with wrap_errors():
        if tenant is None:
            rows = await fetch_rows(connection, QUERIES[query], parameters)
        else:
            async with open_tenant_transaction(connection, tenant) as cursor:
                await cursor.execute(QUERIES[query], parameters)
                rows = await cursor.fetchall()
    return [row[0] for row in rows]
