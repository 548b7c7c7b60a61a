"""The three backfill scripts, and interrupted commands, as an operator runs them."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from scripts.processes import start_process
from tests.conftest import ROOT
from tests.database.conftest import START, World
from tests.forked_dex import run_dex_text
from tests.world import insert_organisation

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


def build_command(name: str, *arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "scripts" / f"backfill_{name}.py"), *arguments]


def build_environment(world: World) -> dict[str, str]:
    """What a secret store would put into the environment."""
    return {"PATH": "/usr/bin:/bin", "DATABASE_URL": world.dsn}


def run_script(world: World, *arguments: str, name: str = "company_intel_briefings") -> tuple[int, str, str]:
    """Run a backfill script in a folder outside the project; return its exit status and its output.

    As a fork: that it starts by its path from there is seen where one is interrupted.
    """
    script, environment = ROOT / "scripts" / f"backfill_{name}.py", build_environment(world)
    done = run_dex_text(*arguments, environment=environment, folder=Path("/"), seconds=60, script=script)
    return done.returncode, done.stdout, done.stderr


def insert_targets(world: World, name: str) -> list[str]:
    """Insert the organisation and the submissions a spec names, a step result in each, and one elsewhere."""
    (target,) = world.specs[name].targets
    insert_organisation(world.db, target.org_id)
    operation = world.specs[name].operations[0]
    for at, submission in enumerate(target.submissions):
        run = world.add_run(target.org_id, submission=submission)
        world.add_step(run, operation, {**BOUGHT, "domain": f"{at}.com", "person_full_name": f"{at}"}, at=at)
    world.add_step(world.add_run(target.org_id), operation, {**BOUGHT, "person_full_name": "Else"}, at=9)
    return list(target.submissions)


@pytest.mark.parametrize("name", ORDERED)
def test_the_defaults_are_the_targets_of_the_order(world: World, name: str) -> None:
    submissions = insert_targets(world, name)
    assert submissions == ORDERED[name]
    code, out, _ = run_script(world, "--json", name=name)
    report = json.loads(out)
    assert (code, report["spec"], report["found"], report["written"]) == (0, name, len(submissions), len(submissions))
    assert sorted(row["source_submission_id"] for row in world.read_rows(world.specs[name])) == sorted(submissions)
    assert [account["pending"] for account in world.read_accounts(world.specs[name])] == [1], "what no target names"


def test_a_script_takes_what_the_command_takes(world: World) -> None:
    submissions = insert_targets(world, "company_intel_briefings")
    until = (START + timedelta(seconds=2)).isoformat()
    code, out, _ = run_script(world, "--json", "--dry-run", "--until", until, "--batch-size", "1", "--limit", "1")
    report = json.loads(out)
    assert (code, report["found"], report["written"], report["pending"]) == (0, 2, 1, 1)
    assert report["dry_run"] and [row["company_domain"] for row in report["sample"]] == ["0.com"]
    assert world.read_rows(world.specs["company_intel_briefings"]) == []
    code, out, _ = run_script(world, "--json", "--limit", "2")
    report = json.loads(out)
    assert (code, report["found"], report["written"], report["pending"]) == (0, 3, 2, 1), "its share has no trouble"
    code, out, _ = run_script(world, "--json", "--submission", submissions[2])
    assert (code, json.loads(out)["found"]) == (0, 1), "named, it stands in for the spec's own"
    code, out, err = run_script(world, "--all", "--limit", "1")
    assert (code, "+ 2 pending" in out) == (0, True) and "2 step result(s) beyond `--limit` were not looked at" in err
    world.add_step(next(iter(world.steps.values()))[0], COMPANY, {}, at=9)
    assert run_script(world, "--limit", "1")[0] == 1, "its share was rejected"
    assert run_script(world, "--since", "yesterday")[:2] == (2, "")


def test_the_help_of_a_script_shows_what_a_person_may_type(world: World) -> None:
    code, out, _ = run_script(world, "--help")
    usage = out.splitlines()[0]
    assert code == 0 and usage == "Usage: backfill_company_intel_briefings.py [OPTIONS]", out
    assert "--submission" in out and "--shard" not in out and "[required]" not in out, out


def test_without_the_packages_a_script_names_the_command_to_run() -> None:
    bare = [sys.executable, "-I", "-S", str(ROOT / "scripts" / "backfill_icp_job_titles.py")]
    done = subprocess.run(bare, capture_output=True, text=True)
    assert done.returncode == 1 and "run `make setup` first" in done.stderr, done.stderr


@pytest.mark.parametrize("request_", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_verification_says_so_and_leaves_nothing_behind_at_the_server(
    world: World, request_: signal.Signals
) -> None:
    command = [str(Path(sys.executable).parent / "dex"), "verify", "company_intel_briefings"]
    with world.db.transaction():
        world.db.execute("lock table company_intel_briefings in access exclusive mode")
        text = interrupt_waiting_command(world, command, request_, cwd=ROOT)
    assert "stopped after 0 step results; nothing was changed, the same command starts from the beginning" in text


@pytest.mark.parametrize("request_", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_backfill_says_that_it_resumes_and_leaves_nothing_behind_at_the_server(
    world: World, request_: signal.Signals
) -> None:
    insert_targets(world, "company_intel_briefings")
    with world.db.transaction():
        world.db.execute("lock table company_intel_briefings in exclusive mode")
        text = interrupt_waiting_command(world, build_command("company_intel_briefings"), request_, cwd=Path("/"))
    assert "the same command resumes where it stopped" in text
    assert run_script(world, "--json")[0] == 0
    assert [account["pending"] for account in world.read_accounts(world.specs["company_intel_briefings"])] == [1]


def interrupt_waiting_command(world: World, command: list[str], request_: signal.Signals, *, cwd: Path) -> str:
    """Start a command, stop it once it waits for a locked table, and return what it printed."""
    waiting = "select count(*) as n from pg_stat_activity where datname = current_database() and wait_event = %s"
    with start_process(command, build_environment(world), cwd=cwd, inherit=False, interruptible=True) as process:
        deadline = time.monotonic() + 30
        while world.db.execute(waiting, ["relation"]).fetchone() == {"n": 0} and time.monotonic() < deadline:
            world.db.execute("select pg_stat_clear_snapshot()")
            time.sleep(0.05)
        os.kill(process.popen.pid, request_)
        assert process.wait_for_exit(30) == 130
        text: str = process.text
    assert "Traceback" not in text and "psycopg" not in text and "cancel" not in text.lower()
    world.db.execute("select pg_stat_clear_snapshot()")
    assert world.db.execute(waiting, ["relation"]).fetchone() == {"n": 0}
    return text
