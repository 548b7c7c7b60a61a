"""Parameters of a query string: what an endpoint would ignore is refused, and mistakes are told in words of HTTP."""

import pytest

from tests.api.loopback import Api, internal_headers, read_error

ICP = "/api/v1/icp-job-titles"


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/api/v1/orders?limit=0", "`limit`: it is below 1"),
        ("/api/v1/orders?limit=many", "`limit`: it is not a whole number"),
        ("/api/v1/orders?status=lost", "`status`: it is none of `requested`, `open`, `completed`, `failed`,"),
        ("/api/v1/orders?org_id=x", "`org_id`: it is not a UUID"),
        ("/api/v1/runs?status=lost", "`status`: it is none of `queued`, `running`, `succeeded`, `failed`, `canceled`"),
        ("/api/v1/costs?month=2026-13", "`month`: it does not match "),
        ("/api/v1/coverage/steps", "`spec`: it is missing"),
        ("/api/v1/coverage/steps?spec=icp_job_titles&outcome=x", "`filtered`, `rejected`, `pending`"),
    ],
)
def test_a_mistake_is_told_once_without_names_of_python(api: Api, org: str, path: str, sentence: str) -> None:
    answer = api.client.get(path, headers=internal_headers(org))
    error = answer.json()
    assert (answer.status_code, len(error["detail"])) == (422, 1), error
    assert sentence in error["error"] and "[" not in error["detail"][0]["field"]


@pytest.mark.parametrize(
    ("path", "code", "sentence"),
    [
        ("/api/v1/caller?org=x", "unknown_field", "unknown field `org`"),
        ("/api/v1/specs?q=x", "unknown_field", "unknown field `q`"),
        (f"{ICP}/changes?after=1&after=2", "invalid_body", "`after` is given 2 times"),
        (f"{ICP}/explain?company_domain=a.com&company_domain=b.com", "invalid_body", "`company_domain` is given 2"),
    ],
)
def test_a_parameter_that_would_be_ignored_is_refused(api: Api, org: str, path: str, code: str, sentence: str) -> None:
    assert sentence in read_error(api.client.get(path, headers=internal_headers(org)), 422, code)["error"]
    query = api.client.post(f"{ICP}/query?limit=1", content=b"{}", headers=internal_headers(org))
    assert "unknown field `limit`" in read_error(query, 422, "unknown_field")["error"]


def test_a_mistake_in_a_body_is_told_without_names_of_python(api: Api, org: str) -> None:
    body = {"steps": [], "inputs": [5], "dry_run": "yes"}
    error = read_error(api.post("/api/v1/submissions", body, headers=internal_headers(org)), 422, "invalid_body")
    assert {entry["field"]: entry["message"] for entry in error["detail"]} == {
        "steps": "it has 0 elements, and needs at least 1",
        "inputs.0": "it is not an object",
        "dry_run": "it is not true or false",
    }
    assert api.post(f"{ICP}/query", "x", headers=internal_headers(org)).json()["error"] == (
        "expected `object`, got `string`"
    )
