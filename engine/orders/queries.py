"""The fixed SQL of orders by name. It shares the fields of runs and steps with the queries about those."""

from __future__ import annotations

from typing import Final

from engine.sql.named_queries import read_named_queries

QUERIES: Final = read_named_queries("engine.orders", "orders.sql", shared=("engine.runs", "runs.sql"))
