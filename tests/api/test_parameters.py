"""Parameters of a query string: what an endpoint would ignore is refused, and mistakes are told in words of HTTP."""

from typing import Any

import httpx
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
        ("/api/internal/coverage?org_id=x", "unknown_field", "unknown field `org_id`"),
    ],
)
def test_a_parameter_that_would_be_ignored_is_refused(api: Api, org: str, path: str, code: str, sentence: str) -> None:
    assert sentence in read_error(api.client.get(path, headers=internal_headers(org)), 422, code)["error"]
    read_error(api.client.get(path), 401, "missing_token")  # who is unknown learns nothing of it


@pytest.mark.parametrize("path", [f"{ICP}/query", f"{ICP}/export", "/api/internal/icp-job-titles/upsert"])
def test_a_parameter_of_a_body_has_no_place_in_the_query_string(api: Api, org: str, path: str) -> None:
    error = read_error(api.post(f"{path}?limit=1", b"{}", headers=internal_headers(org)), 422, "unknown_field")
    assert error["error"] == error["detail"][0]["message"] == "unknown field `limit`"
    assert "or send it in the body" in error["hint"]
    read_error(api.post(f"{path}?limit=1", b"{}"), 401, "missing_token")


@pytest.mark.parametrize("path", ["/api/v1/submissions/{}/cancel", "/api/v1/submissions/{}/retry", "{}"])
def test_an_endpoint_without_a_body_takes_no_field(api: Api, org: str, path: str) -> None:
    submission, run = api.insert_submission(org)
    path = path.format(submission) if "submissions" in path else "/api/internal/reconcile"

    def post_body(body: bytes, **headers: str) -> httpx.Response:
        return api.post(path, body, headers={**internal_headers(org), **headers})

    error = read_error(post_body(b'{"runs": []}'), 422, "unknown_field")
    assert "unknown field `runs`" in error["error"] and "takes no fields" in error["hint"]
    for body, code in ((b"{", "not_json"), (b"[]", "invalid_body")):
        read_error(post_body(body), 422, code)
    read_error(post_body(b"x", **{"content-encoding": "gzip"}), 422, "invalid_gzip")
    read_error(api.post(path, b"{"), 401, "missing_token")
    assert api.fetch_value("select status from pipeline_runs where id = %s", [run]) == "running"
    assert {post_body(body).status_code for body in (b"", b"{}", b"null", b" \n")} == {200}


@pytest.mark.parametrize("time", ["today", "", "2026-02-30T00:00:00Z", "2026-01-31", "2026-01-31T12:00:00", 5])
def test_what_is_no_time_is_told_without_names_of_python(api: Api, time: Any) -> None:
    error = read_error(api.call_runner("research-orders/collectable", {"after_time": time}), 422, "invalid_body")
    message = "`after_time`: it is not a time with its offset, such as `2026-01-31T12:00:00Z`"
    assert error["error"] == message
    body = {"after_time": "2026-01-31T12:00:00+01:00"}
    assert api.call_runner("research-orders/collectable", body).status_code == 200


def test_a_mistake_in_a_body_is_told_without_names_of_python(api: Api, org: str) -> None:
    body = {"steps": [], "inputs": [5], "dry_run": "yes"}
    error = read_error(api.post("/api/v1/submissions", body, headers=internal_headers(org)), 422, "invalid_body")
    assert {entry["field"]: entry["message"] for entry in error["detail"]} == {
        "steps": "it has 0 elements, and needs at least 1",
        "inputs.0": "it is not an object",
        "dry_run": "it is not true or false",
    }
    huge = b'{"steps": [{"operation_id": "company.derive.icp_job_titles"}], "inputs": [{}, {"n": 1e999999}]}'
    error = read_error(api.post("/api/v1/submissions", huge, headers=internal_headers(org)), 422, "invalid_body")
    assert error["error"] == "`inputs`: a number beyond what Postgres' `numeric` holds at `$[1].n`"
    assert api.post(f"{ICP}/query", "x", headers=internal_headers(org)).json()["error"] == (
        "expected `object`, got `string`"
    )
