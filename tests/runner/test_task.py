"""The Trigger.dev task against the real API, and proof that this test would have seen the missing header."""

import shutil
from pathlib import Path

from scripts.processes import Process
from tests.runner.conftest import COMPANY, ICP, PERSON, TRIGGER, World, bundle_script, start_process
from tests.runner.test_pipeline import CONTEXT

HEADER = '    ...(config.orgId === "" ? {} : { "x-internal-org-id": config.orgId }),\n'


def run_contract(world: World, run_id: str, trigger: Path = TRIGGER) -> Process:
    """Run the contract test of trigger/ on a queued run."""
    return run_node_test(world, "run-pipeline.contract.ts", trigger, CONTRACT_RUN_ID=run_id)


def run_node_test(world: World, file: str, trigger: Path = TRIGGER, **variables: str) -> Process:
    command = ["node", "--test", "--test-reporter", "tap", bundle_script(f"tests/tasks/{file}", trigger)]
    env = world.build_environment(CONTRACT_ORG_ID=world.org_id, **variables)
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


def test_what_trigger_dev_ends_for_good_ends_here(world: World) -> None:
    failed, canceled, other = (world.queue_run([ICP], CONTEXT) for _ in range(3))
    world.execute(
        "update pipeline_runs set status = 'running', runner = 'trigger', trigger_run_id = 'run_' || id"
        " where org_id = %s",
        (world.org_id,),
    )
    variables = {"FAILED": failed, "CANCELED": canceled, "OTHER": other}
    names = {f"CONTRACT_{name}_RUN_ID": run_id for name, run_id in variables.items()}
    test = run_node_test(world, "run-hooks.contract.ts", **names)
    assert test.popen.returncode == 0, test.text
    runs = {name: world.select_run(run_id) for name, run_id in variables.items()}
    assert {name: run["status"] for name, run in runs.items()} == {
        "FAILED": "failed",
        "CANCELED": "canceled",
        "OTHER": "running",
    }
    assert runs["FAILED"]["error_message"] == "set aside by Trigger.dev: it threw eight times"
    assert runs["CANCELED"]["error_message"] == "canceled at Trigger.dev"
    submission = runs["FAILED"]["submission_id"]
    assert world.select_value("select status from submissions where id = %s", (submission,)) == "failed"
