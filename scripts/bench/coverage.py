"""The accounts of many step results.

In: a server and a number of step results. Out: a Group. Payloads are as small as they can be: none of them is read.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import psycopg

from engine import plans as load
from engine import project
from scripts.bench.dataset import ORGS, Server, people, settle
from scripts.bench.process import dex, run
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
#: Of ten step results one is pending, one rejected, one unchanged; the others are written.
_LEDGER = """
insert into step_persistence (step_result_id, spec, spec_digest, org_id, outcome, row_count)
select id, %(spec)s, %(digest)s, org_id,
    case step_position %% 10 when 1 then 'rejected' when 2 then 'unchanged' else 'written' end, 1
from step_results where operation_id = %(operation)s and step_position %% 10 <> 0
"""


def measure(server: Server, rows: int, rounds: int, say: Callable[[str], None]) -> Group:
    """Ask `dex coverage` for the accounts of every spec and organisation."""
    plans = load.load(project.find())
    with server.database("coverage") as dsn:
        say(f"coverage: making {rows:,} step results")
        with psycopg.connect(dsn) as connection:
            people(connection, range(_RUNS))
            operations = [plan.operations[0] for plan in plans]
            connection.execute(_STEPS, {"operations": operations, "each": rows // _RUNS})
            for plan in plans:
                words = {"spec": plan.name, "digest": plan.digest, "operation": plan.operations[0]}
                connection.execute(_LEDGER, words)
        settle(dsn)
        environment = {"DATABASE_URL": dsn}
        whole = [run(dex("coverage", "--json"), environment) for _ in range(rounds)]
        start = median(run(dex("coverage", "--help"), environment, reads=False).wall for _ in range(rounds))
    found = sum(account["found"] for account in whole[0].words)
    seconds = median(done.wall for done in whole)
    title = (
        f"coverage: {found:,} step results, {len(plans)} specs, {ORGS} organisations; {server.name}; median of {rounds}"
    )
    return Group(
        title,
        [Line("all accounts", seconds - start, "s", most=2), Line("the process, its start included", seconds, "s")],
    )
