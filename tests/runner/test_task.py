"""The Trigger.dev task against the real API, and proof that this test would have seen the missing header."""

import shutil
from pathlib import Path

from scripts.processes import Process
from tests.runner.conftest import COMPANY, ICP, PERSON, TRIGGER, World, start_process
from tests.runner.test_pipeline import CONTEXT

HEADER = '    ...(config.orgId === "" ? {} : { "x-internal-org-id": config.orgId }),\n'


def run_contract(world: World, run_id: str, trigger: Path = TRIGGER) -> Process:
    """Run the contract test of trigger/ on a queued run."""
    command = ["node", "--import", "tsx", "--test", "--test-reporter", "tap", "tests/tasks/run-pipeline.contract.ts"]
    env = world.build_environment(CONTRACT_RUN_ID=run_id, CONTRACT_ORG_ID=world.org_id)
    test = world.stack.enter_context(start_process(command, env, trigger))
    test.wait_for_exit()
    return test


def test_the_task_writes_every_row_live(world: World) -> None:
    run_id = world.queue_run([ICP, COMPANY, PERSON], CONTEXT)
    test = run_contract(world, run_id)
    assert test.popen.returncode == 0, test.text
    assert world.select_run(run_id)["trigger_run_id"].startswith("run_")
    assert len(world.fetch_orders(run_id)) == 3


def test_with_the_header_taken_away_the_contract_goes_red(world: World, tmp_path: Path) -> None:
    """What happened for 22 days: the client sends no organisation. A copy of trigger/ with that line removed."""
    copy = tmp_path / "trigger"
    shutil.copytree(TRIGGER, copy, ignore=shutil.ignore_patterns("node_modules"))
    (copy / "node_modules").symlink_to(TRIGGER / "node_modules")
    client = copy / "src" / "api" / "client.ts"
    text = client.read_text()
    assert text.count(HEADER) == 1
    client.write_text(text.replace(HEADER, ""))

    test = run_contract(world, world.queue_run([ICP, COMPANY, PERSON], CONTEXT), copy)
    assert test.popen.returncode == 1
    assert "not ok 2 - a run is executed, and every row is written by the persist blocks" in test.text
    # And even so nothing is lost: the repair has written what the blocks could not.
    assert [account["written"] for account in world.fetch_coverage()] == [1, 1, 1, 3]
