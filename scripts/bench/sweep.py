"""Measure what a sweep costs the database: with nothing pending, and `--all` over unchanged step results."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from engine.backfill.run import run_backfill
from engine.backfill.versions import register_versions
from engine.plan import Plan
from engine.plans import find_plan, load_plans
from engine.project import find_project
from engine.sql import coverage, step_results
from engine.sql.identifiers import Statement
from engine.sql.step_results import Scope
from engine.store.connection import connect
from scripts.bench.dataset import Server, fill_step_results, insert_runs, vacuum_database
from scripts.bench.result import Group, Line

_SPEC = "company_intel_briefings"
_DOCUMENT_SIZE = 20_000
_RUNS = 400
#: Step results without documents, since a sweep does not read them.
_STEPS = """
insert into step_results (org_id, submission_id, pipeline_run_id, step_position, status, finished_at, output_payload)
select r.org_id, r.submission_id, r.id, place, 'succeeded', timestamptz '2026-01-01' + place * interval '1 second',
    jsonb_build_object('operation_result', jsonb_build_object('operation_id', %(operation)s::text, 'status', 'found'))
from (select * from pipeline_runs order by id) as r, generate_series(1, %(each)s) as place
"""
_LEDGER = """
insert into step_persistence (step_result_id, spec, spec_digest, org_id, outcome, element_count, row_count)
select id, %(spec)s, %(digest)s, org_id, 'written', 1, 1 from step_results
"""


@dataclass(slots=True)
class Cost:
    """What the server reports for a statement: milliseconds, and how many blocks of 8 KB it accessed."""

    milliseconds: float
    blocks: int


def measure_sweeps(server: Server, many: int, rows: int, report: Callable[[str], None]) -> Iterator[Group]:
    """Measure a sweep over `many` step results, none of them pending, and a backfill of `rows` unchanged ones."""
    plan = find_plan(load_plans(find_project()), _SPEC)
    with server.create_database("sweep") as dsn:
        report(f"sweep: making {many:,} step results")
        with psycopg.connect(dsn) as connection:
            insert_runs(connection, range(_RUNS))
            connection.execute(_STEPS, {"operation": plan.operations[0], "each": many // _RUNS})
            connection.execute(_LEDGER, {"spec": plan.name, "digest": plan.digest})
        asyncio.run(_register_version(dsn, plan))
        vacuum_database(dsn)
        yield _measure_idle(server, dsn, plan, many)
    with server.create_database("wal") as dsn:
        report(f"sweep: making {rows:,} step results of 20 KB")
        fill_step_results(dsn, rows, _DOCUMENT_SIZE)
        yield _measure_unchanged(server, dsn, plan, rows)


async def _register_version(dsn: str, plan: Plan) -> None:
    async with await connect(dsn) as connection:
        await register_versions(connection, [plan])


def _measure_idle(server: Server, dsn: str, plan: Plan, many: int) -> Group:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("select id::text from orgs order by id limit 1").fetchone()
        org = row[0] if row else ""
        history = explain_statement(connection, step_results.build_count_statement(plan, Scope()))
        queue = explain_statement(connection, step_results.build_count_statement(plan, Scope(queued=True)))
        every = explain_statement(connection, coverage.build_outcome_counts_statement([plan], None))
        one = explain_statement(connection, coverage.build_outcome_counts_statement([plan], [org]))
        listed = coverage.build_results_by_outcome_statement(plan, "pending", None, 100, queued=True)
        pending = explain_statement(connection, listed)
    lines = [
        Line("what is pending, as the history says", history.milliseconds, "ms", note=f"{history.blocks:,} blocks"),
        Line("what is pending, as a sweep asks", queue.milliseconds, "ms", most=50, note=f"{queue.blocks:,} blocks"),
        Line("which are pending", pending.milliseconds, "ms", most=50, note=f"{pending.blocks:,} blocks"),
        Line("coverage of all organisations", every.milliseconds, "ms", note=f"{every.blocks:,} blocks"),
        Line("coverage of one organisation", one.milliseconds, "ms", note=f"{one.blocks:,} blocks"),
    ]
    return Group(f"sweep: {many:,} step results, nothing pending; {server.name}", lines)


def explain_statement(connection: psycopg.Connection[Any], statement: Statement) -> Cost:
    """Execute a statement three times, and return what the server reports for the last one."""
    row: Any = None
    for _ in range(3):
        text = f"explain (analyze, buffers, format json) {statement.text}"
        row = connection.execute(text.encode(), statement.parameters, prepare=False).fetchone()
    plan = row[0][0]
    blocks = plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]
    return Cost(plan["Planning Time"] + plan["Execution Time"], blocks)


def _measure_unchanged(server: Server, dsn: str, plan: Plan, rows: int) -> Group:
    with psycopg.connect(dsn, autocommit=True) as connection:
        written, _ = _count_wal(connection, dsn, plan, Scope())
        vacuum_database(dsn)
        row = connection.execute(
            "select pg_total_relation_size('step_persistence')::float8 / count(*) from step_persistence"
        ).fetchone()
        size = row[0] if row else 0
        unchanged, longest = _count_wal(connection, dsn, plan, Scope(all=True))
    lines = [
        Line("the first run: WAL per step result", written / rows, "bytes"),
        Line("`--all` over unchanged ones: WAL per step result", unchanged / rows, "bytes"),
        Line("the same, against the first run", 100 * unchanged / written, "%", most=5),
        Line("longest transaction of it", longest, "s", most=10),
        Line("a ledger entry, its indexes included", size, "bytes", most=132),
    ]
    return Group(f"sweep: {rows:,} step results of 20 KB; {server.name}", lines)


def _count_wal(connection: psycopg.Connection[Any], dsn: str, plan: Plan, scope: Scope) -> tuple[float, float]:
    """Backfill; return the bytes of WAL it wrote, and the seconds of its longest transaction."""
    before = _read_position(connection)
    with _watch_transactions(dsn) as ages:
        account = asyncio.run(run_backfill(dsn, plan, scope)).account
    if account.pending:
        raise SystemExit(f"{account.pending} step results are still pending")
    return _read_position(connection) - before, max(ages)


def _read_position(connection: psycopg.Connection[Any]) -> float:
    row = connection.execute("select (pg_current_wal_lsn() - '0/0'::pg_lsn)::float8").fetchone()
    return float(row[0]) if row else 0.0


@contextmanager
def _watch_transactions(dsn: str) -> Iterator[list[float]]:
    """Record, every twentieth of a second, how old the oldest transaction of other sessions is."""
    ages, stop = [0.0], threading.Event()

    def watch() -> None:
        query = (
            "select coalesce(extract(epoch from max(clock_timestamp() - xact_start)), 0)::float8 from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'"
        )
        with psycopg.connect(dsn, autocommit=True) as connection:
            while not stop.is_set():
                row = connection.execute(query).fetchone()
                ages.append(row[0] if row else 0.0)
                time.sleep(0.05)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield ages
    finally:
        stop.set()
        thread.join()
