"""`dex submit`: work for the local runner, from the command line."""

import json
import uuid

import pytest

from scripts.processes import Process
from tests.runner.conftest import BIN, ICP, PERSON, World, start_process
from tests.runner.test_kill import CONTEXT


def run_submit(world: World, *words: str) -> Process:
    command = [BIN / "dex", "submit", *words]
    process = world.stack.enter_context(start_process(command, {"DATABASE_URL": world.services.dsn}))
    process.wait_for_exit()
    return process


def test_what_is_submitted_is_executed(world: World) -> None:
    steps = ["--step", ICP, "--step", PERSON]
    made = run_submit(
        world, "--org", world.org_id, *steps, "--input", json.dumps(CONTEXT), "--input", json.dumps(CONTEXT)
    )
    assert made.popen.returncode == 0 and made.text.count("queued run ") == 2, made.text
    assert world.run_worker().list_warnings() == []
    assert [run["status"] for run in world.select_rows("pipeline_runs")] == ["succeeded"] * 2


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--step", ICP, "--input", '{"domain": "a\\u0000b"}'], 2, "a NUL character (\\u0000)"),
        (["--step", ICP, "--input", "[1]"], 2, "is not a JSON object"),
        (["--step", "", "--input", "{}"], 2, "is no operation's id"),
        (["--step", "a b", "--input", "{}"], 2, "is no operation's id"),
        (["--org", str(uuid.UUID(int=0)), "--step", ICP, "--input", "{}"], 2, "there is no organisation"),
    ],
)
def test_what_does_not_fit_is_said_and_queues_nothing(world: World, words: list[str], status: int, said: str) -> None:
    refused = run_submit(world, "--org", world.org_id, *words)
    assert refused.popen.returncode == status and said in refused.text, refused.text
    assert "Traceback" not in refused.text
    assert world.select_rows("pipeline_runs") == []
