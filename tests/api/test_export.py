"""Exports: every format holds the whole answer of a query, streamed in bounded memory."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from pyarrow import parquet

from tests.api.loopback import ADMIN_KEY, Api, bearer_headers, internal_headers, read_error
from tests.api.test_questions import SLUG, TEXT, build_row, insert_rounds, run_rounds
from tests.conftest import create_database

PATH = f"/api/v1/{SLUG}/export"
TYPES = {"csv": "text/csv", "ndjson": "application/x-ndjson", "parquet": "application/vnd.apache.parquet"}


@pytest.fixture(scope="module")
def rounds(server_dsn: str, template: str) -> Iterator[Api]:
    with run_rounds(server_dsn, template) as api:
        yield api


@pytest.fixture(scope="module")
def own(rounds: Api) -> str:
    insert_rounds(rounds)  # another organisation with the same rows
    return insert_rounds(rounds)


def export(api: Api, org: str, accept: str, body: Any = None) -> httpx.Response:
    answer = api.post(PATH, body or {}, headers={**internal_headers(org), "accept": accept})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith(accept)
    return answer


def query(api: Api, org: str, **body: Any) -> list[dict[str, Any]]:
    return list(api.query(SLUG, org, body).json()["data"])


@pytest.mark.parametrize(
    "question",
    [{}, {"order": ["-day", "name"]}, {"open": True, "q": "series"}, {"domain": {"is": None}}, {"name": "nobody"}],
)
def test_lines_are_the_rows_of_the_query(rounds: Api, own: str, question: dict[str, Any]) -> None:
    lines = export(rounds, own, TYPES["ndjson"], question).text.splitlines()
    assert [json.loads(line) for line in lines] == query(rounds, own, **question)


def test_lines_hold_columns_and_paths(rounds: Api, own: str) -> None:
    for fields in (["name", "raw.funding.of.1.y", "raw." + "long" * 30], ["raw.funding.total"], ["raw"], ["tags"]):
        question = {"fields": fields, "order": ["name"]}
        lines = export(rounds, own, TYPES["ndjson"], question).text.splitlines()
        assert [json.loads(line) for line in lines] == query(rounds, own, **question)
    org = rounds.insert_organisation()
    body = b'{"name": "x", "raw": {"y": 1.10}}'
    rounds.post(f"/api/internal/{SLUG}/upsert", body, headers=internal_headers(org))
    assert export(rounds, org, TYPES["ndjson"], {"fields": ["raw.y"]}).text == '{"raw.y":1.10}\n'


def test_csv_is_rfc_4180(rounds: Api, own: str) -> None:
    org = rounds.insert_organisation()
    name = 'a "quoted", name\nof two lines'
    rounds.upsert(SLUG, {"name": name, "raw": {"a": 'b"'}, "tags": ["x,y", 'z"']}, org)
    rounds.upsert(SLUG, {"name": ""} | build_row(4), org)
    text = export(rounds, org, TYPES["csv"], {"order": ["name"]}).content.decode()
    assert "\r\n" in text and text.endswith("\r\n")
    head, first, second = csv.reader(io.StringIO(text, newline=""))
    assert head == list(rounds.query(SLUG, org).json()["data"][0]) or set(head) == set(query(rounds, org)[0])
    rows = [dict(zip(head, row, strict=True)) for row in (first, second)]
    series, quoted = sorted(rows, key=lambda row: row["name"] == name)
    assert quoted["name"] == name and json.loads(quoted["raw"]) == {"a": 'b"'}
    assert json.loads(quoted["tags"]) == ["x,y", 'z"'] and quoted["amount"] == ""
    assert json.loads(series["raw"]) == build_row(4)["raw"] and series["amount"] == "0.0"
    for row, shown in zip(rows, query(rounds, org, order=["name"]), strict=True):
        for name in ("created_at", "seen", "day", "open"):  # spelled as in JSON
            assert row[name] == {None: "", True: "true"}.get(shown[name], shown[name])


def test_parquet_keeps_types(rounds: Api, own: str) -> None:
    content = export(rounds, own, TYPES["parquet"], {"order": ["name"]}).content
    table = parquet.read_table(io.BytesIO(content))
    found, rows = table.to_pylist(), query(rounds, own, order=["name"])
    assert len(found) == len(rows) == 10
    kinds = {name: str(table.schema.field(name).type) for name in table.column_names}
    assert kinds["people"] == "int32" and kinds["big"] == "int64" and kinds["open"] == "bool"
    assert kinds["seen"] == kinds["created_at"] == "timestamp[us, tz=UTC]" and kinds["day"] == "date32[day]"
    for row, shown in zip(found, rows, strict=True):
        assert row["name"] == shown["name"] and row["people"] == shown["people"] and row["open"] == shown["open"]
        assert (row["amount"] and Decimal(row["amount"])) == (shown["amount"] and Decimal(str(shown["amount"])))
        assert (row["raw"] and json.loads(row["raw"])) == shown["raw"] and row["tags"] == shown["tags"]
        assert (row["seen"] and row["seen"].isoformat()) == (shown["seen"] and shown["seen"])
        assert (row["day"] and row["day"].isoformat()) == shown["day"]


def test_parquet_has_a_row_for_each_missing_value(rounds: Api, own: str) -> None:
    """A row of one column without a value is an empty line of CSV, from which the file is made."""
    for fields in (["domain"], ["raw.nothing"], ["tags"], ["seen"]):
        question = {"fields": fields, "order": ["name"]}
        table = parquet.read_table(io.BytesIO(export(rounds, own, TYPES["parquet"], question).content))
        shown = [row[fields[0]] is None for row in query(rounds, own, **question)]
        assert [value is None for value in table[fields[0]].to_pylist()] == shown and len(shown) == 10


def test_days_and_times_of_any_year_are_exported(rounds: Api) -> None:
    """What somebody wrote by SQL: Postgres knows years before 1 and after 9999, and times without end."""
    org = rounds.insert_organisation()
    days = ["infinity", "-infinity", "4713-11-24 BC", "0044-03-15 BC", "1969-12-31", "9999-12-31", "10000-01-01"]
    days += ["294247-01-10", "294276-12-31"]
    for index, day in enumerate(days):
        rounds.execute(
            "insert into rounds (org_id, name, day, seen) values (%s, %s, %s::date, %s::date::timestamptz)",
            [org, str(index), day, day],
        )
    question = {"fields": ["day", "seen"], "order": ["name"]}
    lines = export(rounds, org, TYPES["ndjson"], question).text.splitlines()
    assert [json.loads(line) for line in lines] == query(rounds, org, **question)
    _, *cells = csv.reader(io.StringIO(export(rounds, org, TYPES["csv"], question).text, newline=""))
    assert cells == [list(json.loads(line).values()) for line in lines]
    table = parquet.read_table(io.BytesIO(export(rounds, org, TYPES["parquet"], question).content))
    since_1970 = rounds.execute(
        "select day - date '1970-01-01', (extract(epoch from seen) * 1000000)::text from rounds"
        " where org_id = %s and isfinite(day) order by name",
        [org],
    )
    numbers = table["day"].cast("int32").to_pylist(), table["seen"].cast("int64").to_pylist()
    assert numbers[0] == [None, None, *(number for number, _ in since_1970)]
    assert numbers[1] == [None, None, *(int(float(text)) for _, text in since_1970[:-2]), None, None]


def test_a_list_may_lack_an_element(rounds: Api) -> None:
    """As somebody wrote it by SQL."""
    org = rounds.insert_organisation()
    rounds.execute("insert into rounds (org_id, name, tags) values (%s, 'x', array['a', null, ''])", [org])
    assert query(rounds, org)[0]["tags"] == ["a", None, ""]
    content = export(rounds, org, TYPES["parquet"]).content
    assert parquet.read_table(io.BytesIO(content))["tags"].to_pylist() == [["a", None, ""]]


def test_an_empty_answer_is_a_file_of_its_format(rounds: Api, own: str) -> None:
    org = rounds.insert_organisation()
    assert export(rounds, org, TYPES["ndjson"]).content == b""
    assert export(rounds, org, TYPES["csv"], {"fields": ["id", "name"]}).content == b"id,name\r\n"
    assert parquet.read_table(io.BytesIO(export(rounds, org, TYPES["parquet"]).content)).num_rows == 0


def test_nothing_leaves_the_organisation(rounds: Api, own: str) -> None:
    mine = {row["id"] for row in query(rounds, own)}
    for question in ({}, {"q": "series"}, {"name": {"prefix": "S"}}, {"order": ["-amount"]}):
        lines = export(rounds, own, TYPES["ndjson"], question).text.splitlines()
        assert {json.loads(line)["id"] for line in lines} == mine
    headers = {**internal_headers(own), "accept": "text/csv"}
    other = rounds.insert_organisation()
    read_error(rounds.post(PATH, {"org_id": other}, headers=headers), 403, "other_organisation")
    answer = rounds.post(PATH, {"org_id": other}, headers=bearer_headers(ADMIN_KEY))
    assert answer.status_code == 200 and answer.content == b""


@pytest.mark.parametrize(
    ("body", "accept", "status", "code"),
    [
        ({"limit": 5}, "text/csv", 422, "unknown_field"),
        ({"cursor": "x"}, "text/csv", 422, "unknown_field"),
        ({"nme": 1}, "text/csv", 422, "unknown_field"),
        ({"name": None}, "text/csv", 422, "null_filter"),
        ({}, "application/json", 406, "not_acceptable"),
        ({}, "text/csv;q=0", 406, "not_acceptable"),
    ],
)
def test_what_is_refused_is_named(rounds: Api, own: str, body: Any, accept: str, status: int, code: str) -> None:
    answer = rounds.post(PATH, body, headers={**internal_headers(own), "accept": accept})
    read_error(answer, status, code)


@pytest.mark.parametrize("name", ["limit", "offset", "cursor", "count"])
def test_a_part_of_a_page_is_told_that_an_export_has_none(rounds: Api, own: str, name: str) -> None:
    error = read_error(rounds.post(PATH, {name: 5}, headers=internal_headers(own)), 422, "unknown_field")
    assert error["error"] == f"unknown field `{name}`; an export has every row, and no pages or count"


def test_without_a_wish_it_is_lines(rounds: Api, own: str) -> None:
    for accept in ("", "*/*", "application/*;q=0.5, text/html", "text/html, application/x-ndjson"):
        answer = rounds.post(PATH, {}, headers={**internal_headers(own), "accept": accept})
        assert answer.headers["content-type"] == TYPES["ndjson"]


def test_a_reader_that_goes_gives_the_connection_back(rounds: Api) -> None:
    org = insert_large_rounds(rounds)
    for _ in range(8):  # more than the pool has
        with rounds.client.stream("POST", PATH, json={}, headers=internal_headers(org)) as answer:
            next(answer.iter_bytes())
    assert len(export(rounds, org, TYPES["ndjson"]).text.splitlines()) == 300


@pytest.mark.parametrize("name", [SLUG, "exports"])
def test_slow_readers_hold_up_only_their_own_exports(server_dsn: str, template: str, name: str) -> None:
    """An export has a connection for as long as its reader takes, and no spec shares those of exports by its name."""
    text = TEXT.replace("name: rounds", f"name: {name}")
    with run_rounds(server_dsn, template, text, pool_size=8) as rounds, ExitStack() as stack:

        def read_slowly(org: str) -> None:
            for _ in range(2):
                stack.enter_context(rounds.client.stream("POST", PATH, json={}, headers=SLOW | internal_headers(org)))

        first, second = insert_large_rounds(rounds), insert_large_rounds(rounds)
        read_slowly(first)
        refused = rounds.post(PATH, {}, headers=internal_headers(first))
        assert "at most 2 exports" in read_error(refused, 503, "database_busy")["hint"]
        assert len(export(rounds, second, TYPES["ndjson"]).text.splitlines()) == 300
        read_slowly(second)
        for _ in range(8):
            assert rounds.query(SLUG, first, {"fields": ["id"], "limit": 1}).status_code == 200


#: With gzip the answer would fit into the buffers.
SLOW = {"accept-encoding": "identity"}


def insert_large_rounds(api: Api) -> str:
    """Insert more than the buffers between the server and a reader take; return the organisation."""
    org = api.insert_organisation()
    api.execute(
        "insert into rounds (org_id, name, raw)"
        " select %s, number::text, to_jsonb(repeat(md5(number::text), 3000)) from generate_series(1, 300) as number",
        [org],
    )
    return org


PEAK = """
import asyncio, sys
from pathlib import Path
from engine.plans import load_plans
from engine.project import find_project
from engine.rows.export_formats import ExportFormat
from engine.rows.query import EXPORT_OPTIONS, build_query
from engine.store.connection import connect
from engine.store.export_files import write_export

