"""Measure what a step result takes on disk: itself, its row, ledger entry, lineage and run, with their indexes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import psycopg

from scripts.bench.dataset import Server, fill_step_results, vacuum_database
from scripts.bench.process import build_installed_command, run_measured
from scripts.bench.result import Group, Line
from scripts.bench.text import TABLE

_TABLES = ("step_results", TABLE, "row_changes", "row_lineage", "step_persistence", "pipeline_runs", "pending_results")
_SIZES = """
select pg_relation_size(oid), coalesce(pg_total_relation_size(nullif(reltoastrelid, 0)), 0), pg_indexes_size(oid)
from pg_class where oid = %s::regclass
"""


def measure_sizes(server: Server, counts: Mapping[int, int], report: Callable[[str], None]) -> Group:
    """Backfill a database per size of documents, each with that many step results; report the bytes per row."""
    lines = [line for size, rows in counts.items() for line in _measure_database(server, size, rows, report)]
    return Group(f"sizes on disk after a backfill; {server.name}", lines)


def _measure_database(server: Server, size: int, rows: int, report: Callable[[str], None]) -> list[Line]:
    with server.create_database("sizes") as dsn:
        report(f"sizes: making {rows:,} step results of {size // 1000} KB")
        fill_step_results(dsn, rows, size)
        run_measured(build_installed_command("backfill", TABLE, "--json"), {"DATABASE_URL": dsn})
        vacuum_database(dsn)
        with psycopg.connect(dsn) as connection:
            return [line for table in _TABLES for line in _measure_table(connection, table, size)]


def _measure_table(connection: psycopg.Connection[Any], table: str, size: int) -> list[Line]:
    """Return a line about a table; none if the table is empty."""
    count = connection.execute(f"select count(*) from {table}").fetchone()
    sizes = connection.execute(_SIZES, [table]).fetchone()
    assert count and sizes
    if not count[0]:
        return []
    heap, toast, indexes = (size / count[0] for size in sizes)
    note = f"{count[0]:,} rows; heap {heap:,.0f}, documents {toast:,.0f}, indexes {indexes:,.0f}"
    return [Line(f"{size // 1000} KB: a row of {table}", heap + toast + indexes, "B", note=note)]
