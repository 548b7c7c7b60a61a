"""A spec whose results are lists: several rows at once, each accepted or rejected by itself."""

import json
import secrets
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from engine.tables import draft_migration
from tests.api.loopback import Api, run_api
from tests.api.test_openapi import resolve
from tests.conftest import create_database
from tests.database.conftest import compile_text

SPEC = """
spec: 1
name: customers
title: Customers
description: One row per customer of a company.
operations: [company.research.customers]
table: customers
row_name: customer
conflict: [org_id, company_domain, customer]
rows: output.customers
fields:
  company_domain: {type: text, path: output.domain, normalize: [domain], required: true, filter: true}
  customer: {type: text, path: item.name, required: true}
  since: {type: date, path: item.since}
  size: {type: integer, path: item.size, on_missing: clear}
  share: {type: numeric, path: item.share}
  tags: {type: "text[]", path: item.tags}
  active: {type: boolean, path: item.active}
  seen_at: {type: timestamptz, path: item.seen_at}
  body: {type: jsonb, path: item}
"""
SLUG = "customers"


@pytest.fixture(scope="module")
def api(server_dsn: str, template: str) -> Iterator[Api]:
    customers = compile_text(SPEC)
    with create_database(server_dsn, template) as dsn, run_api(dsn, (customers,)) as api:
        api.execute(draft_migration.build_create_migration(customers))
        yield api


def build_row(name: str, **fields: Any) -> dict[str, Any]:
    return {"company_domain": "example.com", "customer": name} | fields


def read_data_and_meta(answer: httpx.Response) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    return answer.json()["data"], answer.json()["meta"]


def test_the_drafted_table_is_ready(api: Api) -> None:
    assert api.client.get("/readyz").status_code == 200


def test_several_rows_at_once(api: Api, org: str) -> None:
    submission, run = api.insert_submission(org)
    full = build_row(
        "Ada",
        since="2026-01-31",
        size=3,
        share=0.10,
        tags=["a", "b"],
        active=False,
        seen_at="2026-01-31 10:00:00+02:00",
        body={"n": 1},
    )
    body = {"rows": [build_row("Bob"), full], "source_submission_id": submission, "source_pipeline_run_id": run}
    stored, meta = read_data_and_meta(api.upsert(SLUG, body, org))
    assert meta == {"outcome": "written", "outcomes": {"written": 2}, "rejected": []}
    assert [one["customer"] for one in stored] == ["Ada", "Bob"], "in the order of their keys"
    assert {one["source_pipeline_run_id"] for one in stored} == {run}
    shown = {name: stored[0][name] for name in full}
    assert shown == {**full, "seen_at": "2026-01-31T08:00:00+00:00"}
    _, again = read_data_and_meta(api.upsert(SLUG, body, org))
    assert again == {"outcome": "unchanged", "outcomes": {"unchanged": 2}, "rejected": []}


def test_of_a_repeated_key_the_last_wins_whole(api: Api, org: str) -> None:
    rows = [build_row("Ada", size=1, since="2026-01-01"), build_row("Bob"), build_row("Ada", active=True)]
    stored, meta = read_data_and_meta(api.upsert(SLUG, {"rows": rows}, org))
    assert meta["outcomes"] == {"written": 2}
    assert (stored[0]["since"], stored[0]["size"], stored[0]["active"]) == (None, None, True)


def test_a_bad_element_is_rejected_with_its_index_and_the_others_are_written(api: Api, org: str) -> None:
    rows = [
        build_row("Ada"),
        build_row("Bob", size="3", since="soon"),
        build_row("Eve"),
        {"company_domain": "example.com"},
    ]
    stored, meta = read_data_and_meta(api.upsert(SLUG, {"rows": rows}, org))
    assert [one["customer"] for one in stored] == ["Ada", "Eve"]
    assert [(one["element"], one["field"], one["code"]) for one in meta["rejected"]] == [
        (1, "since", "wrong_type"),
        (1, "size", "wrong_type"),
        (3, "customer", "missing_required"),
    ]


def test_a_row_the_database_refuses_does_not_sink_the_others(api: Api, org: str) -> None:
    long = secrets.token_hex(9000)  # too long for the index of the key
    stored, meta = read_data_and_meta(
        api.upsert(SLUG, {"rows": [build_row("Zoe"), build_row(long), build_row("Ada")]}, org)
    )
    assert [one["customer"] for one in stored] == ["Ada", "Zoe"]
    assert [(one["element"], one["code"]) for one in meta["rejected"]] == [(1, "refused_by_database")]


