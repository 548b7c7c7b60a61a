"""The data that the pages are tried on, and drawn with: the demo's, and around it what did not go so well."""

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from engine.backfill.run import run_backfill
from engine.plans import load_plans
from engine.project import find_project
from engine.sql.step_results import Scope
from tests.conftest import ROOT
from tests.world import Connection, build_payload, insert_run, insert_step, insert_submission

BRIEFING = "company.derive.intel_briefing"
TITLES = "company.derive.icp_job_titles"
#: Of the other organisation: nobody else may ever read this word.
SECRET = "zanzibar-holdings"


@dataclass(frozen=True)
class Example:
    """The organisations of the example: the demo's, and one that has nothing to do with it."""

    demo: str
    other: str
    other_row: str
    other_step: str
    other_submission: str


def build_example(dsn: str) -> Example:
    """Add to what the demo has left what went wrong, what waits, and a stranger."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        demo = _select(connection, "select id::text from orgs where slug = 'demo'")
        connection.execute("update orgs set name = 'Harbor Assurance' where id = %s", (demo,))
        _insert_trouble(connection, demo)
        other = _select(connection, "insert into orgs (name, slug) values ('Globex', 'globex') returning id::text")
        _insert_result(connection, other, f"{SECRET}.example", "Zanzibar Holdings")
        _backfill(dsn, demo, other)
        _insert_result(connection, demo, "tidewater-labs.example", "Tidewater Labs")  # stays pending
    return find_example(dsn)


def find_example(dsn: str) -> Example:
    """Return the example that stands in a database."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        demo, other = (
            _select(connection, "select id::text from orgs where slug = %s", slug) for slug in ("demo", "globex")
        )
        row = _select(connection, "select id::text from company_intel_briefings where org_id = %s", other)
        step = _select(connection, "select id::text from step_results where org_id = %s", other)
        submission = _select(connection, "select id::text from submissions where org_id = %s", other)
        return Example(demo, other, row, step, submission)


def _insert_trouble(connection: Connection, org: str) -> None:
    """Insert results that give no row, one that came too late, and runs that wait or failed."""
    year_ago = datetime.now(UTC) - timedelta(days=400)
    _insert_result(connection, org, "northwind-robotics.example", "Northwind Robotics", recorded=year_ago)
    _insert_result(connection, org, None, "Quiet Meadow Foods")
    _insert_result(connection, org, "no domain at all", "Undomained Ltd")
    steps = [{"position": 1, "operation_id": BRIEFING}, {"position": 2, "operation_id": TITLES}]
    failed = _insert_run(connection, org, "failed", steps, "lumen-freight.example", "Lumen Freight")
    step = insert_step(connection, failed, position=1, status="failed")
    message = "the provider ended the research: not enough public sources"
    connection.execute("update step_results set error_message = %s where id = %s", (message, step))
    connection.execute("update pipeline_runs set error_message = %s where id = %s", (message, failed))
    insert_step(connection, failed, position=2, status="skipped")
    queued = _insert_run(connection, org, "queued", steps, "copper-lantern.example", "Copper Lantern")
    insert_step(connection, queued, position=1, status="queued")
    insert_step(connection, queued, position=2, status="queued")


def _insert_run(connection: Connection, org: str, status: str, steps: Any, domain: str, name: str) -> str:
    submission = insert_submission(connection, org, status=status)
    run = insert_run(connection, org, submission, status=status, steps=steps)
    entity = json.dumps({"input": {"domain": domain, "company_name": name, "target_company_name": name}})
    connection.execute(
        "update pipeline_runs set blueprint_snapshot = blueprint_snapshot || jsonb_build_object('entity', %s::jsonb)"
        " where id = %s",
        (entity, run),
    )
    return run


def _insert_result(
    connection: Connection, org: str, domain: str | None, name: str, *, recorded: datetime | None = None
) -> None:
    """Insert a finished step result of the briefing."""
    output = {
        "client_company_name": "Harbor Assurance",
        "client_company_description": "Insures companies against cyber risk.",
        "target_company_name": name,
        "target_company_domain": domain,
        "parallel_run_id": f"trun_{name.split()[0].lower()}",
        "processor": "ultra",
        "parallel_raw_response": {"output": {"type": "json", "content": {"company": {"name": name}}}},
    }
    submission = insert_submission(connection, org)
    run = insert_run(connection, org, submission, steps=[{"position": 1, "operation_id": BRIEFING}])
    insert_step(connection, run, payload=build_payload(BRIEFING, output), finished_at=recorded)


def _backfill(dsn: str, *orgs: str) -> None:
    for plan in load_plans(find_project(ROOT)):
        asyncio.run(run_backfill(dsn, plan, Scope(org_ids=orgs)))


def _select(connection: Connection, statement: str, *parameters: Any) -> str:
    row = connection.execute(statement, parameters).fetchone()
    assert row is not None
    return str(row[0])
