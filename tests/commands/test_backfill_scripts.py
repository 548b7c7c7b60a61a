"""The three scripts of the order, started as it says: by their path, from wherever, on the targets their specs name."""

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import ROOT

ORG = "b0293785-aa7a-4234-8201-cc47305295f8"
SCRIPTS = {
    "icp_job_titles": ("company.derive.icp_job_titles", ["0921f10b-890b-47ab-8ceb-b1986df51cbb"]),
    "company_intel_briefings": (
        "company.derive.intel_briefing",
        [
            "b8001673-d0a4-4c4f-824a-9904964d8400",
            "5d1cb2b3-bbf9-4582-a29f-3167d22dec51",
            "31484f3a-5285-42ad-a8a9-892e79e9eabe",
        ],
    ),
    "person_intel_briefings": ("person.derive.intel_briefing", ["35d818c4-2159-4e5d-89a7-dddf92470c57"]),
}


def output(number: int) -> dict[str, Any]:
    content = {"facts": [number]}
    return {
        "domain": f"c{number}.com",
        "full_name": f"P{number}",
        "parallel_raw_response": {"output": {"content": content}},
    }


def research(dsn: str, operation: str, submissions: list[str]) -> None:
    """One run with one found step result in each submission."""
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute("insert into orgs (id, name, slug) values (%s, 'a', 'a')", [ORG])
        for number, submission in enumerate(submissions):
            run = str(uuid.uuid4())
            payload = {"operation_result": {"operation_id": operation, "status": "found", "output": output(number)}}
            db.execute(
                "insert into submissions (id, org_id, input_payload, status) values (%s, %s, '{}', 'completed')",
                [submission, ORG],
            )
            db.execute(
                "insert into pipeline_runs (id, org_id, submission_id, status) values (%s, %s, %s, 'succeeded')",
                [run, ORG, submission],
            )
            db.execute(
                "insert into step_results (id, org_id, submission_id, pipeline_run_id, step_position, status,"
                " output_payload) values (gen_random_uuid(), %s, %s, %s, 1, 'succeeded', %s)",
                [ORG, submission, run, json.dumps(payload)],
            )


def script(name: str, *words: str, dsn: str, where: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, ROOT / "scripts" / f"backfill_{name}.py", *words]
    return subprocess.run(command, cwd=where, env={**os.environ, "DATABASE_URL": dsn}, capture_output=True, text=True)


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_writes_what_its_targets_hold_and_nothing_else(name: str, database: str, tmp_path: Path) -> None:
    operation, targets = SCRIPTS[name]
    research(database, operation, [*targets, str(uuid.uuid4())])

    dry = script(name, "--dry-run", dsn=database, where=tmp_path)
    assert dry.returncode == 0 and "nothing was written" in dry.stderr, dry.stderr

    done = script(name, "--json", dsn=database, where=tmp_path)
    assert done.returncode == 0, done.stderr
    account = json.loads(done.stdout)
    assert (account["spec"], account["found"], account["written"]) == (name, len(targets), len(targets))
    with psycopg.connect(database) as db:
        rows = db.execute(f"select source_submission_id::text, raw_parallel_output from {name}").fetchall()
    assert dict(rows) == {submission: {"facts": [number]} for number, submission in enumerate(targets)}

    again = json.loads(script(name, "--json", dsn=database, where=tmp_path).stdout)
    assert (again["found"], again["written"]) == (0, 0)


def test_without_the_packages_it_says_what_to_run(tmp_path: Path) -> None:
    bare = [sys.executable, "-I", "-S", ROOT / "scripts" / "backfill_icp_job_titles.py"]
    done = subprocess.run(bare, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "run `make setup` first" in done.stderr, done.stderr


def test_a_database_without_the_tables_is_told_apart_from_an_empty_one(server_dsn: str, tmp_path: Path) -> None:
    done = script("icp_job_titles", dsn=server_dsn, where=tmp_path)
    assert done.returncode == 1 and "run `dex migrate`" in done.stderr, done.stderr
