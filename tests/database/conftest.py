"""A small world in a database: organisations, runs, step results, and the tables of synthetic specs.

`live` writes a row the way the generated blocks do: extract, then the upsert, with the time the step was recorded.
`backfill` is the bulk path. `rows` and `ledger` are what tests compare: everything but ids and clocks.
"""

import asyncio
import json
import textwrap
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from engine import plan
from engine import plans as load
from engine.backfill import coverage
from engine.backfill import run as backfill
from engine.plan import Plan
from engine.project import Project
from engine.rows import document
from engine.rows.accounts import Account
from engine.rows.extract import Extraction, extract
from engine.spec import yaml_source
from engine.spec.checks import check
from engine.sql.step_results import Scope
from engine.store.connection import connect
from engine.store.upsert import Stored, Upsert
from engine.tables import draft_migration
from engine.values import exact_json

ROOT = Path(__file__).resolve().parents[2]
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HEAD = """
spec: 1
name: quotes
title: Quotes
operations: [finance.fetch.quotes]
table: quotes
row_name: quote
conflict: [org_id, symbol]
"""


def compiled(text: str) -> Plan:
    """The plan of one spec."""
    name = text.split("name: ", 1)[1].split("\n", 1)[0]
    checked = check([yaml_source.parse(text, f"specs/{name}.yaml")])
    assert not checked.diagnostics, "\n".join(map(str, checked.diagnostics))
    return plan.compile(checked.specs[0][1], f"{name}.yaml")


class Run:
    """A pipeline run of an organisation."""

    def __init__(self, org: str, submission: str, run: str) -> None:
        self.org, self.submission, self.id = org, submission, run


