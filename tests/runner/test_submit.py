"""`dex submit`: work for the local runner, from the command line."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.runner.conftest import ICP, PERSON, World
from tests.runner.test_kill import CONTEXT


def run_submit(world: World, *words: str, status: int = 0) -> str:
    """Run the command, which ends with `status`; return what it says."""
    done = world.run_dex("submit", *words, status=status)
    return done.stdout + done.stderr


def test_what_is_submitted_is_executed(world: World) -> None:
    steps = ["--step", ICP, "--step", PERSON]
    made = run_submit(
        world, "--org", world.org_id, *steps, "--input", json.dumps(CONTEXT), "--input", json.dumps(CONTEXT)
    )
    assert made.count("queued run ") == 2, made
    assert world.run_worker().list_warnings() == []
    assert [run["status"] for run in world.select_rows("pipeline_runs")] == ["succeeded"] * 2


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--step", ICP, "--input", '{"domain": "a\\u0000b"}'], 2, "a NUL character (\\u0000)"),
        (["--step", ICP, "--input", "[1]"], 2, "is not a JSON object"),
        (["--step", "", "--input", "{}"], 2, "no spec says how `` is executed"),
        (
            ["--step", "a.b", "--input", "{}"],
            2,
            f"no spec says how `a.b` is executed; operations with `research`: `{ICP}",
        ),
        (["--step", ICP], 2, "name either `--input`, once or more, or `--inputs FILE`"),
        (
            ["--step", ICP, "--input", "{}", "--inputs", "a.csv"],
            2,
            "name either `--input`, once or more, or `--inputs FILE`",
        ),
        (
            ["--step", ICP, "--inputs", "nothing.csv"],
            2,
            "`nothing.csv` cannot be read: No such file or directory\ncheck",
        ),
        (["--step", ICP, "--inputs", "inputs.xlsx"], 2, "is neither CSV nor JSON Lines"),
        (["--org", str(uuid.UUID(int=0)), "--step", ICP, "--input", "{}"], 2, "there is no organisation"),
    ],
)
def test_what_does_not_fit_is_said_and_queues_nothing(world: World, words: list[str], status: int, said: str) -> None:
    refused = run_submit(world, "--org", world.org_id, *words, status=status)
    assert said in refused and "Traceback" not in refused, refused
    assert world.select_rows("pipeline_runs") == []


class TestFiles:
    """`--inputs FILE`: a run per line."""

    def write(self, folder: Path, name: str, text: str) -> str:
        (folder / name).write_text(text)
        return str(folder / name)

    def list_inputs(self, world: World) -> list[Any]:
        found = (
            "select blueprint_snapshot #>> '{entity,input}' from pipeline_runs where org_id = %s order by created_at"
        )
        return [text for (text,) in world.execute(found, (world.org_id,))]

    def test_csv_becomes_runs_that_are_executed(self, world: World, tmp_path: Path) -> None:
        lines = ["\ufeffcompany_name,domain,company_description"]
        lines += [f'"Robots, ""No. {n}""",robots-{n}.example.com,' for n in range(3)]
        file = self.write(tmp_path, "companies.csv", "\r\n".join(lines) + "\r\n")
        done = world.run_dex("submit", "--org", world.org_id, "--step", ICP, "--inputs", file)
        assert "3 run(s), 3 step(s): at most 0.30 USD" in done.stderr and "3 of 3 run(s) queued" in done.stderr
        assert [json.loads(text) for text in self.list_inputs(world)] == [
            {"company_name": f'Robots, "No. {n}"', "domain": f"robots-{n}.example.com"} for n in range(3)
        ]
        assert world.run_worker("--concurrency", "3").list_warnings() == []
        assert len(world.select_rows("icp_job_titles")) == 3

    def test_json_lines_keep_their_numbers(self, world: World, tmp_path: Path) -> None:
        file = self.write(tmp_path, "inputs.jsonl", '{"n": 1.10}\n\n{"n": 123456789012345678901234567890}\n')
        made = world.read_dex("submit", "--org", world.org_id, "--step", ICP, "--step", PERSON, "--inputs", file)
        assert (made["runs"], made["steps"], made["max_cost"], made["replayed"]) == (2, 4, "0.40", 0)
        assert self.list_inputs(world) == ['{"n": 1.10}', '{"n": 123456789012345678901234567890}']

    def test_a_dry_run_says_what_it_may_cost_and_queues_nothing(self, world: World, tmp_path: Path) -> None:
        file = self.write(tmp_path, "inputs.ndjson", '{"n": 1}\n' * 1200)
        said = world.read_dex("submit", "--org", world.org_id, "--step", ICP, "--inputs", file, "--dry-run")
        assert said == {
            "dry_run": True,
            "runs": 1200,
            "steps": 1200,
            "max_cost": "120.00",
            "unpriced_processors": [],
        }
        assert world.select_rows("submissions") == []
        words = ("submit", "--step", ICP, "--inputs", file, "--dry-run")
        nobody = str(uuid.uuid4())
        assert f"there is no organisation `{nobody}`" in world.run_dex(*words, "--org", nobody, status=2).stderr
        offline = {"DATABASE_URL": "postgresql://localhost:9/offline"}
        said = world.run_dex(*words, "--org", nobody, **offline)
        assert (
            "120.00 USD" in said.stdout and "the organisation was not looked up: the database does not" in said.stderr
        )

    def test_submitted_again_under_its_key_it_goes_on_where_it_stopped(self, world: World, tmp_path: Path) -> None:
        """The queue is full in the middle of the file, as an interruption may come anywhere."""
        file = self.write(tmp_path, "inputs.jsonl", "".join(f'{{"n": {n}}}\n' for n in range(1200)))
        words = ("submit", "--org", world.org_id, "--step", ICP, "--inputs", file, "--idempotency-key", "monday")
        stopped = world.run_dex(*words, status=1, DATA_ENGINE_MAX_QUEUED_STEPS="1100")
        assert "1000 of 1200 run(s) are queued" in stopped.stderr and "--idempotency-key monday" in stopped.stderr
        for replayed in (1000, 1200):
            made = world.read_dex(*words)
            assert (made["runs"], made["replayed"], len(made["submissions"])) == (1200, replayed, 3)
        self.write(tmp_path, "inputs.jsonl", "".join(f'{{"n": {n}}}\n' for n in range(1201)))  # the same and one more
        changed = world.run_dex(*words, status=1)
        assert "1000 of 1201 run(s) are queued" in changed.stderr and "the file has changed" in changed.stderr
        assert [json.loads(text)["n"] for text in self.list_inputs(world)] == list(range(1200))

    @pytest.mark.parametrize(
        ("name", "text", "said"),
        [
            ("a.csv", "", "the first line names no input"),
            ("a.csv", "domain,\na,b\n", "has a blank name"),
            ("a.csv", "domain,domain\na,b\n", "names `domain` twice"),
            ("a.csv", "domain\n", "holds no inputs"),
            ("a.csv", "domain,name\na,b\nc\nd,e,f\n", "a.csv:3: 1 cells where the first line names 2"),
            ("a.csv", 'domain\n"a', "a.csv:2: not CSV"),
            ("a.jsonl", '{"a": 1}\n[1]\n{"a": }\n', "a.jsonl:2: not a JSON object"),
            ("a.jsonl", '{"a": "\\u0000"}\n', "a.jsonl:1: "),
        ],
    )
    def test_a_file_with_mistakes_queues_nothing(
        self, world: World, tmp_path: Path, name: str, text: str, said: str
    ) -> None:
        file = self.write(tmp_path, name, text)
        done = world.run_dex("submit", "--org", world.org_id, "--step", ICP, "--inputs", file, status=2)
        assert said in " ".join(done.stderr.replace("│", " ").split()), done.stderr
        assert world.select_rows("submissions") == []
