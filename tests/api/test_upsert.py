"""Upserts over HTTP: what is written, what is refused, and that a refusal changes nothing."""

import json
import secrets
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.api.loopback import Api, internal_headers, read_data, read_error
from tests.plain_http import HTTP

SLUG = "company-intel-briefings"
UPSERT = f"/api/internal/{SLUG}/upsert"
PERSON = "person-intel-briefings"
ICP = "icp-job-titles"


def build_row(**fields: Any) -> dict[str, Any]:
    return {"company_domain": "example.com", "client_company_name": "Client", "raw_parallel_output": {"a": 1}} | fields


def count_rows(api: Api, org: str) -> int:
    return int(api.fetch_value("select count(*) from company_intel_briefings where org_id = %s", [org]))


class TestOutcomes:
    def test_a_new_row_is_answered_whole(self, api: Api, org: str) -> None:
        submission, run = api.insert_submission(org)
        body = build_row(
            company_name=" Example Inc ",
            parallel_run_id="trun_1",
            processor="ultra",
            source_submission_id=submission,
            source_pipeline_run_id=run,
            source_recorded_at="2026-03-01T12:00:00.123456Z",
        )
        answer = api.upsert(SLUG, body, org)
        assert answer.json()["meta"] == {"outcome": "written"}
        stored = read_data(answer)
        assert stored.pop("id") and stored.pop("created_at") and stored.pop("updated_at")
        assert stored == {
            "org_id": org,
            "company_domain": "example.com",
            "company_name": " Example Inc ",
            "client_company_name": "Client",
            "client_company_description": None,
            "raw_parallel_output": {"a": 1},
            "parallel_run_id": "trun_1",
            "processor": "ultra",
            "source_submission_id": submission,
            "source_pipeline_run_id": run,
            "source_step_result_id": None,
            "source_recorded_at": "2026-03-01T12:00:00.123456+00:00",
        }

    def test_the_same_again_is_unchanged(self, api: Api, org: str) -> None:
        first = read_data(api.upsert(SLUG, build_row(), org))
        again = api.upsert(SLUG, build_row(), org)
        assert again.json()["meta"] == {"outcome": "unchanged"}
        assert read_data(again) == first

    def test_other_content_is_written(self, api: Api, org: str) -> None:
        first = read_data(api.upsert(SLUG, build_row(), org))
        second = api.upsert(SLUG, build_row(raw_parallel_output=[2]), org)
        assert second.json()["meta"] == {"outcome": "written"}
        assert read_data(second)["id"] == first["id"]
        assert read_data(second)["raw_parallel_output"] == [2]
        assert count_rows(api, org) == 1

    def test_an_older_source_is_superseded(self, api: Api, org: str) -> None:
        newer = read_data(api.upsert(SLUG, build_row(source_recorded_at="2026-03-02T00:00:00Z"), org))
        older = api.upsert(
            SLUG, build_row(raw_parallel_output={"old": 1}, source_recorded_at="2026-03-01T00:00:00Z"), org
        )
        assert older.json()["meta"] == {"outcome": "superseded"}
        assert read_data(older) == newer

    def test_null_in_the_key_is_one_row(self, api: Api, org: str) -> None:
        for number in range(3):
            api.upsert(SLUG, build_row(client_company_name=None, raw_parallel_output=number), org)
        assert count_rows(api, org) == 1

    def test_missing_keeps_or_clears_as_the_spec_says(self, api: Api, org: str) -> None:
        api.upsert(SLUG, build_row(company_name="Example", parallel_run_id="trun_1"), org)
        stored = read_data(api.upsert(SLUG, build_row(company_name="  "), org))
        assert (stored["company_name"], stored["parallel_run_id"]) == ("Example", None)

    def test_each_spec_has_its_endpoint(self, api: Api, org: str) -> None:
        person = {
            "person_full_name": "Ada",
            "raw_parallel_output": "text",
            "person_linkedin_url": "LinkedIn.com/in/Ada/",
        }
        assert read_data(api.upsert(PERSON, person, org))["person_full_name"] == "Ada"
        assert (
            read_data(api.upsert(ICP, {"company_domain": "A.com", "raw_parallel_output": []}, org))["company_domain"]
            == "a.com"
        )

    def test_sixteen_writers_of_one_key_leave_one_row(self, api: Api, org: str) -> None:
        bodies = [build_row(raw_parallel_output={"writer": number}) for number in range(16)]
        with ThreadPoolExecutor(16) as threads:
            answers = list(
                threads.map(lambda body: HTTP.post(api.url + UPSERT, json=body, headers=internal_headers(org)), bodies)
            )
        assert [answer.status_code for answer in answers] == [200] * 16
        assert {answer.json()["data"]["id"] for answer in answers} == {
            str(api.fetch_value("select id from company_intel_briefings where org_id = %s", [org]))
        }


