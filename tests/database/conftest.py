"""A database with organisations, runs, step results, and the tables of invented specs.

`upsert_live` writes a row the way the generated blocks do: extract, then upsert, with the time the step was recorded.
`run_backfill` is the bulk path. `read_rows` and `read_ledger` return what tests compare: everything but ids and clocks.
"""

import asyncio
import tempfile
import textwrap
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from engine import plans
from engine.backfill import coverage
from engine.backfill import run as backfill
from engine.backfill.live import LiveUpsert
from engine.embedded_postgres import find_system_binaries, run_server
from engine.plan import Plan
from engine.rows import document
from engine.rows.accounts import Account
from engine.rows.extract import Extraction, extract_rows
from engine.rows.outcomes import Outcome
from engine.sql.step_results import Scope
from engine.store.connection import connect
from engine.tables import draft_migration
from engine.values import exact_json
from tests.conftest import find_memory_folder, load_project_plans
from tests.world import build_payload, insert_organisation, insert_run, insert_step, insert_submission

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
QUOTES = "finance.fetch.quotes"
THINGS = "company.derive.things"


def build_head(table: str, operation: str, key: str) -> str:
    """Return the text of a spec up to its fields; `key` lists its conflict columns beside the organisation."""
    return f"""
spec: 1
name: {table}
title: {table.capitalize()}
operations: [{operation}]
table: {table}
row_name: {table.removesuffix("s")}
conflict: [org_id, {key}]
"""


HEAD = build_head("quotes", QUOTES, "symbol")


def compile_text(text: str) -> Plan:
    """Compile the text of one spec."""
    name = text.split("name: ", 1)[1].split("\n", 1)[0]
    return plans.compile_text(text, f"specs/{name}.yaml")


class Run:
    """A pipeline run of an organisation."""

    def __init__(self, org: str, submission: str, run: str) -> None:
        self.org, self.submission, self.id = org, submission, run


