"""Real responses of providers, where they lie beside the repository, through the specs of providers/ and our own.

They are read and never copied; where the folder is not there, the test says so and looks at what else there is.
"""

import json
from pathlib import Path

from engine import plan
from engine import plans as load
from engine.plan import Plan
from engine.project import Project
from engine.rows import document
from engine.rows.extract import extract
from engine.spec import yaml_source
from engine.spec.checks import check
from engine.values import exact_json

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SAMPLES = ROOT.parent / "shared" / "samples"
#: Which spec and operation a body is for, by the beginning of its name.
READERS = {
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
#: Words in a body's name that say there is no answer in it.
NO_ANSWER = ("incomplete", "refusal", "failed", "pending", "error")


def plans() -> dict[str, Plan]:
    specs = [yaml_source.load(file, file.name) for file in sorted(HERE.glob("providers/*/*.yaml"))]
    found = [plan.compile(spec, origin.file) for origin, spec in check(specs).specs]
    return {item.name: item for item in (*found, *load.load(Project(ROOT)))}


def bodies() -> dict[str, exact_json.Json]:
    """Each body by its name; a file that holds several, one per key, gives them all."""
    found: dict[str, exact_json.Json] = {}
    for file in sorted(SAMPLES.glob("*.json")):
        value = exact_json.loads(file.read_bytes())
        assert isinstance(value, dict)
        found |= value if "_note" in value else {file.stem: value}
    return {name.replace("-", "_"): body for name, body in found.items() if name != "_note"}


def test_every_answer_becomes_a_row_and_nothing_else_does() -> None:
    found = bodies()
    if not found:
        print(f"no samples beside the repository, at {SAMPLES}: the answers under providers/ are all there is to try")
    known = plans()
    for name, body in found.items():
        spec, operation = next(READERS[start] for start in READERS if name.startswith(start))
        output: dict[str, exact_json.Json] = {"domain": "acme.example", "response": body, "parallel_raw_response": body}
        whole = document.from_file(output, operation)
        result = extract(known[spec], operation, whole)
        if name.startswith("parallel"):
            stored(name, result, body)
        elif any(word in name for word in NO_ANSWER):
            assert (result.outcome, [reason.code for reason in result.reasons]) == ("filtered", ["guard"]), name
        else:
            assert result.outcome == "row", (name, result.reasons)
    assert len(known) >= 8


def stored(name: str, result, body) -> None:
    """The raw column holds the content, else the whole response; a NUL cannot be stored and is named."""
    if "\\u0000" in json.dumps(body):
        assert [reason.code for reason in result.reasons] == ["wrong_type"] and "NUL" in result.reasons[0].message, name
        return
    content = (body.get("output") or {}).get("content") or body
    assert exact_json.loads(result.rows[0]["raw_parallel_output"]) == exact_json.as_stored(content), name
