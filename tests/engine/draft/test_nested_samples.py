"""Drafts from the shapes that providers answer in: nested objects, JSON inside strings, bodies with citations."""

import json
from typing import Any

import pytest

from engine.draft import names, spec_text
from engine.plan import Plan
from tests.engine.draft.test_spec_text import compile_draft, list_path_texts

LANDSCAPE: dict[str, Any] = {
    "target_company": {"name": "CoreWeave, Inc.", "website": "https://www.coreweave.com/"},
    "as_of": "2026-03-14T09:20:11Z",
    "competitive_landscape": {
        "market": "GPU cloud",
        "competitors": [
            {
                "rank": 1,
                "company": {"name": "Lambda", "website": "https://lambda.ai", "hq": {"country": "US"}},
                "employee_count": "1,200",
                "last_funding": {"round": "Series D", "amount_usd": 480000000, "date": "2025-02-19"},
                "sources": [{"url": "https://lambda.ai/about"}],
            },
            {
                "rank": 2,
                "company": {"name": "Crusoe", "website": "crusoe.ai", "hq": {"country": "US"}},
                "employee_count": None,
                "last_funding": None,
                "sources": [],
            },
        ],
    },
    "parallel_raw_response": {"run": {"run_id": "trun_1"}, "output": {"type": "json", "content": {"competitors": []}}},
}
RISKS = {"company_domain": "lambda.ai", "risks": [{"title": "GPU supply", "severity": 4}, {"title": "Debt"}]}
CHAT: dict[str, Any] = {
    "object": "response",
    "status": "completed",
    "model": "o4-mini",
    "output": [
        {"type": "reasoning", "summary": []},
        {
            "type": "message",
            "content": [
                {"type": "output_text", "text": json.dumps(RISKS), "annotations": [{"url": "https://lambda.ai"}]}
            ],
        },
    ],
    "usage": {"input_tokens": 3280},
}


def draft(sample: Any, operation: str = "company.derive.competitors") -> tuple[Plan, str, list[dict[str, Any]]]:
    """Draft from a sample; return the plan, the text of the spec and the rows of the sample."""
    files = spec_text.draft_from_sample(operation, sample)
    built = compile_draft(files)
    text = next(text for name, text in files.items() if name.startswith("specs/"))
    extraction = json.loads(files[f"tests/cases/good/{built.name}/extraction.json"])
    assert extraction["reasons"] == []
    return built, text, extraction["rows"]


def test_nested_objects_become_columns() -> None:
    built, _, rows = draft(LANDSCAPE)
    assert built.conflict == ("org_id", "company_domain", "competitor_domain")
    paths = list_path_texts(built)
    assert paths["company_domain"] == "output.target_company.website"
    assert paths["competitor_domain"] == "item.company.website"
    assert paths["competitor_name"] == "item.company.name"
    assert paths["hq_country"] == "item.company.hq.country"
    assert paths["last_funding_amount_usd"] == "item.last_funding.amount_usd"
    assert paths["as_of"] == "output.as_of"
    types = {column.name: column.type.name for column in built.fields}
    assert (types["last_funding_amount_usd"], types["last_funding_date"], types["sources"]) == (
        "numeric",
        "date",
        "jsonb",
    )
    assert [row["competitor_domain"] for row in rows] == ["lambda.ai", "crusoe.ai"]
    assert built.description == "One row per company and competitor."


def test_a_key_that_would_fold_elements_is_not_proposed() -> None:
    landscape = json.loads(json.dumps(LANDSCAPE))
    one, two = landscape["competitive_landscape"]["competitors"]
    one["company"] |= {"name": "Google Cloud", "website": "google.com"}
    two["company"] |= {"name": "Google DeepMind", "website": "https://google.com/deepmind"}
    built, _, rows = draft(landscape)
    assert built.conflict == ("org_id", "company_domain", "competitor_name")
    assert len(rows) == 2
    two["company"]["name"] = " google cloud"
    built, _, rows = draft(landscape)
    assert built.conflict[2:] == ("competitor_name", "competitor_website") and len(rows) == 2
    del two["company"]["website"]
    built, text, rows = draft(landscape)
    assert built.conflict[2:] == ("competitor_fingerprint",) and len(rows) == 2
    assert "nothing in the sample tells the elements apart" in text


def test_one_element_is_said_to_be_one() -> None:
    landscape = json.loads(json.dumps(LANDSCAPE))
    del landscape["competitive_landscape"]["competitors"][1]
    assert "the sample has one element" in draft(landscape)[1]


def test_json_inside_a_string_is_opened() -> None:
    built, _, rows = draft(CHAT, "company.derive.risks")
    assert built.mappings[0].rows is not None
    assert built.mappings[0].rows.text.startswith("parse_json(output.output[?type == 'message']")
    assert built.conflict == ("org_id", "company_domain", "risk_title")
    assert built.mappings[0].when is not None and built.mappings[0].when.text == "output.status == 'completed'"
    assert [(row["company_domain"], row["risk_title"]) for row in rows] == [
        ("lambda.ai", "GPU supply"),
        ("lambda.ai", "Debt"),
    ]
    assert rows[0]["citations"] == [{"url": "https://lambda.ai"}]


def test_json_inside_a_string_of_the_output_is_opened() -> None:
    built, _, rows = draft({"domain": "acme.com", "answer": json.dumps({"employees": 12, "hq": {"city": "Oslo"}})})
    paths = list_path_texts(built)
    assert (paths["employees"], paths["hq_city"]) == (
        "parse_json(output.answer).employees",
        "parse_json(output.answer).hq.city",
    )
    assert rows[0]["hq_city"] == "Oslo"


def test_the_basis_of_an_answer_is_kept() -> None:
    basis = [{"field": "summary", "citations": [{"url": "https://a.example"}], "confidence": "high"}]
    body = {"run": {}, "output": {"content": {"summary": "GPUs", "market": {"size": 5}}, "basis": basis}}
    built, _, rows = draft({"domain": "coreweave.com", "parallel_raw_response": body})
    assert list_path_texts(built)["basis"] == "output.parallel_raw_response.output.basis"
    assert rows[0]["basis"] == basis
    assert list_path_texts(built)["market_size"] == "output.parallel_raw_response.output.content.market.size"


@pytest.mark.parametrize(
    ("body", "guard"),
    [
        ({"status": "COMPLETED", "domain": "a.com"}, "output.status == 'COMPLETED'"),
        ({"state": "succeeded", "domain": "a.com"}, "output.state == 'succeeded'"),
        (
            {"choices": [{"message": {"content": "prose"}, "finish_reason": "stop"}]},
            "output.choices[0].finish_reason == 'stop'",
        ),
    ],
)
def test_a_body_that_tells_its_state_is_guarded(body: dict[str, Any], guard: str) -> None:
    built, _, _ = draft(body)
    assert built.mappings[0].when is not None and built.mappings[0].when.text == guard


@pytest.mark.parametrize(
    ("operation", "table", "row_name"),
    [
        ("company.derive.news", "company_news", "company_news"),
        ("company.derive.top_10", "company_top_10", "company_top_10"),
        ("company.derive.statuses", "company_statuses", "company_status"),
        ("person.derive.children", "person_children", "person_child"),
        ("company.derive.analysis", "company_analyses", "company_analysis"),
        ("company.derive.business", "company_businesses", "company_business"),
    ],
)
def test_names_are_english(operation: str, table: str, row_name: str) -> None:
    assert names.build_table_name(operation) == table
    assert names.to_singular(table) == row_name
