"""Real answers of research providers, extracted, upserted and asked for again: number for number what went in.

They lie beside the repository and are never copied into it; where the folder is not there, their test is skipped.
"""

from typing import Any

import pytest

from engine import plans
from engine.rows import document
from engine.rows.extract import extract_rows
from engine.values import exact_json
from tests.api.loopback import Api
from tests.conftest import ROOT

SAMPLES = ROOT.parent / "shared" / "samples"
OPERATION = "company.derive.intel_briefing"
OWN = exact_json.loads('{"output": {"content": {"a": [1.10, 1E2, 123456789012345678901234567890, "é😀\\\\u0000"]}}}')


def load_responses() -> dict[str, exact_json.Json]:
    """Return each answer by its name; a file may hold several, one per key."""
    found: dict[str, exact_json.Json] = {}
    for file in sorted(SAMPLES.glob("*.json")):
        value = exact_json.loads(file.read_bytes())
        assert isinstance(value, dict)
        found |= value if "_note" in value else {file.stem: value}
    return {name.replace("_", "-"): body for name, body in found.items() if name != "_note"}


def test_what_comes_back_is_what_went_in(api: Api, org: str) -> None:
    assert_round_trip(api, org, {"domain": "own.example.com", "parallel_raw_response": OWN})


def test_what_comes_back_of_each_sample_is_what_went_in(api: Api, org: str) -> None:
    responses = load_responses()
    if not responses:
        pytest.skip(f"no samples beside the repository, at {SAMPLES}")
    for name, response in responses.items():
        assert_round_trip(api, org, {"domain": f"{name}.example.com", "parallel_raw_response": response})


def assert_round_trip(api: Api, org: str, output: dict[str, Any]) -> None:
    plan = plans.find_plan(api.plans, "company_intel_briefings")
    extraction = extract_rows(plan, OPERATION, document.build_from_file(output, OPERATION))
    domain, raw = output["domain"], "".join(exact_json.write_chunks(output["parallel_raw_response"]))
    if extraction.outcome == "row":
        raw = extraction.rows[0]["raw_parallel_output"]
    body = f'{{"company_domain": "{domain}", "raw_parallel_output": {raw}}}'.encode()
    answer = api.upsert(plan.slug, body, org)
    if extraction.outcome != "row":
        assert (answer.status_code, answer.json()["code"]) == (422, extraction.reasons[0].code), domain
        return
    assert answer.status_code == 200, answer.text
    asked: Any = exact_json.loads(api.query(plan.slug, org, {"company_domain": domain}).content)
    (row,) = asked["data"]
    assert exact_json.dumps(row["raw_parallel_output"]) == exact_json.dumps(
        exact_json.convert_to_stored(exact_json.loads(raw))
    ), domain
