"""Whole operations drafted from columns: they pass the checks, and their made-up case gives their rows."""

import json
from typing import Any

import pytest

from engine.draft import operation
from engine.draft.spec_text import NotDrafted
from engine.plan import Plan
from engine.values.column_types import TYPES
from tests.engine.draft.test_spec_text import compile_draft, list_path_texts

EVERY_TYPE = ",".join(f"{name.replace('[]', '_list').replace(' ', '_')}_value:{name}" for name in TYPES)


def draft(id_: str, columns: str, **options: str) -> tuple[Plan, list[dict[str, Any]]]:
    files = operation.draft_from_columns(id_, columns, **options)
    built = compile_draft(files)
    extraction = json.loads(files[f"tests/cases/good/{built.name}/extraction.json"])
    assert extraction["reasons"] == []
    return built, extraction["rows"]


def read_schema(built: Plan) -> dict[str, Any]:
    assert built.research is not None and built.research.output_schema is not None
    schema: dict[str, Any] = built.research.output_schema["json_schema"]
    return schema


def test_a_plural_gives_rows() -> None:
    built, rows = draft("company.derive.competitors", "name:text,website:text,founded:integer")
    assert built.conflict == ("org_id", "company_domain", "name")
    assert built.mappings[0].rows is not None
    assert built.mappings[0].rows.text == "output.parallel_raw_response.output.content.competitors"
    assert [row["name"] for row in rows] == ["First name", "Second name"]
    assert rows[0]["company_domain"] == "acme-robotics.example"
    element = read_schema(built)["properties"]["competitors"]["items"]
    assert list(element["properties"]) == ["name", "website", "founded"]
    assert element["properties"]["founded"]["description"] == "When the competitor was founded."
    assert built.research is not None
    assert "Give one entry for each competitor, with:\n- `name`: name of the competitor" in built.research.prompt
    assert [given.name for given in built.research.inputs] == ["company_name", "company_domain"]
    assert list_path_texts(built)["basis"] == "output.parallel_raw_response.output.basis"


def test_the_key_of_an_element_is_a_trimmed_name() -> None:
    built, _ = draft("company.derive.board_members", "linkedin:text,role:text,full_name:text")
    assert built.conflict == ("org_id", "company_domain", "full_name")
    assert [each.name for each in built.field("full_name").normalizers] == ["trim"]
    assert (built.table, built.row_name) == ("company_board_members", "company_board_member")
    assert draft("company.derive.pages", "website:text,kind:text")[0].conflict[-1] == "website"


def test_a_singular_gives_one_row() -> None:
    built, rows = draft("person.derive.summary", "headline:text,skills:text[]")
    assert built.conflict == ("org_id", "person_linkedin_url")
    assert built.mappings[0].rows is None and len(rows) == 1
    assert list(read_schema(built)["properties"]) == ["headline", "skills"]
    assert rows[0]["basis"][0]["field"] == "headline"


def test_the_list_can_be_named() -> None:
    built, rows = draft("company.derive.funding", "round_name:text,announced_on:date,amount_usd:numeric", rows="rounds")
    assert built.conflict == ("org_id", "company_domain", "round_name")
    assert rows[0]["announced_on"] == "2026-05-15"
    assert list(read_schema(built)["properties"]) == ["rounds"]


def test_elements_without_an_identity_have_a_fingerprint() -> None:
    built, rows = draft("company.derive.scores", "value:numeric,seen_on:date")
    assert built.conflict == ("org_id", "company_domain", "fingerprint")
    assert len(rows) == 2


@pytest.mark.parametrize("id_", ["company.derive.things", "company.derive.thing", "market.derive.size", "person.facts"])
def test_every_type_makes_a_case(id_: str) -> None:
    built, _ = draft(id_, EVERY_TYPE)
    assert len(built.fields) > len(TYPES)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("", "is no column"),
        ("Name:text", "`Name:text` is no column"),
        ("name:string", "unknown type `string` of `name`"),
        ("name:text,name:date", "`name` is given twice"),
        ("org_id:uuid", "does not pass the checks"),
        ("company_domain:text", "every column is an input"),
        ("reasoning:text", "does not pass the checks"),
    ],
)
def test_columns_that_cannot_be(columns: str, message: str) -> None:
    with pytest.raises(NotDrafted, match=message):
        operation.draft_from_columns("company.derive.things", columns)


def test_a_type_of_another_system_names_ours() -> None:
    with pytest.raises(NotDrafted) as caught:
        operation.draft_from_columns("company.derive.things", "name:text,founded:int")
    assert caught.value.hint == "write `integer`"