class World:
    """One database, and what the tests do with it."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.db = psycopg.connect(dsn, autocommit=True, row_factory=dict_row)
        self.loop = asyncio.Runner()
        self.own = self.loop.run(connect(dsn))  # for live upserts, repair and coverage
        self.specs = {item.name: item for item in load_project_plans()}
        self.steps: dict[str, tuple[Run, str, datetime, int]] = {}

    def close(self) -> None:
        self.db.close()
        self.loop.run(self.own.close())
        self.loop.close()

    # --- what is in the database before ---

    def add_org(self) -> str:
        return insert_organisation(self.db)

    def add_run(
        self,
        org: str | None = None,
        *,
        status: str = "succeeded",
        parent: Run | None = None,
        submission: str | None = None,
    ) -> Run:
        """Insert a run: of `parent`'s submission, of a new one with the id `submission`, or of a new one."""
        org = org or self.add_org()
        submission = parent.submission if parent else insert_submission(self.db, org, submission)
        run_id = insert_run(self.db, org, submission, status=status, parent_id=parent.id if parent else None)
        return Run(org, submission, run_id)

    def add_step(
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
        """Insert a step result recorded `at` seconds after START. `output` may be JSON text, to keep its numbers."""
        recorded = START + timedelta(seconds=at)
        position = sum(known[0].id == run.id for known in self.steps.values()) + 1
        text = build_payload(operation, output, context=context, status=found)
        step = insert_step(
            self.db,
            run.id,
            position=position,
            status=status,
            payload=text,
            finished_at=recorded,
            org_id=org or run.org,
        )
        self.steps[step] = (run, text, recorded, position)
        return step

    def create_table(self, plan_: Plan) -> None:
        """Create the table of an invented spec: what `dex draft-migration` writes."""
        self.db.execute(draft_migration.build_create_migration(plan_))

    def compile_plan(self, fields: str, head: str = HEAD, **more: str) -> Plan:
        """Compile an invented spec."""
        extra = "".join(f"{key}: {value}\n" for key, value in more.items())
        return compile_text(
            head.lstrip() + extra + "fields:\n" + textwrap.indent(textwrap.dedent(fields).strip(), "  ")
        )

    def create_spec(self, fields: str, head: str = HEAD, **more: str) -> Plan:
        """Compile an invented spec and create its table."""
        made = self.compile_plan(fields, head, **more)
        self.create_table(made)
        return made

    # --- what the tests call ---

    def build_document(self, step: str) -> dict[str, Any]:
        run, text, _, position = self.steps[step]
        of = document.Run(org_id=run.org, submission_id=run.submission, pipeline_run_id=run.id, step_position=position)
        return document.build_from_payload(exact_json.convert_to_stored(exact_json.loads(text)), of)

    def extract_step(self, plan_: Plan, step: str) -> Extraction:
        whole = self.build_document(step)
        return extract_rows(plan_, whole["operation"]["id"], whole)

    def upsert_live(self, plan_: Plan, step: str) -> list[str]:
        """Upsert the rows of a step result one after the other; return the outcomes."""
        run, _, recorded, _ = self.steps[step]
        sources = {
            "source_submission_id": run.submission,
            "source_pipeline_run_id": run.id,
            "source_step_result_id": step,
            "source_recorded_at": recorded,
        }
        rows = [{**row, **sources} for row in self.extract_step(plan_, step).rows]
        return [stored.outcome for stored in self.upsert_rows(plan_, run.org, *rows)]

    def upsert_rows(self, plan_: Plan, org: str, *rows: dict[str, Any]) -> list[Any]:
        if not rows:
            return []
        return self.loop.run(LiveUpsert.build(plan_).write_rows(self.own, org, rows, all_or_none=True)).rows

    def run_backfill(self, plan_: Plan, *, all: bool = False, batch_size: int = 500, **scope: Any) -> Account:
        found = backfill.run_backfill(self.dsn, plan_, Scope(all=all, **scope), batch_size=batch_size)
        return self.loop.run(found).account

    def repair_run(self, run: Run, *plans: Plan) -> list[Account]:
        return self.loop.run(backfill.repair_run(self.own, plans, run.id))

    # --- what is in the database afterwards ---

    def read_rows(self, plan_: Plan) -> list[dict[str, Any]]:
        """Return every row, documents as the text in Postgres, without `id`, `created_at` and `updated_at`."""
        wanted = ", ".join(
            f'"{item.name}"::text' if item.type.name == "jsonb" else f'"{item.name}"' for item in plan_.fields
        )
        sources = (
            "source_submission_id::text, source_pipeline_run_id::text, source_step_result_id::text, source_recorded_at"
        )
        key = ", ".join(f'"{name}"' for name in plan_.conflict)
        query = f'select org_id::text, {wanted}, {sources} from "{plan_.table}" order by {key}'
        return self.db.execute(query).fetchall()

    def read_ledger(self, plan_: Plan) -> dict[str, dict[str, Any]]:
        """Return the outcome of each step result, by its id."""
        found = self.db.execute(
            "select step_result_id::text, outcome, element_count, row_count, duplicate_count, refused_count, reasons,"
            " org_id::text"
            " from step_persistence where spec = %s and spec_digest = %s",
            [plan_.name, plan_.digest],
        )
        return {row.pop("step_result_id"): row for row in found}

    def read_outcomes(self, plan_: Plan, *steps: str) -> list[str]:
        known = self.read_ledger(plan_)
        return [known[step]["outcome"] if step in known else "pending" for step in steps]

    def read_accounts(self, *plans: Plan) -> list[dict[str, Any]]:
        """Return the account per spec and organisation, after checking that it closes."""
        found = self.loop.run(coverage.fetch_coverage(self.own, plans))
        for words in found:
            parts = sum(words[name] for name in (*Outcome, "pending"))
            assert words["found"] == parts and words["pending"] >= 0, words
        return found

    def count_writes(self, plan_: Plan) -> tuple[int, int, int]:
        """Return the tuples inserted, updated and deleted so far in the plan's table, as Postgres counts them.

        A session adds its writes to the count once a second, when the flush is forced, and when it ends, which is some
        time after its client has gone on.
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

    def delete_rows(self, plan_: Plan) -> None:
        """Empty the plan's table and its part of the ledger."""
        self.db.execute(f'delete from "{plan_.table}"')
        self.db.execute("delete from step_persistence where spec = %s", [plan_.name])


@pytest.fixture
def new_server(pytestconfig: pytest.Config) -> Iterator[str]:
    """The URL of a server on which nothing was ever migrated."""
    folder = Path(tempfile.mkdtemp(prefix="dex-server-", dir=find_memory_folder()))
    folder.chmod(0o711)
    binaries = find_system_binaries(15) if pytestconfig.getoption("--postgres") == "system15" else None
    with run_server(folder, binaries=binaries, durable=False, temporary=True) as dsn:
        yield dsn


@pytest.fixture
def world(database: str) -> Iterator[World]:
    made = World(database)
    yield made
    made.close()
