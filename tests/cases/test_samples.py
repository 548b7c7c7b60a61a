"""Real responses of providers, extracted through the specs of providers/ and of the project.

They stand beside the repository and are never copied into it. Where they are absent, the test is skipped.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from engine import plans as load
from engine.plan import Plan
from engine.project import Project
from engine.rows import document
from engine.rows.extract import extract_rows
from engine.spec import yaml_source
from engine.spec.checks import check_sources
from engine.values import exact_json

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SAMPLES = ROOT.parent / "shared" / "samples"
#: Beginning of a response's name -> the spec and operation that read it.
OPERATIONS = {
    "openai": ("openai_reports", "company.research.openai"),
    "perplexity_async": ("perplexity_reports", "company.research.sonar_async"),
    "perplexity_agent": ("perplexity_reports", "company.research.perplexity_agent"),
    "perplexity_chat": ("perplexity_reports", "company.research.sonar"),
    "exa_research": ("exa_profiles", "company.research.exa"),
    "exa_agent": ("exa_profiles", "company.research.exa_agent"),
    "exa_search": ("exa_profiles", "company.search.exa"),
    "gemini": ("gemini_reports", "company.research.gemini"),
    "google": ("gemini_reports", "company.research.gemini"),
    "tavily": ("tavily_reports", "company.research.tavily"),
    "parallel": ("company_intel_briefings", "company.derive.intel_briefing"),
}
#: Words in the name of a response that holds no answer.
NO_ANSWER = ("incomplete", "refusal", "failed", "pending", "error")


def load_known_plans() -> dict[str, Plan]:
    specs = [yaml_source.load_source(file, file.name) for file in sorted(HERE.glob("providers/*/*.yaml"))]
    found = load.compile_checked(check_sources(specs))
    return {item.name: item for item in (*found, *load.load_plans(Project(ROOT)))}


def load_responses() -> dict[str, exact_json.Json]:
    """Return each response by its name; a file with `_note` holds several, one per key."""
    found: dict[str, exact_json.Json] = {}
    for file in sorted(SAMPLES.glob("*.json")):
        value = exact_json.loads(file.read_bytes())
        assert isinstance(value, dict)
        found |= value if "_note" in value else {file.stem: value}
    return {name.replace("-", "_"): body for name, body in found.items() if name != "_note"}


def test_every_answer_becomes_a_row_and_nothing_else_does() -> None:
    known = load_known_plans()
    assert len(known) >= 8
    responses = load_responses()
    if not responses:
        pytest.skip(f"no samples beside the repository, at {SAMPLES}")
    for name, body in responses.items():
        spec, operation = next(OPERATIONS[start] for start in OPERATIONS if name.startswith(start))
        output: dict[str, exact_json.Json] = {"domain": "acme.example", "response": body, "parallel_raw_response": body}
        whole = document.build_from_file(output, operation)
        result = extract_rows(known[spec], operation, whole)
        if name.startswith("parallel"):
            assert_stored(name, result, body)
        elif any(word in name for word in NO_ANSWER):
            assert (result.outcome, [reason.code for reason in result.reasons]) == ("filtered", ["guard"]), name
        else:
            assert result.outcome == "row", (name, result.reasons)


def assert_stored(name: str, result: Any, body: Any) -> None:
    """Assert that the raw column holds the content, else the response; a NUL cannot be stored and is named."""
    if "\\u0000" in json.dumps(body):
        assert [reason.code for reason in result.reasons] == ["wrong_type"] and "NUL" in result.reasons[0].message, name
        return
    content = (body.get("output") or {}).get("content") or body
    assert exact_json.loads(result.rows[0]["raw_parallel_output"]) == exact_json.convert_to_stored(content), name
