"""Queries: filters, pages, columns, cursors."""

import base64
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.api.loopback import ADMIN_KEY, Api, bearer_headers, internal_headers, session_jwt

SLUG = "company-intel-briefings"
PERSON = "person-intel-briefings"
QUERY = f"/api/v1/{SLUG}/query"


@pytest.fixture
def rows(api: Api, org: str) -> list[str]:
    """Ids of ten rows, newest first; the clock stood still for some of them."""
    for number in range(10):
        body = {
            "company_domain": f"c{number}.example.com",
            "client_company_name": "Odd" if number % 2 else "Even",
            "raw_parallel_output": {"number": number},
        }
        assert api.upsert(SLUG, body, org).status_code == 200
    api.execute(
        "update company_intel_briefings set created_at = date_trunc('minute', now())"
        " - (substring(company_domain from 2 for 1)::int / 4) * interval '1 minute' where org_id = %s",
        [org],
    )
    ids = api.execute(
        "select id::text from company_intel_briefings where org_id = %s order by created_at desc, id desc", [org]
    )
    return [row[0] for row in ids]


def list_ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [row["id"] for row in answer.json()["data"]]


def walk_pages(api: Api, org: str, body: dict[str, Any]) -> Iterator[list[str]]:
    """Follow the cursor to the end."""
    cursor = None
    while True:
        answer = api.query(SLUG, org, {**body, "cursor": cursor})
        yield list_ids(answer)
        cursor = answer.json()["meta"]["next_cursor"]
        if cursor is None:
            return


def test_an_empty_body_asks_for_everything(api: Api, org: str, rows: list[str]) -> None:
    for content in (b"", b"{}", b"\xef\xbb\xbf{}"):
        answer = api.post(QUERY, content, headers=internal_headers(org))
        assert list_ids(answer) == rows
        assert answer.json()["meta"] == {"limit": 100, "offset": 0, "next_cursor": None}


def test_an_organisation_without_rows_has_none(api: Api, org: str) -> None:
    assert api.query(SLUG, org).json() == {"data": [], "meta": {"limit": 100, "offset": 0, "next_cursor": None}}


