"""Every request gets an id, a log line and a measurement, none of which holds a body or a secret."""

import json
import re
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.api.loopback import INTERNAL_KEY, Api, bearer_headers, internal_headers

SLUG = "company-intel-briefings"
UPSERT = f"/api/internal/{SLUG}/upsert"
ROW = {"company_domain": "example.com", "raw_parallel_output": {"secret": "the body of the research"}}


def read_log(api: Api, capfd: pytest.CaptureFixture[str]) -> str:
    """What the API has written about the requests so far.

    It writes a line once the answer is gone, so the caller may be ahead of it. One more request, of which it says
    nothing, is taken up only when the line is there.
    """
    api.client.get("/healthz")
    return capfd.readouterr().err


def read_log_lines(api: Api, capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in read_log(api, capfd).splitlines() if line.startswith("{")]


def read_metric(api: Api, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    text = api.client.get("/metrics").text
    families = text_string_to_metric_families(text)
    return {
        tuple(sorted(one.labels.items())): one.value
        for family in families
        for one in family.samples
        if one.name == name
    }


class TestRequestId:
    def test_one_is_made(self, api: Api) -> None:
        first, second = (api.client.get("/healthz").headers["x-request-id"] for _ in range(2))
        assert re.fullmatch(r"[0-9a-f]{32}", first)
        assert first != second

    def test_a_good_one_is_kept(self, api: Api) -> None:
        for value in ("abc-123", "trigger.run:1_2", "x" * 128):
            assert api.client.get("/healthz", headers={"x-request-id": value}).headers["x-request-id"] == value

    @pytest.mark.parametrize("value", ['"}{"forged":1', "a b", "x" * 129, "ü", "<script>", ""])
    def test_another_is_replaced(self, api: Api, value: str) -> None:
        answer = api.client.get("/healthz", headers={"x-request-id": value.encode("latin-1")})
        assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])

    def test_refusals_carry_one_too(self, api: Api) -> None:
        for path in ("/nowhere", UPSERT, "/healthz"):
            assert api.client.put(path).headers["x-request-id"]


class TestLog:
    def test_a_request_is_one_line_without_its_body(
        self, api: Api, org: str, capfd: pytest.CaptureFixture[str]
    ) -> None:
        api.upsert(SLUG, ROW, org, **{"x-request-id": "mine"})
        # The line of the last request of the test before may come only now.
        (line,) = [line for line in read_log_lines(api, capfd) if line.get("request_id") == "mine"]
        assert line["event"] == "request"
        assert (line["method"], line["route"], line["status"], line["level"]) == ("POST", UPSERT, 200, "info")
        assert line["ms"] > 0 and line["timestamp"]

    def test_neither_body_nor_secret_is_in_any_line(
        self, api: Api, org: str, capfd: pytest.CaptureFixture[str]
    ) -> None:
        token = api.insert_token(org)
        api.upsert(SLUG, ROW, org)
        api.upsert(SLUG, {**ROW, "processor": ["the body of the research"]}, org)
        api.upsert(SLUG, b'{"the body of the research', org)
        api.post(f"/api/v1/{SLUG}/query", {}, headers=bearer_headers(token))
        api.post(f"/api/v1/{SLUG}/query?secret=the+body", {}, headers=bearer_headers("wrong-token"))
        text = read_log(api, capfd)
        assert '"request"' in text
        for word in ("the body", INTERNAL_KEY, token, "wrong-token", "example.com"):
            assert word not in text

    def test_what_is_asked_every_second_is_not_logged(self, api: Api, capfd: pytest.CaptureFixture[str]) -> None:
        for path in ("/healthz", "/readyz", "/metrics"):
            assert api.client.get(path).status_code == 200
        assert read_log_lines(api, capfd) == []


class TestMetrics:
    def test_requests_are_counted_by_template(self, api: Api, org: str) -> None:
        before = read_metric(api, "dex_http_requests_total")
        api.upsert(SLUG, ROW, org)
        api.post(UPSERT, ROW)
        api.client.get("/api/v1/submissions/b0293785-aa7a-4234-8201-cc47305295f8", headers=internal_headers(org))
        api.client.get("/docs")
        api.client.put("/api/v1/submissions/b0293785-aa7a-4234-8201-cc47305295f8")
        for number in range(3):
            api.client.get(f"/nowhere/{number}")
        after = read_metric(api, "dex_http_requests_total")
        grown = {key: value - before.get(key, 0) for key, value in after.items() if value != before.get(key, 0)}
        counted = {
            (dict(key)["method"], dict(key)["route"], dict(key)["status"]): value for key, value in grown.items()
        }
        assert counted.pop(("GET", "/metrics", "200")) == 1
        assert counted == {
            ("POST", UPSERT, "200"): 1,
            ("POST", UPSERT, "401"): 1,
            ("GET", "/api/v1/submissions/{submission_id}", "404"): 1,
            ("GET", "/docs", "200"): 1,
            ("*", "(no route)", "405"): 1,
            ("*", "(no route)", "404"): 3,
        }

    def test_durations_are_measured(self, api: Api, org: str) -> None:
        api.upsert(SLUG, ROW, org)
        seconds = read_metric(api, "dex_http_request_seconds_sum")
        assert seconds[(("method", "POST"), ("route", UPSERT))] > 0

    def test_outcomes_are_counted_by_spec(self, api: Api, org: str) -> None:
        before = read_metric(api, "dex_upsert_outcomes_total")
        for _ in range(3):
            api.upsert(SLUG, ROW, org)
        after = read_metric(api, "dex_upsert_outcomes_total")
        grown = {
            dict(key)["outcome"]: after[key] - before.get(key, 0)
            for key in after
            if dict(key)["spec"] == "company_intel_briefings"
        }
        assert grown["written"] == 1
        assert grown["unchanged"] == 2