async def main(dsn, org, format_):
    plan = next(plan for plan in load_plans(find_project()) if plan.name == "icp_job_titles")
    size = 0
    async with await connect(dsn) as connection:
        async for part in write_export(connection, plan, build_query(plan, org, {}, EXPORT_OPTIONS), format_):
            size += len(part)
    peak = next(line for line in Path('/proc/self/status').read_text().splitlines() if line.startswith('VmHWM'))
    print(size, int(peak.split()[1]) // 1024)  # ru_maxrss would be that of the process it was forked from

asyncio.run(main(sys.argv[1], sys.argv[2], ExportFormat(sys.argv[3])))
"""


@pytest.fixture(scope="module")
def large_rows(server_dsn: str, template: str) -> Iterator[tuple[str, str]]:
    """A database with 300 MB of documents, half of them larger than a block; yield its URL and their organisation."""
    with create_database(server_dsn, template) as dsn, psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute("insert into orgs (name, slug) values ('A', 'a') returning id::text").fetchone()
        assert row is not None
        connection.execute("alter table icp_job_titles alter raw_parallel_output set storage external")
        connection.execute(
            "insert into icp_job_titles (org_id, company_domain, raw_parallel_output)"
            " select %s, number::text, to_jsonb(repeat('x', 500000 + (number %% 2) * 500000))"
            " from generate_series(1, 400) as number",
            [row[0]],
        )
        yield dsn, row[0]


@pytest.mark.parametrize("format_", ["ndjson", "csv", "parquet"])
def test_memory_is_bounded_whatever_the_rows_hold(large_rows: tuple[str, str], format_: str) -> None:
    """300 MB of documents pass through less than 150 MB."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *large_rows, format_],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    size, peak = map(int, done.stdout.split())
    assert size > 290_000_000 or format_ == "parquet"
    assert peak < 150, f"{peak} MB"
