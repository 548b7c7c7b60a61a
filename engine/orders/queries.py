"""The fixed SQL about orders, by name; it includes SQL fragments of the queries about runs and steps."""

from __future__ import annotations

from typing import Final

from engine.sql.named_queries import read_named_queries

QUERIES: Final = read_named_queries("engine.orders", "orders.sql", shared=("engine.runs", "runs.sql"))
