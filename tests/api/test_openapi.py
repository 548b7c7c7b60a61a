"""The OpenAPI document: it names the real columns, and requests generated from it get only documented answers."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from engine.columns import list_columns
from engine.provided_columns import PROVIDED_COLUMNS, SOURCE_COLUMNS
from tests.api.loopback import INTERNAL_KEY, Api, internal_headers
from tests.conftest import ROOT, take_share


@pytest.fixture(scope="module")
def document(api: Api) -> dict[str, Any]:
    return dict(api.client.get("/openapi.json").json())


def resolve(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Return the component that a schema refers to, or the schema itself; of what may be null, what it else is."""
    schema = next((one for one in schema.get("anyOf", ()) if one.get("type") != "null"), schema)
    name = schema.get("$ref", "").removeprefix("#/components/schemas/")
    return dict(document["components"]["schemas"][name]) if name else schema


def test_it_lists_the_endpoints_of_the_guide(api: Api, document: dict[str, Any]) -> None:
    listed = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    guide = re.findall(r"`(GET|POST) (/\S+)`", (ROOT / "CLAUDE.md").read_text())
    of_specs = [(method, path) for method, path in guide if "<slug>" in path]
    others = {(method, path) for method, path in guide if "<slug>" not in path}
    assert of_specs and listed == others | {
        (method, path.replace("<slug>", plan.slug)) for method, path in of_specs for plan in api.plans
    }


def test_operations_have_short_names(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for item in document["paths"].values() for operation in item.values()]
    assert len(set(names)) == len(names) and max(map(len, names)) < 50
    expected = {"query_icp_job_titles", "pipeline_runs_claim", "research_orders_place", "submissions_dispatch"}
    assert expected | {"health", "list_orders", "list_runs", "read_spec", "create_submission", "reconcile"} <= set(
        names
    )


def test_bodies_name_the_real_columns(api: Api, document: dict[str, Any]) -> None:
    for plan in api.plans:
        body = document["paths"][f"/api/internal/{plan.slug}/upsert"]["post"]["requestBody"]
        schema = resolve(document, body["content"]["application/json"]["schema"])
        sources = set(SOURCE_COLUMNS)
        if plan.many:
            assert set(schema["properties"]) == {"rows", "source_operation_id"} | sources
            schema, sources = resolve(document, schema["properties"]["rows"]["items"]), set()
        assert set(schema["properties"]) == {item.name for item in plan.fields} | sources
        assert schema["required"] == [item.name for item in plan.fields if item.required]
        assert schema["additionalProperties"] is False
        answer = document["paths"][f"/api/internal/{plan.slug}/upsert"]["post"]["responses"]["200"]
        row = resolve(document, answer["content"]["application/json"]["schema"])["properties"]["data"]
        row = resolve(document, row["items"] if plan.many else row)
        assert list(row["properties"]) == list(list_columns(plan))
        query = document["paths"][f"/api/v1/{plan.slug}/query"]["post"]["requestBody"]["content"]["application/json"]
        words = {"limit", "offset", "cursor", "fields", "org_id", "order", "count", *(["q"] if plan.search else [])}
        filters = {item.name for item in plan.filters} | set(PROVIDED_COLUMNS)
        assert set(resolve(document, query["schema"])["properties"]) == filters | words


def test_the_examples_of_bodies_are_taken(api: Api, org: str) -> None:
    check_examples(api, org)


def check_examples(api: Api, org: str) -> None:
    """Send the example of each body of the specs' endpoints, and find the row of the one in the answer to the other."""
    document = api.client.get("/openapi.json").json()
    for plan in api.plans:
        for path in (f"/api/internal/{plan.slug}/upsert", f"/api/v1/{plan.slug}/query", f"/api/v1/{plan.slug}/export"):
            content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
            Draft202012Validator({**content["schema"], "components": document["components"]}).validate(
                content["example"]
            )
            answer = api.post(path, content["example"], headers=internal_headers(org))
            assert answer.status_code == 200, answer.text
            rows = list(map(json.loads, answer.text.splitlines())) if path.endswith("export") else answer.json()["data"]
            assert len(rows if isinstance(rows, list) else [rows]) == 1, (path, rows)


def test_answers_are_as_described(api: Api, org: str, document: dict[str, Any]) -> None:
    body = {"company_domain": "a.com", "raw_parallel_output": [1]}
    answers = {
        "/api/internal/icp-job-titles/upsert": api.upsert("icp-job-titles", body, org),
        "/api/v1/icp-job-titles/query": api.query("icp-job-titles", org),
    }
    for path, answer in answers.items():
        described = document["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
        described = {**described, "components": document["components"]}
        Draft202012Validator(described, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(answer.json())


#: What is not asked of every endpoint. Where a value may fit its schema and still be refused,
#: `positive_data_acceptance` has nothing to say: a text that is no domain, a column that the spec has not, a cursor
#: that was never given out, a NUL that Postgres cannot store, an answer of a failed order. A bad row of a list is
#: refused in the answer, and the others are taken. What takes something that was made before (a run, a step) answers
#: 404 to ids that schemathesis makes up; following a made thing through its life is what the other files here do.
SETTINGS = """
[checks]
use_after_free.enabled = false
ensure_resource_availability.enabled = false
{everywhere}
[[operations]]
include-path-regex = "/research-evidence/upsert$"
checks.negative_data_rejection.enabled = false
checks.positive_data_acceptance.enabled = false

[[operations]]
include-path-regex = "(/upsert|/[{{]id[}}]|/changes|/query|/explain|/export|/v1/submissions|/research-orders/ended)$"
exclude-path-regex = "/research-evidence/upsert$"
checks.positive_data_acceptance.enabled = false
"""


#: Of which a run takes one: the requests that follow from one seed.
SHARES = 3


#: The phase of coverage sends thousands of requests, ten minutes of them, and values at the limits of their schemas: it
#: is part of the long run, where nobody says that these are taken.
@pytest.mark.parametrize(
    ("phases", "examples", "everywhere"),
    [
        ("examples,fuzzing", "1", ""),
        pytest.param("examples,fuzzing", "50", "", marks=pytest.mark.long),
        pytest.param("coverage", "5", "positive_data_acceptance.enabled = false", marks=pytest.mark.long),
    ],
)
def test_schemathesis_finds_nothing(api: Api, tmp_path: Path, phases: str, examples: str, everywhere: str) -> None:
    """Send what schemathesis makes of the document, good and bad, and let it look at every answer."""
    (tmp_path / "schemathesis.toml").write_text(SETTINGS.format(everywhere=everywhere))
    program = Path(sys.executable).parent / "st"
    given = {"Authorization": f"Bearer {INTERNAL_KEY}", "x-internal-org-id": api.insert_organisation()}
    headers = [word for name, value in given.items() for word in ("-H", f"{name}: {value}")]
    (seed,) = take_share(range(SHARES), SHARES)
    limits = ["--max-examples", examples, "--seed", str(seed), "--warnings", "off"]
    limits += ["--request-timeout", "60", "--suppress-health-check", "too_slow"]  # a busy machine is no finding
    command = [str(program), "run", f"{api.url}/openapi.json", *headers, *limits, "--no-color", "--phases", phases]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]
    assert "No issues found" in done.stdout