class TestNamedStepResult:
    """An upsert that names its step result speaks for it: what is stored there counts."""

    OPERATION = "company.derive.intel_briefing"

    def add_step(self, api: Api, org: str, **output: Any) -> tuple[str, str, str]:
        submission, run = api.insert_submission(org)
        step = api.insert_step(run)
        result = {"operation_id": self.OPERATION, "status": "found", "output": output}
        payload = {"operation_result": result, "cumulative_context": {}}
        api.execute(
            "update step_results set status = 'succeeded', output_payload = %s where id = %s",
            [json.dumps(payload), step],
        )
        return submission, run, step

    def test_the_stored_result_counts_and_a_difference_is_noted(self, api: Api, org: str) -> None:
        stored = {"domain": "example.com", "client_company_name": "Client", "parallel_raw_response": {"a": 2}}
        _, _, step = self.add_step(api, org, **stored)
        answer = api.upsert(SLUG, build_row(source_step_result_id=step), org)
        assert answer.json()["meta"]["outcome"] == "written"
        assert read_data(answer)["raw_parallel_output"] == {"a": 2}
        assert read_data(answer)["source_step_result_id"] == step
        assert 'dex_upsert_claims_differ_total{spec="company_intel_briefings"}' in api.client.get("/metrics").text
        assert api.upsert(SLUG, build_row(source_step_result_id=step), org).json()["meta"]["outcome"] == "unchanged"

    def test_a_result_that_gives_no_row_answers_null_and_why(self, api: Api, org: str) -> None:
        _, _, step = self.add_step(api, org, client_company_name="Client", parallel_raw_response={"a": 2})
        answer = api.upsert(SLUG, build_row(source_step_result_id=step), org)
        assert (answer.status_code, answer.json()["data"]) == (200, None)
        assert answer.json()["meta"]["outcome"] == "rejected"
        assert [reason["code"] for reason in answer.json()["meta"]["detail"]] == ["missing_required"]

    def test_a_step_of_another_organisation_or_run_is_403(self, api: Api, org: str) -> None:
        other = api.insert_organisation()
        _, _, foreign = self.add_step(api, other, domain="example.com", parallel_raw_response={})
        _, run, _ = self.add_step(api, org, domain="example.com", parallel_raw_response={})
        submission, _, step = self.add_step(api, org, domain="example.com", parallel_raw_response={})
        wrong = ({"source_step_result_id": foreign}, {"source_step_result_id": step, "source_pipeline_run_id": run})
        mixed = {"source_submission_id": submission, "source_pipeline_run_id": run}
        for sources in (*wrong, mixed):
            answer = api.upsert(SLUG, build_row(**sources), org)
            assert (answer.status_code, answer.json()["code"]) == (403, "foreign_source")

    def test_a_time_far_ahead_is_refused(self, api: Api, org: str) -> None:
        answer = api.upsert(SLUG, build_row(source_recorded_at="2999-01-01T00:00:00Z"), org)
        assert (answer.status_code, answer.json()["code"]) == (422, "future_time")