def test_an_organisation_that_does_not_exist_is_404(api: Api) -> None:
    nobody = str(uuid.uuid4())
    for headers in (internal_headers(nobody), bearer_headers(session_jwt(nobody))):
        answer = api.post(QUERY, {}, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_organisation")


class TestFilters:
    def test_a_value(self, api: Api, org: str, rows: list[str]) -> None:
        found = api.query(SLUG, org, {"client_company_name": "Odd"}).json()["data"]
        assert [row["raw_parallel_output"]["number"] % 2 for row in found] == [1] * 5

    def test_a_value_is_normalized_as_its_column(self, api: Api, org: str, rows: list[str]) -> None:
        for spelling in ("c3.example.com", "https://www.C3.Example.com/about", " C3.EXAMPLE.COM. "):
            assert len(list_ids(api.query(SLUG, org, {"company_domain": spelling}))) == 1
        person = {
            "person_full_name": "Ada",
            "raw_parallel_output": 1,
            "person_linkedin_url": "https://linkedin.com/in/ada",
        }
        assert api.upsert(PERSON, person, org).status_code == 200
        asked = {"person_linkedin_url": "https://LinkedIn.com/in/Ada/"}
        assert len(list_ids(api.query(PERSON, org, asked))) == 1

    def test_a_list_of_values(self, api: Api, org: str, rows: list[str]) -> None:
        asked = {"company_domain": ["www.c1.example.com", "c2.example.com", "nobody.example.com"]}
        assert len(list_ids(api.query(SLUG, org, asked))) == 2
        assert list_ids(api.query(SLUG, org, {"company_domain": []})) == []

    def test_two_filters_both_hold(self, api: Api, org: str, rows: list[str]) -> None:
        asked = {"company_domain": ["c1.example.com", "c2.example.com"], "client_company_name": "Odd"}
        assert len(list_ids(api.query(SLUG, org, asked))) == 1

    def test_null_is_no_filter(self, api: Api, org: str, rows: list[str]) -> None:
        """A client with an unset variable is told so, instead of being sent everything."""
        for name in ("company_domain", "client_company_name", "updated_at"):
            answer = api.query(SLUG, org, {name: None})
            assert (answer.status_code, answer.json()["code"]) == (422, "null_filter")

    def test_null_is_no_option(self, api: Api, org: str, rows: list[str]) -> None:
        asked = dict.fromkeys(("fields", "cursor", "org_id", "order", "q", "count", "limit", "offset"))
        assert list_ids(api.query(SLUG, org, asked)) == rows

    @pytest.mark.parametrize("value", ["", "  ", 5, True, {}, [None], ["a.com", 5], [["a.com"]], "a\u0000b"])
    def test_a_value_the_column_cannot_hold_is_422(self, api: Api, org: str, value: Any) -> None:
        answer = api.query(SLUG, org, {"client_company_name": value})
        assert answer.status_code == 422, answer.text
        assert answer.json()["hint"]

    def test_too_many_values_are_422(self, api: Api, org: str) -> None:
        assert api.query(SLUG, org, {"client_company_name": ["x"] * 1001}).status_code == 422
        assert api.query(SLUG, org, {"client_company_name": ["x"] * 1000}).status_code == 200

    @pytest.mark.parametrize("name", ["company_name", "raw_parallel_output", "created", "company_domian", "org"])
    def test_what_is_no_filter_is_422_and_names_those_there_are(self, api: Api, org: str, name: str) -> None:
        answer = api.query(SLUG, org, {name: "x"})
        assert (answer.status_code, answer.json()["code"]) == (422, "unknown_field")
        assert "`company_domain`" in answer.json()["hint"] and "`client_company_name`" in answer.json()["hint"]

    def test_a_filter_is_a_value_and_no_sql(self, api: Api, org: str, rows: list[str]) -> None:
        assert list_ids(api.query(SLUG, org, {"client_company_name": "' or true --"})) == []
        assert list_ids(api.query(SLUG, org, {"client_company_name": ["%", "_", "{a,b}", '"', "\\"]})) == []


class TestPages:
    @pytest.mark.parametrize("limit", [0, -1, 1001, 5000, 10**30, "10", 1.5, 0.0, 5000.0, True, [1]])
    def test_a_limit_out_of_range_is_422(self, api: Api, org: str, limit: Any) -> None:
        answer = api.query(SLUG, org, {"limit": limit})
        assert answer.status_code == 422
        assert "1 to 1000" in answer.json()["error"]

    @pytest.mark.parametrize("offset", [-1, 2**31, "0", 0.5])
    def test_an_offset_out_of_range_is_422(self, api: Api, org: str, offset: Any) -> None:
        assert api.query(SLUG, org, {"offset": offset}).status_code == 422

    def test_limits_at_the_ends(self, api: Api, org: str, rows: list[str]) -> None:
        assert list_ids(api.query(SLUG, org, {"limit": 1})) == rows[:1]
        assert list_ids(api.query(SLUG, org, {"limit": 1000})) == rows
        assert list_ids(api.query(SLUG, org, {"offset": 2**31 - 1})) == []

    @pytest.mark.parametrize("limit", [1, 3, 4, 10])
    def test_offset_and_cursor_go_the_same_way(self, api: Api, org: str, rows: list[str], limit: int) -> None:
        by_offset = [list_ids(api.query(SLUG, org, {"limit": limit, "offset": start})) for start in range(0, 10, limit)]
        assert list(walk_pages(api, org, {"limit": limit})) == by_offset
        assert [row for page in by_offset for row in page] == rows

    def test_a_cursor_keeps_its_filters(self, api: Api, org: str, rows: list[str]) -> None:
        asked = {"client_company_name": "Odd", "limit": 2}
        assert [len(page) for page in walk_pages(api, org, asked)] == [2, 2, 1]

    def test_a_row_that_arrives_between_pages_moves_nothing(self, api: Api, org: str, rows: list[str]) -> None:
        first = api.query(SLUG, org, {"limit": 5})
        assert api.upsert(SLUG, {"company_domain": "new.example.com", "raw_parallel_output": 1}, org).status_code == 200
        second = api.query(SLUG, org, {"limit": 5, "cursor": first.json()["meta"]["next_cursor"]})
        assert list_ids(first) + list_ids(second) == rows

    def test_the_limit_and_the_columns_may_change_between_pages(self, api: Api, org: str, rows: list[str]) -> None:
        cursor = api.query(SLUG, org, {"limit": 2, "fields": ["id"]}).json()["meta"]["next_cursor"]
        assert list_ids(api.query(SLUG, org, {"limit": 3, "cursor": cursor})) == rows[2:5]


class TestForgedCursors:
    @pytest.fixture
    def cursor(self, api: Api, org: str, rows: list[str]) -> str:
        return str(api.query(SLUG, org, {"limit": 2}).json()["meta"]["next_cursor"])

    def refused(self, answer: Any) -> None:
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor"), answer.text
        assert "next_cursor" in answer.json()["hint"]

    @pytest.mark.parametrize("text", ["", "x", "!!!!", "é", "AAAA", "A" * 400, "W10", "null", "a=b", "a\nb"])
    def test_what_never_was_a_cursor(self, api: Api, org: str, text: str) -> None:
        self.refused(api.query(SLUG, org, {"cursor": text}))

    def test_every_changed_character(self, api: Api, org: str, cursor: str) -> None:
        for index, letter in enumerate(cursor):
            changed = cursor[:index] + ("A" if letter != "A" else "B") + cursor[index + 1 :]
            if base64.urlsafe_b64decode(changed + "==") != base64.urlsafe_b64decode(cursor + "=="):
                self.refused(api.query(SLUG, org, {"cursor": changed}))

    def test_a_place_of_ones_own(self, api: Api, org: str, cursor: str) -> None:
        place = json.dumps(["2030-01-01T00:00:00.000000Z", str(uuid.uuid4())]).encode()
        for signature in (b"", b"\0" * 16, base64.urlsafe_b64decode(cursor + "==")[:16]):
            self.refused(api.query(SLUG, org, {"cursor": base64.urlsafe_b64encode(signature + place).decode()}))

    def test_of_another_organisation(self, api: Api, org: str, cursor: str) -> None:
        other = api.insert_organisation()
        self.refused(api.query(SLUG, other, {"cursor": cursor}))
        admin = api.post(QUERY, {"cursor": cursor, "org_id": other}, headers=bearer_headers(ADMIN_KEY))
        self.refused(admin)

    def test_of_another_spec(self, api: Api, org: str, cursor: str) -> None:
        self.refused(api.query("icp-job-titles", org, {"cursor": cursor}))
        self.refused(api.query(PERSON, org, {"cursor": cursor}))

    def test_of_other_filters(self, api: Api, org: str, cursor: str) -> None:
        self.refused(api.query(SLUG, org, {"cursor": cursor, "client_company_name": "Odd"}))
        self.refused(api.query(SLUG, org, {"cursor": cursor, "company_domain": []}))

    def test_the_same_filter_spelled_otherwise_is_the_same(self, api: Api, org: str) -> None:
        for number in range(3):
            body = {"company_domain": "a.com", "client_company_name": str(number), "raw_parallel_output": 1}
            api.upsert(SLUG, body, org)
        cursor = api.query(SLUG, org, {"company_domain": "a.com", "limit": 1}).json()["meta"]["next_cursor"]
        again = api.query(SLUG, org, {"company_domain": "https://www.A.com/", "limit": 5, "cursor": cursor})
        assert len(list_ids(again)) == 2

    def test_an_offset_counts_from_the_cursor(self, api: Api, org: str, rows: list[str], cursor: str) -> None:
        assert list_ids(api.query(SLUG, org, {"cursor": cursor, "offset": 3, "limit": 2})) == rows[5:7]

    def test_that_is_no_string(self, api: Api, org: str) -> None:
        assert api.query(SLUG, org, {"cursor": 5}).status_code == 422


class TestColumns:
    def test_all_by_default(self, api: Api, org: str, rows: list[str]) -> None:
        assert set(api.query(SLUG, org, {"limit": 1}).json()["data"][0]) == {
            *("id", "org_id", "company_domain", "company_name", "client_company_name", "client_company_description"),
            *("raw_parallel_output", "parallel_run_id", "processor", "source_submission_id", "source_pipeline_run_id"),
            *("source_step_result_id", "source_recorded_at", "created_at", "updated_at"),
        }

    @pytest.mark.parametrize(
        "fields", [["id"], ["raw_parallel_output"], ["company_domain", "raw_parallel_output"], ["created_at", "id"]]
    )
    def test_those_asked_for(self, api: Api, org: str, rows: list[str], fields: list[str]) -> None:
        found = api.query(SLUG, org, {"fields": fields}).json()["data"]
        assert len(found) == 10
        assert all(set(row) == set(fields) for row in found)

    @pytest.mark.parametrize("fields", [[], "id", ["nothing"], ["id", 5], {"id": 1}, ["id; drop table orgs"], [None]])
    def test_what_is_no_column_is_422(self, api: Api, org: str, fields: Any) -> None:
        answer = api.query(SLUG, org, {"fields": fields})
        assert answer.status_code == 422, answer.text

    def test_a_near_miss_is_told(self, api: Api, org: str) -> None:
        said = api.query(SLUG, org, {"fields": ["company_nam"]}).json()
        assert "did you mean `company_name`?" in json.dumps(said)


@pytest.mark.parametrize(
    "body", [b"[]", b"null", b"5", b"{", b'{"limit": NaN}', b'{"company_domain": "\\ud800"}', b"\xff"]
)
def test_a_body_that_is_no_object_is_422(api: Api, org: str, body: bytes) -> None:
    answer = api.post(QUERY, body, headers=internal_headers(org))
    assert answer.status_code == 422
    assert set(answer.json()) == {"error", "code", "detail", "hint"}
