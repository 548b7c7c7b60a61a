"""The fixed SQL about orders, by name; it includes SQL fragments of the queries about runs and steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from engine.sql.named_queries import read_named_queries
from engine.store.connection import Connection

QUERIES: Final = read_named_queries("engine.orders", "orders.sql", shared=("engine.runs", "runs.sql"))


async def fetch_row(connection: Connection, query: str, parameters: Mapping[str, Any]) -> Any:
    """Run a query by its name, and return its first row; None where there is none. Raises psycopg's errors."""
    return await (await connection.execute(QUERIES[query], parameters)).fetchone()
