"""A row written live is the row of the backfill: every case of `tests/cases`, through its generated block."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from api.http.errors import Fault
from api.rows.upsert_body import UpsertBody
from engine import plan
from engine.generate import typescript
from engine.plan import Field, Plan
from engine.rows import document
from engine.rows.extract import Extraction, extract_rows
from engine.spec import yaml_source
from engine.spec.checks import check_sources
from engine.values import exact_json
from engine.values.exact_json import Json, dumps, loads, sort_keys_like_jsonb
from tests.conftest import ROOT, link_trigger

TRIGGER = ROOT / "trigger"
CASES = ROOT / "tests" / "cases"
#: The run of `trigger/tests/persist/run-blocks.ts`.
RUN_ID = "22222222-2222-4222-8222-222222222222"
RUN = document.Run(org_id=RUN_ID, company_id=RUN_ID, submission_id=RUN_ID, pipeline_run_id=RUN_ID, step_position=1)


@dataclass(frozen=True)
class Case:
    """A spec and the `output_payload` of one step."""

    name: str
    plan: Plan
    payload: Json


def load_plan(folder: Path) -> Plan | None:
    files = sorted(folder.glob("*.yaml")) or [ROOT / "specs" / f"{folder.name}.yaml"]
    checked = check_sources([yaml_source.load_source(file, f"specs/{file.name}") for file in files])
    plans = [plan.compile_spec(spec, origin.file, checked.paths, origin.files) for origin, spec in checked.specs]
    return plans[0] if plans else None


def build_payload(value: Any, operation: str) -> Json:
    """The `output_payload` of a file, as `document.from_file` understands it: whole, or an output alone."""
    if isinstance(value, dict) and "output_payload" in value:  # a whole step result
        return {**value["output_payload"], "step_input": value["input_payload"]}
    if isinstance(value, dict) and isinstance(value.get("operation_result"), dict):
        return value
    result = {"operation_id": operation, "status": "found", "output": value}
    return {"operation_result": result, "cumulative_context": value if isinstance(value, dict) else {}}


def is_storable(payload: Json) -> bool:
    """Whether a step result can hold it at all."""
    try:
        return bool(dumps(payload))
    except exact_json.ExactError:
        return False


def load_cases() -> list[Case]:
    found = []
    for folder in sorted([*(CASES / "good").iterdir(), *(CASES / "providers").iterdir()]):
        first = load_plan(folder) if folder.is_dir() else None
        for file in sorted(folder.glob("*.json")) if first else []:
            if not file.name.endswith("extraction.json"):
                payload = build_payload(loads(file.read_bytes()), first.operations[0])
                if is_storable(payload):
                    found.append(Case(f"{folder.name}/{file.name}", first, payload))
    return found


def run_blocks(given: Sequence[Case], folder: Path) -> list[Any]:
    """What the generated blocks send, run by node in a folder that is trigger/ but for its generated blocks."""
    generated = link_trigger(folder)
    questions: list[Json] = []
    for index, case in enumerate(given):
        module = generated / f"case_{index}.ts"
        module.write_text(
            typescript.build_typescript_files([case.plan])[
                f"{typescript.FOLDER}/{typescript.build_file_name(case.plan)}"
            ]
        )
        row: Json = {"id": "1"}
        questions.append(
            {
                "module": str(module),
                "function": typescript.build_function_name(case.plan),
                "answer": {"data": [row] if case.plan.many else row},
                "payload": case.payload,
            }
        )
    done = subprocess.run(
        ["node", "--import", "tsx", "tests/persist/run-blocks.ts"],
        cwd=TRIGGER,
        input=dumps(questions),
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    answers = loads(done.stdout)
    assert isinstance(answers, list)
    return answers


def format_rows(rows: Sequence[Any], given: Plan) -> list[bytes]:
    """Rows as comparable text, in any order: documents may be text already, and carry their source."""
    return sorted(
        dumps(sort_keys_like_jsonb({item.name: to_json(item, row[item.name]) for item in given.fields})) for row in rows
    )


def to_json(item: Field, value: Any) -> Json:
    """A value of a row as JSON. A document is JSON text in a row, of this kind or that."""
    if value is None or isinstance(value, (bool, list)):
        return value
    if item.type.name == "jsonb":
        return loads(value if isinstance(value, (str, bytes)) else bytes(value))
    return str(value)


@pytest.fixture(scope="module")
def given() -> list[Case]:
    return load_cases()


@pytest.fixture(scope="module")
def live(given: list[Case], tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    return run_blocks(given, tmp_path_factory.mktemp("blocks"))


def test_every_case_says_live_what_it_says_in_the_backfill(given: list[Case], live: list[Any]) -> None:
    assert len(given) > 30
    for case, answer in zip(given, live, strict=True):
        payload = exact_json.convert_to_stored(case.payload)
        assert isinstance(payload, dict)
        value = document.build_from_payload(payload, RUN, payload.get("step_input"))
        compare_rows(case, extract_rows(case.plan, value["operation"]["id"], value), answer)


def compare_rows(case: Case, bulk: Extraction, answer: Any) -> None:
    where = f"{case.name}: {bulk}\nlive: {answer['lines']}"
    rows: list[Any] = []
    for body in answer["sent"]:
        try:
            rows += UpsertBody.parse(case.plan, body.encode()).rows
        except Fault as fault:
            assert bulk.outcome == "rejected", f"{where}\n{fault}"
    if bulk.outcome == "filtered":
        assert not answer["sent"], where
    elif bulk.outcome == "rejected":
        assert not rows, where
    else:
        # What a path of one element raises on is left out before it is sent; all else is admitted by the engine.
        assert format_rows(rows, case.plan) == format_rows(bulk.rows, case.plan), where
