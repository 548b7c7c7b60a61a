"""One answer in two languages: the tables in Python, then Python beside TypeScript over every path of `specs/`."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jmespath
import pytest

from engine import plans as load
from engine import project
from engine.jmespath import grammar, path
from engine.jmespath.functions import FUNCTIONS, REFUSED
from engine.jmespath.grammar import PathError
from engine.jmespath.path import EvaluationError
from engine.plan import Plan
from engine.values.exact_json import Json, dumps, loads, sort_keys_like_jsonb

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TRIGGER = ROOT / "trigger"
OFFICIAL = ROOT.parent / "shared" / "conformance" / "jmespath"

OWN: Any = loads((HERE / "paths.json").read_bytes())


def evaluate_in_python(expression: str, document: Json) -> dict[str, Json]:
    """Evaluate in Python, with the result in the form of `trigger/tests/paths/evaluate.ts`.

    Roots are not checked: the tables have their own.
    """
    compiled = path.CompiledPath(expression, grammar.parse_expression(expression))
    try:
        return {"value": compiled.search(sort_keys_like_jsonb(document))}
    except EvaluationError as error:
        return {"raised": error.message}


def format_canonical(answer: Json) -> bytes:
    """JSON with sorted keys: their order in an answer means nothing, that of digits everything."""
    return dumps(sort_keys_like_jsonb(answer))


# --- the tables, in Python --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", OWN, ids=[group["comment"] for group in OWN])
def test_own_table(group: Any) -> None:
    for case in group["cases"]:
        answer = evaluate_in_python(case["expression"], group["given"])
        if "error" in case:
            assert "raised" in answer, case["expression"]
        else:
            assert format_canonical(answer.get("value")) == format_canonical(case["result"]), (
                case["expression"],
                answer,
            )


def iterate_official_cases() -> Iterator[tuple[str, Json, Any]]:
    for file in sorted(OFFICIAL.glob("*.json")):
        for group in json.loads(file.read_text()):
            for case in group["cases"]:
                if "result" in case or "error" in case:
                    yield file.stem, group["given"], case


def test_official_cases_of_the_functions_we_allow() -> None:
    if not OFFICIAL.is_dir():
        pytest.skip(f"JMESPath's official cases are not present at {OFFICIAL}")
    checked = 0
    for file, given, case in iterate_official_cases():
        expression = case["expression"]
        if any(f"{name}(" in expression for name in REFUSED):
            continue
        checked += 1
        if "result" in case:
            assert evaluate_in_python(expression, given) == {"value": case["result"]}, (file, expression)
        else:
            assert is_refused(expression, given), (file, expression)
    assert checked > 700


def is_refused(expression: str, given: Json) -> bool:
    """Whether the expression is refused by the check or raises over `given`."""
    try:
        path.compile_path(expression)
    except PathError as error:
        if error.code != "SPEC404":  # roots are ours, not JMESPath's
            return True
    return "raised" in evaluate_in_python(expression, given)


def test_every_standard_function_is_allowed_or_refused_with_a_reason() -> None:
    standard = set(jmespath.functions.Functions.FUNCTION_TABLE)
    assert set(FUNCTIONS) | set(REFUSED) == standard | {"parse_json"}
    assert not set(FUNCTIONS) & set(REFUSED)
    for name, (reason, _instead) in REFUSED.items():
        with pytest.raises(PathError) as caught:
            path.compile_path(f"{name}(output.a)")
        assert reason in str(caught.value)


# --- Python beside TypeScript -----------------------------------------------------------------------------------------

#: What may stand where a path expects something else, numbers as `jsonb` prints them.
AWKWARD: tuple[Json, ...] = tuple(
    loads(text)
    for text in (
        *("null", "true", "false", "0", "1.10", "100", "123456789012345678901234567890", "1" + "0" * 400),
        *('""', '" "', '"text"', '"é😀"', '"null"', '"1"'),
        *("[]", "{}", "[null]", "[[]]", '["a", "b"]', '[{"a": 1}, null, "x", 3]', '{"": 1}', '{"a": {"b": null}}'),
        *('{"10": 1, "9": 2, "b": 3, "aa": 4}', '{"content": ""}', '{"content": 0}', '{"output": {"content": []}}'),
        *(
            '{"output": {"content": "# report"}}',
            '{"output": {"content": [1.0, 2]}}',
            '{"output": null}',
            '{"output": []}',
        ),
    )
)


def build_document(**roots: Json) -> dict[str, Json]:
    whole: dict[str, Json] = {
        "output": {},
        "context": {},
        "run": {"org_id": "o", "submission_id": None, "pipeline_run_id": "r", "step_position": 1},
        "operation": {"id": "x", "status": "found"},
        "item": None,
    }
    return {**whole, **roots}


def place_value(steps: tuple[str, ...], value: Json) -> dict[str, Json]:
    """A document with `value` at a dotted prefix."""
    for step in reversed(steps[1:]):
        value = {"aside": 1, step: value}
    return build_document(**{steps[0]: value})


def iterate_documents(compiled: path.CompiledPath) -> Iterator[dict[str, Json]]:
    yield build_document()
    for steps in sorted(compiled.reads):
        for depth in range(1, len(steps) + 1):
            for value in AWKWARD:
                yield place_value(steps[:depth], value)
    for first in sorted(compiled.reads):  # two alternatives at once, one blank
        for second in sorted(compiled.reads):
            if first[0] == second[0] and len(first) > 1 and len(second) > 1 and first != second:
                yield build_document(**{first[0]: {first[1]: "", second[1]: "second"}})


def iterate_paths(plans: tuple[Plan, ...]) -> Iterator[path.CompiledPath]:
    for plan in plans:
        for mapping in plan.mappings:
            yield from filter(None, (mapping.rows, mapping.when, *mapping.paths))


def evaluate_in_typescript(documents: list[Any], questions: list[tuple[int, str]]) -> list[Any]:
    answer = subprocess.run(
        ["node", "--import", "tsx", "tests/paths/evaluate.ts"],
        cwd=TRIGGER,
        input=dumps({"documents": documents, "questions": [list(question) for question in questions]}) + b"\n",
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert answer.returncode == 0, answer.stderr.decode()
    found = loads(answer.stdout)
    assert isinstance(found, list) and len(found) == len(questions)
    return found


def assert_same(documents: list[Any], questions: list[tuple[int, str]]) -> None:
    for (index, expression), theirs in zip(questions, evaluate_in_typescript(documents, questions), strict=True):
        compare_answers(expression, documents[index], evaluate_in_python(expression, documents[index]), theirs)


def compare_answers(expression: str, document: Any, ours: dict[str, Json], theirs: Any) -> None:
    where = f"{expression} over {dumps(document).decode()}: Python {ours}, TypeScript {theirs}"
    assert ours.keys() == theirs.keys(), where
    if "value" in ours:
        assert format_canonical(ours["value"]) == format_canonical(theirs["value"]), where


def test_every_path_of_the_specs_answers_alike_over_awkward_documents() -> None:
    documents: list[Any] = []
    questions: list[tuple[int, str]] = []
    for compiled in {each.text: each for each in iterate_paths(load.load_plans(project.find_project(ROOT)))}.values():
        for each in iterate_documents(compiled):
            documents.append(each)
            questions.append((len(documents) - 1, compiled.text))
    assert len(questions) > 500
    assert_same(documents, questions)


def test_own_table_answers_alike() -> None:
    documents = [group["given"] for group in OWN]
    questions = [(index, case["expression"]) for index, group in enumerate(OWN) for case in group["cases"]]
    assert_same(documents, questions)