class TestDocuments:
    @pytest.mark.parametrize(
        "text",
        ['"a report"', '""', "[1, 2]", "[]", "{}", "0", "false", "1.5", '"\\u00e9 \\ud83d\\ude00"', '"\\\\u0000"'],
    )
    def test_any_json_is_stored(self, api: Api, org: str, text: str) -> None:
        body = b'{"company_domain": "example.com", "raw_parallel_output": ' + text.encode() + b"}"
        answer = api.upsert(SLUG, body, org)
        assert read_data(answer)["raw_parallel_output"] == json.loads(text)

    def test_numbers_arrive_as_they_were_written(self, api: Api, org: str) -> None:
        numbers = "[1.10, 1.0, 123456789012345678901234567890, 0.1000000000000000055511151231257827, -0.0]"
        body = f'{{"company_domain": "example.com", "raw_parallel_output": {numbers}}}'.encode()
        answer = api.upsert(SLUG, body, org)
        assert numbers.replace("-0.0", "-0.0") in answer.text or numbers.replace("-0.0", "0.0") in answer.text
        assert "1.10, 1.0, 123456789012345678901234567890" in api.query(SLUG, org).text

    def test_a_number_beyond_a_double_arrives(self, api: Api, org: str) -> None:
        body = b'{"company_domain": "example.com", "raw_parallel_output": 1e400}'
        assert '"raw_parallel_output":1' + "0" * 400 in api.upsert(SLUG, body, org).text

    def test_a_twenty_megabyte_document_is_stored(self, api: Api, org: str) -> None:
        report = "x" * (20 * 1024 * 1024)
        assert len(
            read_data(api.upsert(SLUG, build_row(raw_parallel_output={"report": report}), org))["raw_parallel_output"][
                "report"
            ]
        ) == len(report)


#: What is wrong with a body -> status, code and the field named under `detail`.
REFUSED: list[tuple[str, bytes, int, str, str | None]] = [
    ("nothing", b"", 422, "not_json", None),
    ("no JSON", b"company_domain=example.com", 422, "not_json", None),
    ("half a document", b'{"company_domain": "example.com", "raw', 422, "not_json", None),
    ("two documents", b'{"company_domain": "example.com"}{}', 422, "not_json", None),
    ("no object", b"[1]", 422, "invalid_body", None),
    ("null", b"null", 422, "invalid_body", None),
    ("NaN", b'{"company_domain": "example.com", "raw_parallel_output": NaN}', 422, "not_json", None),
    ("NaN inside", b'{"company_domain": "example.com", "raw_parallel_output": [{"a": NaN}]}', 422, "not_json", None),
    ("Infinity", b'{"company_domain": "example.com", "raw_parallel_output": -Infinity}', 422, "not_json", None),
    ("not UTF-8", b'{"company_domain": "example.com", "raw_parallel_output": "\xff"}', 422, "not_json", None),
    ("UTF-16", '{"company_domain": "example.com"}'.encode("utf-16"), 422, "not_json", None),
    (
        "a NUL in the document",
        b'{"company_domain": "a.com", "raw_parallel_output": {"a": "\\u0000"}}',
        422,
        "wrong_type",
        "raw_parallel_output",
    ),
    (
        "a NUL in a key",
        b'{"company_domain": "a.com", "raw_parallel_output": {"\\u0000": 1}}',
        422,
        "wrong_type",
        "raw_parallel_output",
    ),
    (
        "a NUL in a text",
        b'{"company_domain": "a.com", "company_name": "a\\u0000b", "raw_parallel_output": 1}',
        422,
        "wrong_type",
        "company_name",
    ),
    ("a raw NUL", b'{"company_domain": "a.com", "raw_parallel_output": "\x00"}', 422, "not_json", None),
    (
        "half a surrogate pair",
        b'{"company_domain": "a.com", "raw_parallel_output": "\\ud800"}',
        422,
        "unstorable_text",
        None,
    ),
    (
        "the other half",
        b'{"company_domain": "a.com", "raw_parallel_output": "\\udc00 x"}',
        422,
        "unstorable_text",
        None,
    ),
    (
        "half a pair in a text",
        b'{"company_domain": "a.com", "company_name": "\\ud83d", "raw_parallel_output": 1}',
        422,
        "unstorable_text",
        None,
    ),
    (
        "an unknown field",
        b'{"company_domain": "a.com", "raw_parallel_output": 1, "company_nam": "x"}',
        422,
        "unknown_field",
        "company_nam",
    ),
    (
        "the organisation in the body",
        b'{"company_domain": "a.com", "raw_parallel_output": 1, "org_id": "x"}',
        422,
        "unknown_field",
        "org_id",
    ),
    (
        "an id in the body",
        b'{"company_domain": "a.com", "raw_parallel_output": 1, "id": "x"}',
        422,
        "unknown_field",
        "id",
    ),
    ("rows of a spec without", b'{"rows": []}', 422, "unknown_field", "rows"),
    ("no required field", b'{"company_domain": "a.com"}', 422, "missing_required", "raw_parallel_output"),
    (
        "null in a required field",
        b'{"company_domain": "a.com", "raw_parallel_output": null}',
        422,
        "missing_required",
        "raw_parallel_output",
    ),
    ("a blank key", b'{"company_domain": "  ", "raw_parallel_output": 1}', 422, "missing_required", "company_domain"),
    (
        "a number for a text",
        b'{"company_domain": "a.com", "company_name": 5, "raw_parallel_output": 1}',
        422,
        "wrong_type",
        "company_name",
    ),
    (
        "an object for a text",
        b'{"company_domain": "a.com", "processor": {}, "raw_parallel_output": 1}',
        422,
        "wrong_type",
        "processor",
    ),
    (
        "no UUID",
        b'{"company_domain": "a.com", "raw_parallel_output": 1, "source_submission_id": "x"}',
        422,
        "wrong_type",
        "source_submission_id",
    ),
    (
        "a number for a UUID",
        b'{"company_domain": "a.com", "raw_parallel_output": 1, "source_pipeline_run_id": 5}',
        422,
        "wrong_type",
        "source_pipeline_run_id",
    ),
    (
        "no time",
        b'{"company_domain": "a.com", "raw_parallel_output": 1, "source_recorded_at": "yesterday"}',
        422,
        "wrong_type",
        "source_recorded_at",
    ),
    (
        "a number Postgres cannot hold",
        b'{"company_domain": "a.com", "raw_parallel_output": 1e200000}',
        422,
        "refused_by_database",
        None,
    ),
    (
        "too deep",
        b'{"company_domain": "a.com", "raw_parallel_output": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        422,
        "too_deep",
        None,
    ),
    (
        "a key too long for its index",
        json.dumps(build_row(client_company_name=secrets.token_hex(9000))).encode(),
        422,
        "refused_by_database",
        "client_company_name",
    ),
]


