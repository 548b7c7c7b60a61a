"""A project's specs as its plans, or every mistake at once."""

from pathlib import Path
from typing import Any

import pytest

from engine import plans as load
from engine.errors import suggest_name
from engine.jmespath import grammar
from engine.jmespath.path import compile_path, parse_path
from engine.plans import UnknownSpec
from engine.project import Project
from engine.spec.diagnostics import SpecErrors
from tests.conftest import ROOT

SPEC = """spec: 1
name: {name}
title: Quotes
operations: [finance.fetch.{name}]
table: {name}
row_name: {name}_row
conflict: [org_id, symbol]
fields:
  symbol: {{type: text, path: "{path}"}}
"""


def project(tmp_path: Path, **paths: str) -> Project:
    (tmp_path / "specs").mkdir()
    for name, path in paths.items():
        (tmp_path / "specs" / f"{name}.yaml").write_text(SPEC.format(name=name, path=path))
    return Project(tmp_path)


def test_plans_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    found = load.load_plans(project(tmp_path, quotes="output.a", funds="output.b"))
    assert [plan.name for plan in found] == ["funds", "quotes"]
    assert [plan.file for plan in found] == ["specs/funds.yaml", "specs/quotes.yaml"]


def test_every_mistake_of_every_file_is_raised_at_once(tmp_path: Path) -> None:
    with pytest.raises(SpecErrors) as raised:
        load.load_plans(project(tmp_path, quotes="output.", funds="outptu.b"))
    assert [item.file for item in raised.value.diagnostics] == ["specs/funds.yaml", "specs/quotes.yaml"]
    assert "specs/funds.yaml:9:31: SPEC404 root `outptu` does not exist" in raised.value.message


def test_loading_parses_each_path_text_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    parse = grammar.parse_expression

    def parse_and_note(text: str) -> Any:
        parsed.append(text)
        return parse(text)

    monkeypatch.setattr(grammar, "parse_expression", parse_and_note)
    plans = load.load_plans(Project(ROOT))
    mappings = [mapping for plan in plans for mapping in plan.mappings]
    paths = [
        path
        for mapping in mappings
        for path in (mapping.rows, mapping.inner_rows, mapping.when, *mapping.paths)
        if path
    ]
    researches = [plan.research for plan in plans if plan.research]
    paths += [path for research in researches for given in research.inputs for path in given.paths]
    paths += [path for research in researches for _, path in research.output]
    assert sorted(parsed) == sorted({path.text for path in paths})
    assert len(paths) > len(parsed) > 10


def test_a_path_without_mistakes_keeps_its_compiled_path() -> None:
    parsed = parse_path("output.domain || output.target_domain")
    assert parsed.mistakes == () and parsed.path == compile_path("output.domain || output.target_domain")
    wrong = parse_path("lenght(outptu.a)")
    assert wrong.path is None and [mistake.code for mistake in wrong.mistakes] == ["SPEC402", "SPEC404"]


def test_no_specs_are_no_plans(tmp_path: Path) -> None:
    assert load.load_plans(Project(tmp_path)) == ()


@pytest.mark.parametrize("name", ["quotes.yml", "quotes.YAML"])
def test_a_spec_of_another_suffix_is_not_overlooked(tmp_path: Path, name: str) -> None:
    found = project(tmp_path, quotes="output.a")
    (tmp_path / "specs" / "quotes.yaml").rename(tmp_path / "specs" / name)
    with pytest.raises(SpecErrors, match=rf"specs/{name}:1:1: SPEC101 `{name}` does not end in `.yaml`"):
        load.load_plans(found)


def test_an_unknown_spec_names_the_known_ones() -> None:
    plans = load.load_plans(Project(ROOT))
    assert load.find_plan(plans, "icp_job_titles").table == "icp_job_titles"
    with pytest.raises(UnknownSpec, match="unknown spec `icp_titles`") as raised:
        load.find_plan(plans, "icp_titles")
    assert all(f"`{plan.name}`" in raised.value.hint for plan in plans)
    assert raised.value.hint.endswith("did you mean `icp_job_titles`?")


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("domian", ["domain", "trim"], "did you mean `domain`?"),
        ("x", ["domain", "trim"], "known: `domain`, `trim`"),
        ("x", [], "there are none: add it, or leave it out"),
    ],
)
def test_the_nearest_name(name: str, known: Any, hint: str) -> None:
    assert suggest_name(name, known) == hint