@pytest.mark.parametrize("code", ["raise_exception", "ZZ001"])
def test_a_row_a_trigger_refuses_does_not_sink_the_others(api: Api, org: str, code: str) -> None:
    api.execute(f"""
        create function no_bob() returns trigger language plpgsql as $$ begin
            if new.customer = 'Bob' then raise exception 'no Bob here' using errcode = '{code}'; end if; return new;
        end $$;
        create trigger no_bob before insert on customers for each row execute function no_bob();
    """)
    try:
        stored, meta = read_data_and_meta(
            api.upsert(SLUG, {"rows": [build_row("Zoe"), build_row("Bob"), build_row("Ada")]}, org)
        )
    finally:
        api.execute("drop function no_bob cascade")
    assert [one["customer"] for one in stored] == ["Ada", "Zoe"]
    assert [(one["element"], one["code"]) for one in meta["rejected"]] == [(1, "refused_by_database")]
    assert "no Bob here" in meta["rejected"][0]["message"]


def test_when_no_element_is_good_nothing_is_written(api: Api, org: str) -> None:
    answer = api.upsert(SLUG, {"rows": [build_row("Ada", size=0.5), build_row(" ")]}, org)
    assert (answer.status_code, answer.json()["code"]) == (422, "wrong_type")
    assert [one["element"] for one in answer.json()["detail"]] == [0, 1]
    answer = api.upsert(SLUG, {"rows": [build_row(secrets.token_hex(9000))]}, org)
    assert (answer.status_code, answer.json()["code"]) == (422, "refused_by_database")
    assert api.fetch_value("select count(*) from customers where org_id = %s", [org]) == 0


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"rows": []},
        {"rows": None},
        {"rows": {}},
        {"rows": [1]},
        {"rows": [None]},
        {"rows": [build_row("Ada")] * 1001},
        build_row("Ada"),
        {"rows": [build_row("Ada", sise=1)]},
        {"rows": [build_row("Ada", source_submission_id=None)]},
        {"rows": [build_row("Ada")], "source_recorded_at": "soon"},
    ],
)
def test_what_is_no_list_of_rows_is_422(api: Api, org: str, body: Any) -> None:
    answer = api.upsert(SLUG, body, org)
    assert answer.status_code == 422, answer.text
    assert answer.json()["hint"]
    assert api.fetch_value("select count(*) from customers where org_id = %s", [org]) == 0


def test_an_unknown_field_says_in_which_row(api: Api, org: str) -> None:
    said = api.upsert(SLUG, {"rows": [build_row("Ada"), build_row("Bob", sise=1)]}, org).json()
    assert "rows[1]" in said["error"] and "`size`" in json.dumps(said)


def test_foreign_sources_and_organisations(api: Api, org: str) -> None:
    _, run = api.insert_submission(api.insert_organisation())
    answer = api.upsert(SLUG, {"rows": [build_row("Ada"), build_row("Bob")], "source_pipeline_run_id": run}, org)
    assert (answer.status_code, answer.json()["code"]) == (403, "foreign_source")
    assert api.fetch_value("select count(*) from customers where org_id = %s", [org]) == 0


def test_a_thousand_rows(api: Api, org: str) -> None:
    rows = [build_row(f"c{number:04}", body={"n": number}) for number in range(1000)]
    stored, meta = read_data_and_meta(api.upsert(SLUG, {"rows": rows}, org))
    assert meta["outcomes"] == {"written": 1000}
    assert [one["body"]["n"] for one in stored] == list(range(1000))
    assert len(api.query(SLUG, org, {"limit": 1000}).json()["data"]) == 1000


def test_writers_of_the_same_rows_in_opposite_orders_do_not_deadlock(api: Api, org: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    names = [f"c{number}" for number in range(50)]

    def write(turn: int) -> int:
        order = names if turn % 2 else names[::-1]
        rows = [build_row(name, size=turn) for name in order]
        return api.upsert(SLUG, {"rows": rows}, org).status_code

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(write, range(24))) == {200}


def test_the_document_names_the_rows(api: Api) -> None:
    document = api.client.get("/openapi.json").json()
    body = document["paths"][f"/api/internal/{SLUG}/upsert"]["post"]["requestBody"]
    rows = resolve(document, body["content"]["application/json"]["schema"])["properties"]["rows"]
    row = resolve(document, rows["items"])
    assert set(row["properties"]) == {item.name for item in api.plans[0].fields}
    assert (rows["minItems"], rows["maxItems"]) == (1, 1000)


def test_a_table_that_does_not_fit_rejects_no_row(server_dsn: str, template: str) -> None:
    """What is wrong with the server is no reason against a row: it must be sent again, not written off."""
    with create_database(server_dsn, template) as dsn, run_api(dsn, (compile_text(SPEC),)) as api:
        answer = api.upsert(SLUG, {"rows": [build_row("Ada"), build_row("Bob")]}, api.insert_organisation())
        assert (answer.status_code, answer.json()["code"]) == (503, "table_misfit")