class TestBadInput:
    @pytest.mark.parametrize(
        ("body", "status", "code", "field"), [pytest.param(*case[1:], id=case[0]) for case in REFUSED]
    )
    def test_it_is_refused_with_what_to_do_and_changes_nothing(
        self, api: Api, org: str, body: bytes, status: int, code: str, field: str | None
    ) -> None:
        answer = api.upsert(SLUG, body, org)
        said = answer.json()
        assert (answer.status_code, said["code"]) == (status, code), said
        assert set(said) == {"error", "code", "detail", "hint"}
        assert said["error"] and said["hint"], said
        assert not said["error"].endswith(".")
        if field:
            assert [entry["field"] for entry in said["detail"]] == [field]
        assert count_rows(api, org) == 0

    def test_every_bad_field_is_named_at_once(self, api: Api, org: str) -> None:
        said = api.upsert(SLUG, {"company_name": 5, "processor": []}, org).json()
        assert [entry["field"] for entry in said["detail"]] == [
            "company_domain",
            "company_name",
            "raw_parallel_output",
            "processor",
        ]

    def test_an_unknown_field_names_the_known_ones(self, api: Api, org: str) -> None:
        said = api.upsert(SLUG, build_row(company_nam="x", whatever=1), org).json()
        assert "`company_nam`, `whatever`" in said["error"]
        assert "`company_name`" in said["hint"]
        assert "did you mean `company_name`?" in said["detail"][0]["message"]

    def test_an_organisation_that_does_not_exist_is_404(self, api: Api) -> None:
        nobody = str(uuid.uuid4())
        for body in (build_row(), build_row(source_submission_id=str(uuid.uuid4()))):
            said = api.upsert(SLUG, body, nobody)
            assert (said.status_code, said.json()["code"]) == (404, "unknown_organisation")
        assert count_rows(api, nobody) == 0

    def test_a_source_of_another_organisation_is_403(self, api: Api, org: str) -> None:
        submission, run = api.insert_submission(api.insert_organisation())
        for source in (
            {"source_submission_id": submission},
            {"source_pipeline_run_id": run},
            {"source_submission_id": str(uuid.uuid4())},
            {"source_pipeline_run_id": str(uuid.uuid4())},
        ):
            answer = api.upsert(SLUG, build_row(**source), org)
            assert (answer.status_code, answer.json()["code"]) == (403, "foreign_source")
            assert answer.json()["detail"][0]["field"] == next(iter(source))
        assert count_rows(api, org) == 0

    def test_a_run_of_another_submission_is_403(self, api: Api, org: str) -> None:
        (submission, _), (_, run) = api.insert_submission(org), api.insert_submission(org)
        answer = api.upsert(SLUG, build_row(source_submission_id=submission, source_pipeline_run_id=run), org)
        read_error(answer, 403, "foreign_source")

    def test_a_time_far_ahead_of_the_clock_is_422(self, api: Api, org: str) -> None:
        """From then on every honest write would be superseded."""
        answer = api.upsert(SLUG, build_row(source_recorded_at="2099-01-01T00:00:00Z"), org)
        assert answer.status_code == 422 and answer.json()["detail"][0]["field"] == "source_recorded_at"
        assert count_rows(api, org) == 0

    def test_a_refused_update_leaves_the_row(self, api: Api, org: str) -> None:
        before = read_data(api.upsert(SLUG, build_row(), org))
        _, foreign = api.insert_submission(api.insert_organisation())
        assert (
            api.upsert(SLUG, build_row(raw_parallel_output=2, source_pipeline_run_id=foreign), org).status_code == 403
        )
        assert (
            api.upsert(SLUG, b'{"company_domain": "example.com", "raw_parallel_output": "\\u0000"}', org).status_code
            == 422
        )
        assert api.query(SLUG, org).json()["data"] == [before]

    def test_a_body_compressed_otherwise_than_by_gzip_is_415(self, api: Api, org: str) -> None:
        headers = {**internal_headers(org), "content-encoding": "br"}
        read_error(api.client.post(UPSERT, content=b"\x1f\x8b", headers=headers), 415, "unsupported_encoding")

    def test_no_answer_names_the_driver(self, api: Api, org: str) -> None:
        for _, body, *_ in REFUSED:
            text = api.upsert(SLUG, body, org).text.lower()
            assert "psycopg" not in text and "traceback" not in text and "insert into" not in text


