"""The three backfill scripts, and an interrupted backfill, as an operator runs them."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta

import pytest

from tests.conftest import ROOT
from tests.database.conftest import START, World

COMPANY = "company.derive.intel_briefing"
BOUGHT = {"domain": "a.com", "client_company_name": "K", "parallel_raw_response": {"output": {"content": {"a": 1.10}}}}

ORDERED = {
    "icp_job_titles": ["0921f10b-890b-47ab-8ceb-b1986df51cbb"],
    "company_intel_briefings": [
        "b8001673-d0a4-4c4f-824a-9904964d8400",
        "5d1cb2b3-bbf9-4582-a29f-3167d22dec51",
        "31484f3a-5285-42ad-a8a9-892e79e9eabe",
    ],
    "person_intel_briefings": ["35d818c4-2159-4e5d-89a7-dddf92470c57"],
}


def started(world: World, *words: str) -> "subprocess.Popen[str]":
    """A process of ours in a folder that is not ours, with what a secret store would put into its environment."""
    env = {"PATH": "/usr/bin:/bin", "DATABASE_URL": world.dsn}
    command = [sys.executable, *words]
    return subprocess.Popen(
        command,
        cwd="/",
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # ignored in what a shell put in the background
    )


def ran(world: World, *words: str, name: str = "company_intel_briefings") -> tuple[int, str, str]:
    process = started(world, str(ROOT / "scripts" / f"backfill_{name}.py"), *words)
    out, complaint = process.communicate(timeout=60)
    return process.returncode, out, complaint


def targeted(world: World, name: str) -> list[str]:
    """The organisation and the submissions a spec names, with one step result in each; and one elsewhere."""
    (target,) = world.specs[name].targets
    world.db.execute("insert into orgs (id, name, slug) values (%s, 'Acme', 'acme')", [target.org_id])
    operation = world.specs[name].operations[0]
    for at, submission in enumerate(target.submissions):
        run = world.run(target.org_id)
        run.submission = submission
        values = [submission, target.org_id]
        world.db.execute(
            "insert into submissions (id, org_id, input_payload, status) values (%s, %s, '{}', 'completed')", values
        )
        world.db.execute("update pipeline_runs set submission_id = %s where id = %s", [submission, run.id])
        world.step(run, operation, {**BOUGHT, "domain": f"{at}.com", "person_full_name": f"{at}"}, at=at)
    world.step(world.run(target.org_id), operation, {**BOUGHT, "person_full_name": "Else"}, at=9)
    return list(target.submissions)


@pytest.mark.parametrize("name", ORDERED)
def test_the_defaults_are_the_targets_of_the_order(world: World, name: str) -> None:
    submissions = targeted(world, name)
    assert submissions == ORDERED[name]
    code, out, _ = ran(world, "--json", name=name)
    words = json.loads(out)
    assert (code, words["spec"], words["found"], words["written"]) == (0, name, len(submissions), len(submissions))
    assert sorted(row["source_submission_id"] for row in world.rows(world.specs[name])) == sorted(submissions)
    assert [words["pending"] for words in world.accounts(world.specs[name])] == [1], "what no target names"


def test_a_script_takes_what_the_command_takes(world: World) -> None:
    submissions = targeted(world, "company_intel_briefings")
    until = (START + timedelta(seconds=2)).isoformat()
    code, out, _ = ran(world, "--json", "--dry-run", "--until", until, "--batch-size", "1", "--limit", "1")
    words = json.loads(out)
    assert (code, words["found"], words["written"], words["pending"]) == (0, 2, 1, 1)
    assert words["dry_run"] and [row["company_domain"] for row in words["sample"]] == ["0.com"]
    assert world.rows(world.specs["company_intel_briefings"]) == []
    code, out, _ = ran(world, "--json", "--submission", submissions[2])
    assert (code, json.loads(out)["found"]) == (0, 1), "named, it stands in for the spec's own"
    assert ran(world, "--since", "yesterday")[:2] == (2, "")


def test_without_the_packages_a_script_says_what_to_run() -> None:
    bare = [sys.executable, "-I", "-S", ROOT / "scripts" / "backfill_icp_job_titles.py"]
    done = subprocess.run(bare, capture_output=True, text=True)
    assert done.returncode == 1 and "run `make setup` first" in done.stderr, done.stderr


def test_an_interrupted_backfill_says_nothing_odd_and_leaves_nothing_behind_at_the_server(world: World) -> None:
    targeted(world, "company_intel_briefings")
    with world.db.transaction():
        world.db.execute("lock table company_intel_briefings in exclusive mode")
        process = started(world, str(ROOT / "scripts" / "backfill_company_intel_briefings.py"))
        waiting = "select count(*) as n from pg_stat_activity where datname = current_database() and wait_event = %s"
        deadline = time.monotonic() + 30
        while world.db.execute(waiting, ["relation"]).fetchone() == {"n": 0} and time.monotonic() < deadline:
            world.db.execute("select pg_stat_clear_snapshot()")
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGINT)
        _, complaint = process.communicate(timeout=30)
        assert process.returncode == 130
        assert "Traceback" not in complaint and "psycopg" not in complaint and "cancel" not in complaint.lower()
        world.db.execute("select pg_stat_clear_snapshot()")
        assert world.db.execute(waiting, ["relation"]).fetchone() == {"n": 0}
    assert ran(world, "--json")[0] == 0
    assert [words["pending"] for words in world.accounts(world.specs["company_intel_briefings"])] == [1]
