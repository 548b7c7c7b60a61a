"""Step results in files: exported, extracted on Dask and folded, they give the rows of Postgres, cell by cell."""

import json
import os
import pickle
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as arrow
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from pyarrow import parquet

from engine.arrow import Extractor, newest, rows, schema
from engine.files.cells import extract_cells, fold_cells, list_rows
from engine.files.export_steps import write_step_files
from engine.files.extract_file import extract_file, read_line
from engine.plan import Plan
from engine.plans import compile_texts, read_texts
from engine.project import Project
from engine.provided_columns import SOURCE_COLUMNS
from engine.values import exact_json
from scripts.processes import build_dex_command, start_process
from tests.conftest import ROOT, take_share
from tests.database.conftest import START, World, compile_text
from tests.database.history_specs import VARIANTS
from tests.forked_dex import run_dex_text
from tests.pages import find_blocks
from tests.world import build_payload, insert_run, insert_step, insert_submission

NESTED = """spec: 1
name: citations
title: Citations
operations: [lab.fetch.citations]
table: citations
row_name: citation
conflict: [org_id, run, field, url]
rows: ["output.basis", "item.citations || `[{}]`"]
fields:
  run: {type: text, path: "output.run_id", required: true}
  field: {type: text, path: "parent.field", required: true}
  url: {type: text, path: "item.url", null_key: match}
  title: {type: text, path: "item.title"}
  reasoning: {type: text, path: "parent.reasoning"}
  confidence: {type: numeric, path: "parent.confidence", on_invalid: missing}
  whole: {type: jsonb, path: "parent"}
"""
CITATION = st.fixed_dictionaries(
    {}, optional={"url": st.sampled_from(["https://a.example", "https://b.example"]), "title": st.just("T")}
)
BASIS = st.fixed_dictionaries(
    {"field": st.sampled_from(["funding", "staff", None])},
    optional={
        "citations": st.lists(CITATION, max_size=3),
        "reasoning": st.sampled_from(["because", " "]),
        "confidence": st.sampled_from([1, "high"]),
    },
)
EVIDENCE = st.fixed_dictionaries({"run_id": st.sampled_from(["r1", "r2", ""]), "basis": st.lists(BASIS, max_size=3)})
CASES = {name: (variant.versions[0], variant.outputs) for name, variant in VARIANTS.items() if not variant.constraint}
CASES["evidence"] = (NESTED, EVIDENCE)
#: Of which a run takes one: the examples that follow from one seed.
SHARES = 5