class TestSize:
    @pytest.fixture
    def small(self, start: Callable[..., AbstractContextManager[Api]]) -> Any:
        with start(max_body_bytes=100_000) as api:
            yield api

    def test_a_body_over_the_limit_is_413(self, small: Api) -> None:
        org = small.insert_organisation()
        body = json.dumps(build_row(raw_parallel_output="x" * 100_000)).encode()
        announced = small.upsert(SLUG, body, org)
        chunked = small.client.post(UPSERT, content=iter([body[:60_000], body[60_000:]]), headers=internal_headers(org))
        for answer in (announced, chunked):
            assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
            assert "100000" in answer.json()["error"]
        assert count_rows(small, org) == 0

    def test_a_body_far_over_the_limit_is_413_and_the_connection_lives(self, small: Api) -> None:
        org = small.insert_organisation()
        body = json.dumps(build_row(raw_parallel_output="x" * 30_000_000)).encode()
        assert small.upsert(SLUG, body, org).status_code == 413
        chunks = (body[start : start + 1_000_000] for start in range(0, len(body), 1_000_000))
        assert small.client.post(UPSERT, content=chunks, headers=internal_headers(org)).status_code == 413
        assert small.upsert(SLUG, build_row(), org).status_code == 200

    def test_a_body_at_the_limit_passes(self, small: Api) -> None:
        body = json.dumps(build_row()).encode()
        padded = body + b" " * (100_000 - len(body))
        assert small.upsert(SLUG, padded, small.insert_organisation()).status_code == 200
        assert small.upsert(SLUG, padded + b" ", small.insert_organisation()).status_code == 413

    def test_chunks_are_put_together(self, api: Api, org: str) -> None:
        body = json.dumps(build_row()).encode()
        answer = api.client.post(
            UPSERT, content=(body[i : i + 7] for i in range(0, len(body), 7)), headers=internal_headers(org)
        )
        assert answer.status_code == 200