class World:
    """One database, spoken to from outside."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.db = psycopg.connect(dsn, autocommit=True, row_factory=dict_row)
        self.loop = asyncio.Runner()
        self.own = self.loop.run(connect(dsn))  # for live upserts, repair and coverage
        self.specs = {item.name: item for item in load.load(Project(ROOT))}
        self.steps: dict[str, tuple[Run, str, datetime, int]] = {}

    def close(self) -> None:
        self.db.close()
        self.loop.run(self.own.close())
        self.loop.close()

    # --- what there is ---

    def org(self) -> str:
        org = str(uuid.uuid4())
        self.db.execute("insert into orgs (id, name, slug) values (%s, 'Acme', %s)", [org, org])
        return org

    def run(self, org: str | None = None, *, status: str = "succeeded", parent: Run | None = None) -> Run:
        org = org or self.org()
        submission = parent.submission if parent else str(uuid.uuid4())
        run = Run(org, submission, str(uuid.uuid4()))
        if not parent:
            values = [submission, org]
            self.db.execute(
                "insert into submissions (id, org_id, input_payload, status) values (%s, %s, '{}', 'completed')", values
            )
        self.db.execute(
            "insert into pipeline_runs (id, org_id, submission_id, status, parent_pipeline_run_id)"
            " values (%s, %s, %s, %s, %s)",
            [run.id, org, submission, status, parent and parent.id],
        )
        return run

    def step(
        self,
        run: Run,
        operation: str,
        output: Any,
        *,
        at: float = 0,
        context: Any = None,
        status: str = "succeeded",
        found: str = "found",
        org: str | None = None,
    ) -> str:
        """Record a step result `at` seconds after START. `output` may be JSON text, to keep its numbers."""
        step, recorded = str(uuid.uuid4()), START + timedelta(seconds=at)
        position = sum(known[0].id == run.id for known in self.steps.values()) + 1
        text = output if isinstance(output, str) else json.dumps(output)
        context = {} if context is None else context
        text = (
            f'{{"operation_result": {{"operation_id": {json.dumps(operation)}, "status": "{found}", "output": {text}}},'
            f' "cumulative_context": {context if isinstance(context, str) else json.dumps(context)}}}'
        )
        self.db.execute(
            "insert into step_results (id, org_id, submission_id, pipeline_run_id, step_position, status,"
            " output_payload, finished_at) values (%s, %s, %s, %s, %s, %s, %s, %s)",
            [step, org or run.org, run.submission, run.id, position, status, text, recorded],
        )
        self.steps[step] = (run, text, recorded, position)
        return step

    def table(self, plan_: Plan) -> None:
        """Make the table of a synthetic spec: what `dex draft-migration` writes."""
        self.db.execute(draft_migration.create(plan_))

    def plan(self, fields: str, head: str = HEAD, **more: str) -> Plan:
        """A synthetic plan."""
        extra = "".join(f"{key}: {value}\n" for key, value in more.items())
        return compiled(head.lstrip() + extra + "fields:\n" + textwrap.indent(textwrap.dedent(fields).strip(), "  "))

    def spec(self, fields: str, head: str = HEAD, **more: str) -> Plan:
        """A synthetic plan with its table."""
        made = self.plan(fields, head, **more)
        self.table(made)
        return made

    # --- what is done ---

    def document(self, step: str) -> dict[str, Any]:
        run, text, _, position = self.steps[step]
        of = document.Run(org_id=run.org, submission_id=run.submission, pipeline_run_id=run.id, step_position=position)
        return document.from_payload(exact_json.as_stored(exact_json.loads(text)), of)

    def extracted(self, plan_: Plan, step: str) -> Extraction:
        whole = self.document(step)
        return extract(plan_, whole["operation"]["id"], whole)

    def live(self, plan_: Plan, step: str) -> list[str]:
        """Upsert the rows of a step result one after the other; the outcomes."""
        run, _, recorded, _ = self.steps[step]
        sources = {
            "source_submission_id": run.submission,
            "source_pipeline_run_id": run.id,
            "source_recorded_at": recorded,
        }
        rows = [{**row, **sources} for row in self.extracted(plan_, step).rows]
        return [stored.outcome for stored in self.upsert(plan_, run.org, *rows)]

    def upsert(self, plan_: Plan, org: str, *rows: dict[str, Any]) -> list[Stored]:
        return self.loop.run(Upsert.of(plan_).run(self.own, org, rows))

    def backfill(self, plan_: Plan, *, all: bool = False, batch_size: int = 500, **scope: Any) -> Account:
        found = backfill.run(self.dsn, plan_, Scope(all=all, **scope), batch_size=batch_size)
        return self.loop.run(found).account

    def repair(self, run: Run, *plans: Plan) -> list[Account]:
        return self.loop.run(backfill.repair(self.own, plans, run.id))

    # --- what is there now ---

    def rows(self, plan_: Plan) -> list[dict[str, Any]]:
        """Every row, documents as the text Postgres holds; without id and the two clocks."""
        wanted = ", ".join(
            f'"{item.name}"::text' if item.type.name == "jsonb" else f'"{item.name}"' for item in plan_.fields
        )
        sources = "source_submission_id::text, source_pipeline_run_id::text, source_recorded_at"
        key = ", ".join(f'"{name}"' for name in plan_.conflict)
        query = f'select org_id::text, {wanted}, {sources} from "{plan_.table}" order by {key}'
        return self.db.execute(query).fetchall()

    def ledger(self, plan_: Plan) -> dict[str, dict[str, Any]]:
        """What the ledger says of each step result."""
        found = self.db.execute(
            "select step_result_id::text, outcome, element_count, row_count, reasons, org_id::text"
            " from step_persistence where spec = %s and spec_digest = %s",
            [plan_.name, plan_.digest],
        )
        return {row.pop("step_result_id"): row for row in found}

    def outcomes(self, plan_: Plan, *steps: str) -> list[str]:
        known = self.ledger(plan_)
        return [known[step]["outcome"] if step in known else "pending" for step in steps]

    def accounts(self, *plans: Plan) -> list[dict[str, Any]]:
        """The identity per spec and organisation, which must close."""
        found = self.loop.run(coverage.fetch(self.own, plans))
        for words in found:
            parts = sum(words[name] for name in (*coverage.OUTCOMES, "pending"))
            assert words["found"] == parts and words["pending"] >= 0, words
        return found

    def writes(self, plan_: Plan) -> tuple[int, int, int]:
        """Tuples inserted, updated and deleted so far in the plan's table, as Postgres counts them.

        A session adds what it did to the count once a second, when it is told to, and when it ends: some time after its
        client has gone on.
        """
        self.loop.run(self.own.execute("select pg_stat_force_next_flush()"))
        others = (
            "select count(*) as others from pg_stat_activity where datname = current_database()"
            " and backend_type = 'client backend' and pid not in (pg_backend_pid(), %s)"
        )
        deadline = time.monotonic() + 60
        while self.db.execute(others, [self.own.info.backend_pid]).fetchone()["others"]:
            assert time.monotonic() < deadline, "somebody is still connected"
            time.sleep(0.01)
        self.db.execute("select pg_stat_clear_snapshot()")
        query = "select n_tup_ins, n_tup_upd, n_tup_del from pg_stat_user_tables where relname = %s"
        found = self.db.execute(query, [plan_.table]).fetchone()
        assert found is not None
        return found["n_tup_ins"], found["n_tup_upd"], found["n_tup_del"]

    def forget(self, plan_: Plan) -> None:
        """Empty the plan's table and its part of the ledger."""
        self.db.execute(f'delete from "{plan_.table}"')
        self.db.execute("delete from step_persistence where spec = %s", [plan_.name])


@pytest.fixture
def world(database: str) -> Iterator[World]:
    made = World(database)
    yield made
    made.close()
