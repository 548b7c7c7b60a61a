"""A project's specs as its plans, or every mistake at once."""

from pathlib import Path

import pytest

from engine import plans as load
from engine.errors import nearest
from engine.plans import UnknownSpec
from engine.project import Project
from engine.spec.diagnostics import SpecErrors

ROOT = Path(__file__).resolve().parents[2]
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


def project(tmp_path, **paths):
    (tmp_path / "specs").mkdir()
    for name, path in paths.items():
        (tmp_path / "specs" / f"{name}.yaml").write_text(SPEC.format(name=name, path=path))
    return Project(tmp_path)


def test_plans_come_in_the_order_of_their_names(tmp_path):
    found = load.load(project(tmp_path, quotes="output.a", funds="output.b"))
    assert [plan.name for plan in found] == ["funds", "quotes"]
    assert [plan.file for plan in found] == ["specs/funds.yaml", "specs/quotes.yaml"]


def test_every_mistake_of_every_file_is_raised_at_once(tmp_path):
    with pytest.raises(SpecErrors) as raised:
        load.load(project(tmp_path, quotes="output.", funds="outptu.b"))
    assert [item.file for item in raised.value.diagnostics] == ["specs/funds.yaml", "specs/quotes.yaml"]
    assert "specs/funds.yaml:9:31: SPEC404 root `outptu` does not exist" in raised.value.message


def test_no_specs_are_no_plans(tmp_path):
    assert load.load(Project(tmp_path)) == ()


@pytest.mark.parametrize("name", ["quotes.yml", "quotes.YAML"])
def test_a_spec_of_another_suffix_is_not_overlooked(tmp_path, name):
    found = project(tmp_path, quotes="output.a")
    (tmp_path / "specs" / "quotes.yaml").rename(tmp_path / "specs" / name)
    with pytest.raises(SpecErrors, match=rf"specs/{name}:1:1: SPEC101 `{name}` does not end in `.yaml`"):
        load.load(found)


def test_an_unknown_spec_names_the_known_ones():
    plans = load.load(Project(ROOT))
    assert load.pick(plans, "icp_job_titles").table == "icp_job_titles"
    with pytest.raises(UnknownSpec, match="unknown spec `icp_titles`") as raised:
        load.pick(plans, "icp_titles")
    assert all(f"`{plan.name}`" in raised.value.hint for plan in plans)
    assert raised.value.hint.endswith("did you mean `icp_job_titles`?")


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("domian", ["domain", "trim"], "did you mean `domain`?"),
        ("x", ["domain", "trim"], "known: `domain`, `trim`"),
        ("x", [], ""),
    ],
)
def test_the_nearest_name(name, known, hint):
    assert nearest(name, known) == hint
