"""The programs of docs/howto/spread-the-work.md, run as they stand there."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
import yaml

from engine.rows.shards import Shard
from engine.verify.shards import verify_shard
from tests.conftest import ROOT
from tests.database.conftest import World
from tests.forked_dex import find_dex, run_dex
from tests.pages import find_blocks

PAGE = (ROOT / "docs" / "howto" / "spread-the-work.md").read_text()
SPEC = "company_intel_briefings"
BIN = Path(sys.executable).parent


def insert_step_results(world: World, organisations: int, steps: int) -> None:
    """Add step results of the page's spec, a third of them about a company that another one is about."""
    plan = world.specs[SPEC]
    for _ in range(organisations):
        run = world.add_run()
        for at in range(steps):
            output = {
                "domain": f"c{at % (steps * 2 // 3)}.example",
                "company_name": f"Company {at}",
                "client_company_name": "Client",
                "parallel_raw_response": {"output": {"content": {"at": at}}},
            }
            world.add_step(run, plan.operations[0], output, at=at)


def build_environment(world: World, *folders: Path) -> dict[str, str]:
    """Return the environment of a user: `dex` on the path, and the database."""
    path = os.pathsep.join([str(find_dex().parent), str(BIN), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "DATABASE_URL": world.dsn, "PYTHONPATH": os.pathsep.join(map(str, folders))}


def check_table(world: World) -> None:
    """Nothing is pending, and the table is that of one process."""
    plan = world.specs[SPEC]
    assert [account["pending"] for account in world.read_accounts(plan)] == [0] * len(world.read_accounts(plan))
    rows = world.read_rows(plan)
    assert world.loop.run(verify_shard(world.dsn, plan, Shard(0, 1))).holds
    world.delete_rows(plan)
    world.run_backfill(plan)
    assert world.read_rows(plan) == rows and rows


def test_a_loop_and_the_command_of_a_job(world: World) -> None:
    insert_step_results(world, 8, 9)
    (loop,) = find_blocks(PAGE, "run")
    environment = build_environment(world)
    done = subprocess.run(["sh", "-c", loop], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    check_table(world)
    world.delete_rows(world.specs[SPEC])
    (job,) = find_blocks(PAGE, "kubernetes")
    spec = yaml.safe_load(job)["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    assert container["command"][-1] == f"$(JOB_COMPLETION_INDEX)/{spec['completions']}"
    world.run_backfill(world.specs[SPEC])
    command = [word.replace("$(JOB_COMPLETION_INDEX)", "31") for word in container["command"]]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    check_table(world)


def test_a_rejected_step_result_fails_its_shard_once(world: World) -> None:
    """A scheduler that starts the shard again is not kept busy by what stays rejected."""
    run = world.add_run()
    world.add_step(run, world.specs[SPEC].operations[0], {"domain": " "})
    shard = next(f"{index}/2" for index in range(2) if Shard(index, 2).holds_organisation(run.org))
    codes = [
        run_dex("backfill", SPEC, "--shard", shard, environment=build_environment(world)).returncode for _ in range(2)
    ]
    assert codes == [1, 0]


@contextmanager
def start_worker(environment: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a worker in a process group of its own, which is killed at the end."""
    command = ["procrastinate", "--app", "shards.app", "worker"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL, start_new_session=True
    ) as worker:
        try:
            yield worker
        finally:
            with suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)


def test_procrastinate_with_two_workers_of_which_one_is_killed(world: World, tmp_path: Path) -> None:
    insert_step_results(world, 8, 60)
    (program,) = find_blocks(PAGE, "file: shards.py")
    (tmp_path / "shards.py").write_text(program)
    environment = build_environment(world, tmp_path)
    for command in (
        ["procrastinate", "--app", "shards.app", "schema", "--apply"],
        ["python", str(tmp_path / "shards.py"), SPEC, "8"],
    ):
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
    with ExitStack() as workers:
        with psycopg.connect(world.dsn) as holder:  # so that no shard ends between the look and the kill
            holder.execute(f"lock table {SPEC} in exclusive mode")
            first, _ = (workers.enter_context(start_worker(environment)) for _ in range(2))
            wait_for_jobs(world, "doing", 2)
            os.killpg(first.pid, signal.SIGKILL)  # and the shard that it runs, as on a machine that loses power
        wait_for_jobs(world, "succeeded", 8)
    attempts = world.db.execute(
        "select attempts from procrastinate_jobs where task_name = 'backfill_shard' order by attempts"
    ).fetchall()
    assert attempts[-1]["attempts"] > 1, "the job of the killed worker was taken up again"
    check_table(world)


def wait_for_jobs(world: World, status: str, count: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found = world.db.execute(
            "select count(*) as jobs from procrastinate_jobs where task_name = 'backfill_shard' and status::text = %s",
            (status,),
        ).fetchone()["jobs"]
        if found >= count:
            return
        time.sleep(0.05)
    pytest.fail(f"{count} jobs are not {status} after 120 s")
