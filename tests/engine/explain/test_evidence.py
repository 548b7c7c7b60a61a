"""Which entries of a provider's basis are about which column."""

from typing import Any

import pytest

from engine import plan
from engine.explain.evidence import find_evidence
from engine.plan import Plan
from engine.spec import yaml_source
from engine.spec.checks import check_sources

CONTENT = "output.parallel_raw_response.output.content"
FUNDING = f"""
spec: 1
name: funding
title: Funding
operations: [company.derive.funding]
table: funding
row_name: funding_row
conflict: [org_id, company_domain]
fields:
  company_domain: {{type: text, path: "output.domain"}}
  total: {{type: numeric, path: "{CONTENT}.funding.total"}}
  investors: {{type: jsonb, path: "{CONTENT}.funding.investors"}}
  either: {{type: text, path: "{CONTENT}.city || {CONTENT}.country"}}
  best: {{type: text, coalesce: [company_domain, either]}}
  answer: {{type: jsonb, path: "{CONTENT} || output.parallel_raw_response"}}
"""
ROUNDS = f"""
spec: 1
name: rounds
title: Rounds
operations: [company.derive.rounds]
table: rounds
row_name: round
conflict: [org_id, company_domain, round_name]
rows: "{CONTENT}.rounds"
fields:
  company_domain: {{type: text, path: "output.domain", required: true}}
  round_name: {{type: text, path: "item.name", required: true}}
  lead: {{type: text, path: "item.investors.lead"}}
  whole: {{type: jsonb, path: "item"}}
"""
FUNDING_FIELDS = ["funding", "funding.total", "funding.investors.0", "city", "country", "people[0].name", "content"]
ROUNDS_FIELDS = ["rounds", "rounds.0", "rounds.1.name", "rounds[1].investors.lead", "rounds.10.name", "city"]


def compile_named(text: str, name: str) -> Plan:
    checked = check_sources([yaml_source.parse_source(text, f"specs/{name}.yaml")])
    assert checked.diagnostics == ()
    return plan.compile_spec(checked.specs[0][1], f"{name}.yaml", checked.paths)


def list_fields(text: str, name: str, column: str, fields: list[str], element: int | None = None) -> list[str]:
    made = compile_named(text, name)
    basis: list[dict[str, Any]] = [{"field": field} for field in fields]
    return [entry["field"] for entry in find_evidence(made, made.operations[0], column, element, basis)]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("company_domain", []),
        ("total", ["funding", "funding.total", "content"]),
        ("investors", ["funding", "funding.investors.0", "content"]),
        ("either", ["city", "country", "content"]),
        ("best", ["city", "country", "content"]),
        ("answer", FUNDING_FIELDS),
    ],
)
def test_evidence_is_about_what_a_path_reads(column: str, expected: list[str]) -> None:
    assert list_fields(FUNDING, "funding", column, FUNDING_FIELDS) == expected


@pytest.mark.parametrize(
    ("column", "element", "expected"),
    [
        ("round_name", 0, ["rounds", "rounds.0"]),
        ("round_name", 1, ["rounds", "rounds.1.name"]),
        ("lead", 1, ["rounds", "rounds[1].investors.lead"]),
        ("whole", 1, ["rounds", "rounds.1.name", "rounds[1].investors.lead"]),
        ("whole", 10, ["rounds", "rounds.10.name"]),
        ("company_domain", 1, []),
    ],
)
def test_under_rows_it_is_about_the_element(column: str, element: int, expected: list[str]) -> None:
    assert list_fields(ROUNDS, "rounds", column, ROUNDS_FIELDS, element) == expected