def record(world: World, plan: Plan, outputs: list[Any], seed: int, organisations: int = 2) -> None:
    """Record outputs of some organisations, in no order of time, some of them with nothing found."""
    chance = random.Random(seed)
    orgs = [world.add_org() for _ in range(organisations)]
    runs = []
    for org in orgs:
        submission = insert_submission(world.db, org)
        runs.append(insert_run(world.db, org, submission))
    for position, output in enumerate(outputs, 1):
        text = exact_json.dumps(output).decode()
        status = "found" if chance.random() < 0.9 else "not_found"
        insert_step(
            world.db,
            chance.choice(runs),
            position=position,
            payload=build_payload(plan.operations[0], text, context=text, status=status),
            finished_at=START
            + timedelta(seconds=chance.randrange(max(len(outputs) // 3, 1)), days=chance.randrange(60)),
        )


def read_table(world: World, plan: Plan) -> dict[str, list[str]]:
    """Return the rows of the table by key, every cell as JSON."""
    columns = ["org_id", *(column.name for column in plan.fields), *SOURCE_COLUMNS]
    cells = ", ".join(f'to_json("{name}")::text as "{name}"' for name in columns)
    found = world.db.execute(f'select {cells} from "{plan.table}"').fetchall()
    return index_rows(
        plan, [[None if row[name] is None else exact_json.loads(row[name]) for name in columns] for row in found]
    )


def convert_rows(plan: Plan, cells: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Return folded rows in the same form."""
    types = {column.name: column.type.name for column in plan.fields}
    columns = ["org_id", *types, *SOURCE_COLUMNS]
    return index_rows(plan, [[convert_cell(row[name], types.get(name, "")) for name in columns] for row in cells])


def convert_cell(value: Any, type_: str) -> Any:
    if value is not None and type_ == "jsonb":
        return exact_json.loads(value)
    if value is not None and type_ == "numeric":
        return exact_json.parse_number(value)
    return value.isoformat() if hasattr(value, "isoformat") else value


def index_rows(plan: Plan, found: list[list[Any]]) -> dict[str, list[str]]:
    names = ["org_id", *(column.name for column in plan.fields), *SOURCE_COLUMNS]
    places = [names.index(name) for name in plan.conflict]
    texts = [[exact_json.dumps(cell).decode() for cell in row] for row in found]
    indexed = {"|".join(row[place] for place in places): row for row in texts}
    assert len(indexed) == len(found)
    return indexed


Engine = Callable[[Path, Plan, Path, Path], None]  # of a project, from a folder, to a folder


def extract_in_process(project: Path, plan: Plan, source: Path, target: Path) -> None:
    extractor = Extractor(plan.name, read_texts(Project(project)))
    for file in sorted(source.rglob("*.parquet")):
        extract_file(extractor, file, target / file.relative_to(source))


def extract_on_dask(project: Path, plan: Plan, source: Path, target: Path) -> None:
    done = run_dex("extract", plan.name, "--from", str(source), "--to", str(target), "--json", cwd=project)
    report = json.loads(done.stdout)
    assert done.returncode == (1 if report["rejected"] or report["refused"] else 0), done.stderr
    assert report["pending"] == 0 and report["failed_files"] == []


def extract_on_ray(project: Path, plan: Plan, source: Path, target: Path) -> None:
    """Run the program of the page. Ray comes with `scripts/bootstrap.py --bench`, as `make test-long` sets up."""
    page = (ROOT / "docs" / "howto" / "spread-the-work.md").read_text()
    (program,) = find_blocks(page, "file: extract_on_ray.py")
    (project / "extract_on_ray.py").write_text(program)
    command = [sys.executable, "extract_on_ray.py", plan.name, str(source), str(target)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]


def write_project(folder: Path, plan: Plan, text: str) -> Path:
    """Make a project of one spec, in which `dex extract` and programs of users find it."""
    (folder / "specs").mkdir(parents=True)
    (folder / "specs" / f"{plan.name}.yaml").write_text(text)
    (folder / "pyproject.toml").touch()
    return folder


def check_same_rows(
    world: World, plan: Plan, text: str, folder: Path, engines: Sequence[Engine] = (extract_in_process,)
) -> None:
    """Backfill in Postgres; export, extract and fold beside it; hold them against each other, cell by cell."""
    project = write_project(folder / "project", plan, text)
    account = world.run_backfill(plan)
    table = read_table(world, plan)
    files, steps = world.loop.run(write_step_files(world.dsn, folder / "in"))
    assert files == len(list((folder / "in").rglob("*.parquet")))
    for number, extract in enumerate(engines):
        target = folder / f"out-{number}"
        extract(project, plan, folder / "in", target)
        outputs = [row for file in sorted(target.rglob("*.parquet")) for row in parquet.read_table(file).to_pylist()]
        assert len(outputs) == steps
        outcomes = Counter(output["outcome"] for output in outputs)
        assert steps - outcomes["not_found"] == account.found
        for name in ("elements", "duplicates", "refused"):
            assert sum(output[name] for output in outputs) == account.elements[name], name
        assert sum(len(output["rows"]) for output in outputs) == account.elements["rows"]
        assert [outcomes[name] for name in ("rejected", "filtered")] == [
            account.outcomes[name] for name in ("rejected", "filtered")
        ]
        assert convert_rows(plan, list(fold_cells(plan, list_rows(outputs)))) == table


@pytest.mark.parametrize("name", CASES)
def test_files_and_database_give_the_same_rows(world: World, name: str, tmp_path: Path) -> None:
    text, outputs = CASES[name]
    plan = compile_text(text)
    world.create_table(plan)
    rounds = iter(range(1000))
    (share,) = take_share(range(SHARES), SHARES)

    @seed(share)
    @settings(
        max_examples=3,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(st.lists(outputs, min_size=15, max_size=60))
    def check(drawn: list[Any]) -> None:
        world.db.execute(f'truncate orgs cascade; truncate "{plan.table}", step_persistence, row_lineage, stale_rows')
        number = next(rounds)
        record(world, plan, drawn, number)
        check_same_rows(world, plan, text, tmp_path / str(number))

    check()


@pytest.mark.long
def test_twelve_thousand_step_results(world: World, tmp_path: Path) -> None:
    text, outputs = CASES["lists deleted"]
    plan = compile_text(text)
    world.create_table(plan)
    drawn: list[Any] = []

    @settings(max_examples=300, derandomize=True, deadline=None, database=None, phases=[Phase.generate])
    @given(st.lists(outputs, min_size=40, max_size=60))
    def collect(some: list[Any]) -> None:
        drawn.extend(some)

    collect()
    record(world, plan, (drawn * (12_000 // len(drawn) + 1))[:12_000], 1, organisations=40)
    check_same_rows(world, plan, text, tmp_path, (extract_in_process, extract_on_dask, extract_on_ray))
    assert world.db.execute("select count(*) as steps from step_results").fetchone()["steps"] == 12_000
    assert read_table(world, plan)


class TestExtractor:
    TABLE: ClassVar[dict[str, list[Any]]] = {
        "id": ["00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002", None],
        "output_payload": [
            build_payload(
                "company.derive.icp_job_titles", {"domain": "a.example", "parallel_raw_response": {"n": 1.10}}
            ),
            "no JSON",
            build_payload("another.operation", {}),
        ],
    }

    def test_travels_as_text_and_says_what_became_of_each(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        extractor = Extractor("icp_job_titles")
        copy = pickle.loads(pickle.dumps(extractor))
        monkeypatch.chdir(tmp_path)  # a worker has no folder of specs
        output = copy(arrow.table(self.TABLE))
        assert output["outcome"].to_pylist() == ["row", "rejected", "not_found"]
        assert json.loads(output["reasons"][1].as_py())[0]["code"] == "unreadable"
        assert set(output["spec_digest"].to_pylist()) == {extractor.plan.digest}

    def test_rows_and_newest_are_tables(self) -> None:
        output = Extractor("icp_job_titles")(arrow.table(self.TABLE))
        found = rows("icp_job_titles", output)
        assert found["company_domain"].to_pylist() == ["a.example"] and found["Element"].to_pylist() == [0]
        (row,) = newest("icp_job_titles", found).to_pylist()
        assert row["source_step_result_id"] == self.TABLE["id"][0] and json.loads(row["raw_parallel_output"]) == {
            "n": 1.1
        }

    def test_an_unknown_spec_is_named_at_once(self) -> None:
        from engine.plans import UnknownSpec

        for call in (Extractor, schema):
            with pytest.raises(UnknownSpec, match="icp_job_title"):
                call("icp_job_title")

    def test_plans_of_texts_are_those_of_the_folder(self) -> None:
        extractor = Extractor("company_intel_briefings")
        assert compile_texts(extractor.texts) == compile_texts(pickle.loads(pickle.dumps(extractor.texts)))


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ('{"operation_result": {"output": 1.10}}', '{"operation_result": {"output": 1.10}}'),
        ('{"output_payload": {"a": 1.10}, "more": 1}', '{"a": 1.10}'),
        ('{"output_payload": "{\\"a\\": 1.10}", "recorded_at": "yesterday", "step_position": "x"}', '{"a": 1.10}'),
        ("[1]", "[1]"),
        ("nothing", "nothing"),
    ],
)
def test_a_line_keeps_the_text_of_documents(line: str, kept: str) -> None:
    plan = compile_text(VARIANTS["readings"].versions[0])
    result = read_line(plan, line.encode())
    assert result["output_payload"] == kept
    cells = extract_cells(plan, {**dict.fromkeys(schema("icp_job_titles").names), **result})
    assert cells["outcome"] in ("rejected", "not_found")


def test_an_output_alone_is_one_of_the_spec() -> None:
    plan = compile_text(VARIANTS["readings"].versions[0])
    result = {**dict.fromkeys(schema("icp_job_titles").names), **read_line(plan, b'{"code": "a", "score": 1.10}')}
    cells = extract_cells(plan, result)
    assert (cells["outcome"], cells["rows"][0]["score"]) == ("row", "1.10")


def run_dex(*words: str, cwd: Path = ROOT, **variables: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(
        build_dex_command(*words), cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )


def read_times(folder: Path) -> dict[Path, int]:
    """Return the files that are whole, with their times."""
    return {file: file.stat().st_mtime_ns for file in folder.rglob("*.parquet")}


class TestCommands:
    def test_from_the_database_through_files(self, world: World, tmp_path: Path) -> None:
        """Export, extract on Dask, resume, and count; two files cannot be read, and the others are done."""
        plan = world.specs["icp_job_titles"]
        for place in range(3):
            run = world.add_run()
            for at in range(4):
                output = {"domain": f"c{at}.example" if at else " ", "parallel_raw_response": {"place": place}}
                world.add_step(run, "company.derive.icp_job_titles", output, at=at)
            world.add_step(run, "another.operation", {}, at=9)
        steps, out = tmp_path / "steps", tmp_path / "out"
        world.run_backfill(plan)
        environment = {"DATABASE_URL": world.dsn}
        done = run_dex_text("export-steps", "--to", steps, "--json", environment=environment)
        assert json.loads(done.stdout)["step_results"] == 15, done.stderr
        (steps / "lines.jsonl").write_text(
            "\n".join(json.dumps({"domain": f"d{number}.example", "parallel_raw_response": {}}) for number in range(5))
        )
        (steps / "broken.parquet").write_bytes(b"nothing")
        parquet.write_table(arrow.table({"status": ["succeeded"], "payload": ["{}"]}), steps / "misnamed.parquet")
        done = run_dex("extract", plan.name, "--from", str(steps), "--to", str(out), "--json")
        report = json.loads(done.stdout)
        assert done.returncode == 1, done.stderr
        assert (report["found"], report["written"], report["rejected"], report["skipped"]) == (17, 14, 3, 3)
        assert report["found"] == sum(report[name] for name in ("written", "unchanged", "superseded")) + sum(
            report[name] for name in ("filtered", "rejected", "pending")
        )
        assert [failure["file"] for failure in report["failed_files"]] == ["broken.parquet", "misnamed.parquet"]
        assert "no column `output_payload`" in report["failed_files"][1]["error"]
        outputs = [row for file in out.rglob("*.parquet") for row in parquet.read_table(file).to_pylist()]
        stored = list(fold_cells(plan, list_rows(output for output in outputs if output["org_id"])))
        assert convert_rows(plan, stored) == read_table(world, plan) and len(stored) == 9
        written = read_times(out)
        assert len(written) == 4 and not list(out.rglob("*.unfinished"))
        (steps / "broken.parquet").unlink()
        (steps / "misnamed.parquet").unlink()
        words = ["extract", plan.name, "--from", str(steps), "--to", str(out), "--workers", "1", "--json"]
        again = json.loads(run_dex(*words).stdout)
        assert {**again, "failed_files": 0, "seconds": 0} == {**report, "failed_files": 0, "seconds": 0}
        assert read_times(out) == written

    def test_killed_and_started_again(self, tmp_path: Path) -> None:
        """What was whole before the kill stays as it is, and nothing of what was not is left."""
        steps, out = tmp_path / "steps", tmp_path / "out"
        steps.mkdir()
        lines = "".join(
            json.dumps({"domain": f"d{at}.example", "parallel_raw_response": {}}) + "\n" for at in range(1000)
        )
        for number in range(12):
            (steps / f"{number:02}.jsonl").write_text(lines)
        words = ["extract", "icp_job_titles", "--from", str(steps), "--to", str(out), "--workers", "1", "--json"]
        with start_process(build_dex_command(*words), cwd=ROOT) as process:
            deadline = time.monotonic() + 120
            while not (done := read_times(out)) and time.monotonic() < deadline:
                time.sleep(0.01)
            process.kill()
        assert 0 < len(done) < 12
        (out / "11.jsonl.parquet.0.unfinished").write_text("left by another kill")
        report = json.loads(run_dex(*words).stdout)
        assert (report["found"], report["written"], report["files"]) == (12_000, 12_000, 12)
        after = read_times(out)
        assert len(after) == 12 and {file: after[file] for file in done} == done
        assert [file for file in out.rglob("*") if "unfinished" in file.name] == []

    def test_memory_follows_no_size(self, tmp_path: Path) -> None:
        """Documents of a megabyte, in row groups of some, take no more of it when there are five times as many."""
        peaks = []
        for count in (20, 100):
            source = tmp_path / f"{count}.parquet"
            # Hardly compressible, so that what is kept of the file would show.
            texts = (random.Random(number).randbytes(500_000).hex() for number in range(count))
            payload = [json.dumps({"output": text}) for text in texts]
            parquet.write_table(arrow.table({"output_payload": payload}), source, row_group_size=8)
            program = f"""
from pathlib import Path
from engine.files.extract_file import extract_file
from engine.files.extractor import Extractor
account = extract_file(Extractor("icp_job_titles"), Path({str(source)!r}), Path({str(tmp_path / "out.parquet")!r}))
lines = Path("/proc/self/status").read_text().splitlines()
peak = next(line for line in lines if line.startswith("VmHWM"))
print(account["skipped"], int(peak.split()[1]) // 1024)  # ru_maxrss would be that of the process it was forked from
"""
            done = subprocess.run(
                [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120
            )
            found, peak = map(int, done.stdout.split())
            assert found == count, done.stderr
            peaks.append(peak)
        assert peaks[1] - peaks[0] < 45, peaks  # the documents added are 80 MB

    def test_what_is_wrong_is_named(self, tmp_path: Path) -> None:
        for words, sentence in (
            (["--from", str(tmp_path), "--to", str(tmp_path / "out")], "holds no file"),
            (["--from", str(tmp_path)], "two folders"),
            ([], "name a FILE"),
            (["--from", str(tmp_path / "nowhere"), "--to", "x"], "is no folder"),
        ):
            done = run_dex_text("extract", "icp_job_titles", *words, environment={})
            assert done.returncode == 2 and sentence in done.stderr, done.stderr


@pytest.mark.parametrize("library", ["pyarrow", "distributed"])
def test_a_missing_library_is_named_with_the_part_to_install(tmp_path: Path, library: str) -> None:
    program = f"""
import importlib.util, sys
sys.modules[{library!r}] = None
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == {library!r} else found(name, *rest)
from scripts import dex
dex.main(["extract", "icp_job_titles", "--from", sys.argv[1], "--to", sys.argv[1]])
"""
    (tmp_path / "x.jsonl").write_text("{}")
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1 and "pip install data-engine-x[files]" in done.stderr, done.stderr
