"""Benchmark of `dex coverage` over many step results, with small payloads, since it does not read them."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import psycopg

from engine.plans import load_plans
from engine.project import find_project
from scripts.bench.dataset import ORGS, Server, insert_runs, vacuum_database
from scripts.bench.process import build_installed_command, run_measured
from scripts.bench.result import Group, Line

_RUNS = 400
_STEPS = """
insert into step_results (org_id, submission_id, pipeline_run_id, step_position, status, finished_at, output_payload)
select r.org_id, r.submission_id, r.id, place, 'succeeded', timestamptz '2026-01-01' + place * interval '1 second',
    jsonb_build_object('operation_result', jsonb_build_object(
        'operation_id', (%(operations)s::text[])[1 + place %% cardinality(%(operations)s::text[])], 'status', 'found'
    ))
from (select * from pipeline_runs order by id) as r, generate_series(1, %(each)s) as place
"""
#: Of ten step results, one is pending, one rejected, one unchanged, and the others are written.
_LEDGER = """
insert into step_persistence
    (step_result_id, spec, spec_digest, org_id, outcome, element_count, row_count, refused_count)
select id, %(spec)s, %(digest)s, org_id,
    case step_position %% 10 when 1 then 'rejected' when 2 then 'unchanged' else 'written' end,
    1, (step_position %% 10 <> 1)::int, (step_position %% 10 = 1)::int
from step_results where operation_id = %(operation)s and step_position %% 10 <> 0
"""


def measure_coverage(server: Server, rows: int, rounds: int, report: Callable[[str], None]) -> Group:
    """Measure `dex coverage` over every spec and organisation; return the times."""
    plans = load_plans(find_project())
    with server.create_database("coverage") as dsn:
        report(f"coverage: making {rows:,} step results")
        with psycopg.connect(dsn) as connection:
            insert_runs(connection, range(_RUNS))
            operations = [plan.operations[0] for plan in plans]
            connection.execute(_STEPS, {"operations": operations, "each": rows // _RUNS})
            for plan in plans:
                parameters = {"spec": plan.name, "digest": plan.digest, "operation": plan.operations[0]}
                connection.execute(_LEDGER, parameters)
        vacuum_database(dsn)
        environment = {"DATABASE_URL": dsn}
        command, bare = build_installed_command("coverage", "--json"), build_installed_command("coverage", "--help")
        runs = [run_measured(command, environment) for _ in range(rounds)]
        start = median(run_measured(bare, environment, prints_json=False).wall for _ in range(rounds))
    count = sum(account["found"] for account in runs[0].report)
    seconds = median(run.wall for run in runs)
    title = (
        f"coverage: {count:,} step results, {len(plans)} specs, {ORGS} organisations; {server.name}; median of {rounds}"
    )
    return Group(
        title,
        [Line("all accounts", seconds - start, "s", most=2), Line("the process, its start included", seconds, "s")],
    )
