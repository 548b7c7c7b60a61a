"""Questions: operators, order, search, paths, count and one row, each over every type, and never of another tenant."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from engine.columns import list_query_columns
from engine.plan import Plan
from engine.rows.filters import Operator, list_operators
from engine.rows.ordering import list_order_columns
from engine.tables import draft_migration
from engine.tables.ddl import build_stored_words_definition
from tests.api.loopback import ADMIN_KEY, Api, bearer_headers, internal_headers, read_data, read_error, run_api
from tests.api.test_openapi import check_examples
from tests.conftest import create_database
from tests.database.conftest import compile_text
from tests.world import build_payload, insert_step

TEXT = """\
spec: 1
name: rounds
title: Rounds
operations: [test.rounds]
table: rounds
row_name: round
conflict: [org_id, name]
fields:
  name: {type: text, path: output.name, required: true, filter: true}
  domain: {type: text, path: output.domain, normalize: [domain], filter: true}
  amount: {type: numeric, path: output.amount, filter: true}
  people: {type: integer, path: output.people, filter: true}
  big: {type: bigint, path: output.big, filter: true}
  open: {type: boolean, path: output.open, filter: true}
  day: {type: date, path: output.day, filter: true}
  seen: {type: timestamptz, path: output.seen, filter: true}
  ref: {type: uuid, path: output.ref, filter: true}
  tags: {type: "text[]", path: output.tags, filter: true}
  raw: {type: jsonb, path: output.raw}
  source: {type: text, path: output.source}
search: [name, tags]
"""
SLUG = "rounds"


def build_row(number: int) -> dict[str, Any]:
    """Return row `number` of ten; every second lacks all that may be missing."""
    row: dict[str, Any] = {"name": f"Series {chr(ord('A') + number)} 100%_\\"}
    if number % 2 == 0:
        row |= {
            "domain": f"c{number % 4}.example.com",
            "amount": 1.5 * (number % 4),
            "people": number // 4,
            "big": 2**40 + number,
            "open": number % 4 == 0,
            "day": f"2026-01-0{number + 1}",
            "seen": f"2026-01-0{number + 1}T00:00:00.123456Z",
            "ref": f"00000000-0000-4000-8000-00000000000{number}",
            "tags": ["seed", f"t{number}"],
            "raw": {"funding": {"total": number, "of": ["x", {"y": 1.10}]}, "": 1, "null": None},
        }
    return row


@contextmanager
def run_rounds(server_dsn: str, template: str, text: str = TEXT, **settings: Any) -> Iterator[Api]:
    """Run an API with one spec, whose fields have every type, over a database of its own."""
    plan = compile_text(text)
    with create_database(server_dsn, template) as dsn:
        with psycopg.connect(dsn) as connection:
            connection.execute(draft_migration.build_create_migration(plan).encode())
        with run_api(dsn, (plan,), **settings) as api:
            yield api


@pytest.fixture(scope="module")
def rounds(server_dsn: str, template: str) -> Iterator[Api]:
    with run_rounds(server_dsn, template) as api:
        yield api


@pytest.fixture(scope="module")
def own(rounds: Api) -> str:
    return insert_rounds(rounds)


def insert_rounds(api: Api) -> str:
    org = api.insert_organisation()
    for number in range(10):
        assert api.upsert(SLUG, build_row(number), org).status_code == 200
    return org


def insert_many(api: Api, org: str, rows: int, domain: str) -> None:
    """Insert rows whose `domain` is the given SQL."""
    api.execute(
        f"insert into rounds (org_id, name, domain) select %s, number::text, {domain}"
        f" from generate_series(1, {rows}) as number",
        [org],
    )


def ask(api: Api, org: str, **question: Any) -> list[str]:
    """Return the letters of the rounds that answer a question, in order."""
    answer = api.query(SLUG, org, {"order": ["name"], **question})
    assert answer.status_code == 200, answer.text
    return [row["name"][7] for row in answer.json()["data"]]


@pytest.mark.parametrize(
    ("question", "letters"),
    [
        ({"domain": "https://www.C0.example.com/x"}, "AEI"),
        ({"domain": ["c2.example.com", "nobody.example.com"]}, "CG"),
        ({"domain": {"eq": "C2.example.com"}}, "CG"),
        ({"domain": {"in": ["c2.example.com", "c0.example.com"]}}, "ACEGI"),
        ({"domain": {"prefix": "c2."}}, "CG"),
        ({"domain": {"prefix": "C2."}}, ""),
        ({"domain": {"contains": "2.ex"}}, "CG"),
        ({"domain": {"contains": "_"}}, ""),
        ({"name": {"contains": "100%_\\"}}, "ABCDEFGHIJ"),
        ({"name": {"prefix": "Series \U0010ffff"}}, ""),
        ({"name": {"gt": "Series C", "lte": "Series E 100%_\\"}}, "CDE"),
        ({"domain": {"is": None}}, "BDFHJ"),
        ({"domain": {"is": "not null"}}, "ACEGI"),
        ({"amount": 3}, "CG"),
        ({"amount": {"gte": 3.0}}, "CG"),
        ({"amount": {"lt": 3}}, "AEI"),
        ({"people": {"gt": 0, "lt": 2}}, "EG"),
        ({"big": {"lte": 2**40 + 2}}, "AC"),
        ({"open": False}, "CG"),
        ({"open": {"in": [True, False]}}, "ACEGI"),
        ({"day": {"gte": "2026-01-05"}}, "EGI"),
        ({"seen": {"gt": "2026-01-07T02:00:00.123456+02:00"}}, "I"),
        ({"seen": "2026-01-07T00:00:00.123456Z"}, "G"),
        ({"ref": "00000000-0000-4000-8000-000000000004"}, "E"),
        ({"tags": {"contains": "t4"}}, "E"),
        ({"tags": {"contains": "seed"}, "day": {"lt": "2026-01-05"}}, "AC"),
        ({"tags": {"is": None}}, "BDFHJ"),
        ({"created_at": {"lt": "2020-01-01T00:00:00Z"}}, ""),
        ({"updated_at": {"gte": "2020-01-01T00:00:00Z"}, "open": True}, "AEI"),
        ({"source_pipeline_run_id": {"is": None}, "open": True}, "AEI"),
        ({"source_submission_id": str(uuid.uuid4())}, ""),
        ({"id": [str(uuid.uuid4())]}, ""),
        ({"q": "series e"}, "E"),
        ({"q": "SEED t4 or t6"}, "EG"),
        ({"q": "series -seed"}, "BDFHJ"),
        ({"q": "!!!"}, ""),
    ],
)
def test_a_question_finds_what_it_asks_for(rounds: Api, own: str, question: dict[str, Any], letters: str) -> None:
    assert "".join(ask(rounds, own, **question)) == letters


@pytest.mark.parametrize(
    ("order", "letters"),
    [
        (["name"], "ABCDEFGHIJ"),
        (["-name"], "JIHGFEDCBA"),
        (["-day", "name"], "BDFHJIGECA"),
        (["day", "-name"], "ACEGIJHFDB"),
        (["amount", "name"], "AEICGBDFHJ"),
        (["-amount", "name"], "BDFHJCGAEI"),
        (["-open", "-name"], "JHFDBIEAGC"),
    ],
)
def test_an_order_and_its_pages(rounds: Api, own: str, order: list[str], letters: str) -> None:
    assert "".join(ask(rounds, own, order=order)) == letters
    for limit in (1, 3):
        assert "".join(walk(rounds, own, {"order": order, "limit": limit})) == letters


def test_a_row_of_many_words_is_searched_by_its_first_ones(rounds: Api) -> None:
    """All 220,000 words are more than a `tsvector` holds: Postgres would refuse every search of the organisation."""
    org = rounds.insert_organisation()
    row = {"name": "Series X", "tags": [f"w{number}" for number in range(220_000)]}
    assert rounds.upsert(SLUG, row, org).status_code == 200
    assert (ask(rounds, org, q="w9999"), ask(rounds, org, q="w219999")) == (["X"], [])


WORDS = "coalesce(name, '') || ' ' || coalesce(join_words(tags), '')"


@pytest.mark.parametrize(
    "stored",
    [
        None,
        "tsvector generated always as (to_tsvector('simple', left(coalesce(name, ''), 100000))) stored",
        f"tsvector generated always as (to_tsvector('english', left({WORDS}, 100000))) stored",
        f"tsvector generated always as (to_tsvector('simple', left({WORDS}, 10))) stored",
        "tsvector generated always as"
        " (to_tsvector('simple', left(name || ' ' || coalesce(join_words(tags), ''), 100000))) stored",
        "tsvector generated always as (to_tsvector('simple', left(name || ' ' || join_words(tags), 100000))) stored",
        "tsvector",
        "text default 'of somebody else'",
    ],
    ids=["none", "of another column", "stemmed", "a few", "null with a null", "null with nulls", "plain", "of others"],
)
def test_a_table_is_searched_whatever_words_it_stores(rounds: Api, own: str, stored: str | None) -> None:
    """Every search finds what it finds where the words are stored, in pages, counts and exports."""

    def ask_each_search() -> list[list[str]]:
        return [ask(rounds, own, q=words) for words in ("seed", "t2", "series -c", '"a 100"', "nothing")]

    def count_exported() -> int:
        headers = {**internal_headers(own), "accept": "application/x-ndjson"}
        return len(rounds.post(f"/api/v1/{SLUG}/export", {"q": "seed"}, headers=headers).text.splitlines())

    plan = rounds.plans[0]
    found = ask_each_search()
    assert (found[0], count_exported()) == (["A", "C", "E", "G", "I"], 5)
    assert len({tuple(letters) for letters in found}) == 5
    rounds.execute(f"alter table {SLUG} drop column search_document")
    try:
        if stored:
            rounds.execute(f"alter table {SLUG} add column search_document {stored}")
        assert (ask_each_search(), count_exported()) == (found, 5)
    finally:
        rounds.execute(f"alter table {SLUG} drop column if exists search_document")
        rounds.execute(f"alter table {SLUG} add column search_document {build_stored_words_definition(plan)}")
    assert ask_each_search() == found


def test_a_search_knows_capitals_beyond_ascii(rounds: Api) -> None:
    org = rounds.insert_organisation()
    for name in ("Über Ökologie", "ΑΘΗΝΑ", "Ёлка"):
        assert rounds.upsert(SLUG, {"name": name}, org).status_code == 200
    found = [rounds.query(SLUG, org, {"q": words}).json()["data"] for words in ("über", "ÖKOLOGIE", "αθηνα", "ёлка")]
    assert [[row["name"] for row in rows] for rows in found] == [["Über Ökologie"]] * 2 + [["ΑΘΗΝΑ"], ["Ёлка"]]


def walk(api: Api, org: str, question: dict[str, Any]) -> Iterator[str]:
    cursor = None
    while True:
        answer = api.query(SLUG, org, {**question, "cursor": cursor}).json()
        yield from (row["name"][7] for row in answer["data"])
        cursor = answer["meta"]["next_cursor"]
        if cursor is None:
            return


def test_every_order_meets_each_row_once(rounds: Api, own: str) -> None:
    names = list_order_columns(rounds.plans[0])
    words = [[sign + name] for name in names for sign in ("", "-")]
    words += [["-open", name] for name in names if name != "open"] + [["day", "-people"], ["people", "-big"]]
    for order in words:
        met = list(walk(rounds, own, {"order": order, "limit": 3}))
        assert sorted(met) == list("ABCDEFGHIJ"), order
        assert met == ask(rounds, own, order=order), order


def test_nothing_leaves_the_organisation(rounds: Api, own: str) -> None:
    """Every operator of every column, every order, search and count, while another organisation has the same rows."""
    insert_rounds(rounds)
    plan = rounds.plans[0]
    mine = {row["id"] for row in rounds.query(SLUG, own).json()["data"]}
    some = next(row for row in rounds.query(SLUG, own).json()["data"] if row["domain"])
    questions = [
        *list_questions(plan, some),
        *({"order": [name]} for name in list_order_columns(plan)),
        {"q": "series"},
    ]
    for question in questions:
        answer = rounds.query(SLUG, own, {**question, "count": "exact", "limit": 3})
        assert answer.status_code == 200, (question, answer.text)
        assert {row["id"] for row in answer.json()["data"]} <= mine, question
        assert answer.json()["meta"]["count"] <= 10, question
        cursor = answer.json()["meta"]["next_cursor"]
        if cursor:
            more = rounds.query(SLUG, own, {**question, "cursor": cursor}).json()["data"]
            assert {row["id"] for row in more} <= mine, question


def list_questions(plan: Plan, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a question for each operator of each column, about the values of a row."""
    for column in list_query_columns(plan).values():
        value = row[column.name] if row[column.name] is not None else row["id"]
        for operator in list_operators(column):
            operands: dict[Operator, Any] = {
                Operator.IN: [value],
                Operator.IS: "not null",
                Operator.PREFIX: str(value)[:1],
                Operator.CONTAINS: value[0] if isinstance(value, list) else str(value)[:1],
            }
            yield {column.name: {operator.value: operands.get(operator, value)}}


@pytest.mark.parametrize(
    ("question", "code", "sentence"),
    [
        ({"domain": None}, "null_filter", '`{"is": null}`'),
        ({"updated_at": None}, "null_filter", "leave it out"),
        ({"domain": {}}, "unknown_operator", "`eq`"),
        ({"domain": {"like": "x"}}, "unknown_operator", "known: "),
        ({"domain": {"contain": "x"}}, "unknown_operator", "did you mean `contains`?"),
        ({"amount": {"prefix": "1"}}, "unknown_operator", "type numeric does not take `prefix`"),
        ({"tags": "seed"}, "unknown_operator", "`contains`"),
        ({"open": {"gt": True}}, "unknown_operator", "`open` takes `eq`, `in`, `is`"),
        ({"domain": {"is": "null"}}, "wrong_type", '`is` takes null or "not null"'),
        ({"domain": {"in": "x"}}, "wrong_type", "a list"),
        ({"domain": {"in": ["x.com", None]}}, "blank_filter", "blank"),
        ({"amount": {"gt": "3"}}, "wrong_type", "expected a number"),
        ({"day": {"gt": "today"}}, "wrong_type", "`2026-05-15`"),
        ({"name": {"prefix": ""}}, "blank_filter", "empty"),
        ({"name": {"contains": 5}}, "wrong_type", "a string"),
        ({"name": {"prefix": "a\u0000"}}, "wrong_type", "NUL"),
        ({"raw": "x"}, "unknown_field", "`raw`"),
        ({"nme": "x"}, "unknown_field", "did you mean `name`?"),
        ({"order": "name desc"}, "unknown_column", "did you mean `name`?"),
        ({"order": ["raw"]}, "unknown_column", "`raw` is `jsonb`"),
        ({"order": ["-source"]}, "unknown_column", "the column `source` has no `filter: true` in `"),
        ({"source": "x"}, "unknown_field", "the column `source` has no `filter: true` in `"),
        ({"order": ["+name"]}, "unknown_column", "did you mean `name`?"),
        ({"sort": "name"}, "unknown_field", "did you mean `order`?"),
        ({"search": "series"}, "unknown_field", "did you mean `q`?"),
        ({"page": 2}, "unknown_field", "did you mean `cursor`?"),
        ({"filters": {"name": "x"}}, "unknown_field", "stands beside the other fields"),
        ({"where": {"name": "x"}}, "unknown_field", '`{"name": ...}`'),
        ({"order": []}, "wrong_type", "list of columns"),
        ({"order": ["name", "day", "amount"]}, "out_of_range", "one or two"),
        ({"order": ["name", "-name"]}, "out_of_range", "twice"),
        ({"q": " "}, "blank_filter", "blank"),
        ({"q": 5}, "wrong_type", "a string"),
        ({"q": "x" * 1001}, "out_of_range", "1000"),
        ({"count": "all"}, "wrong_type", '"estimated"'),
        ({"fields": ["name.x"]}, "unknown_column", "`raw`"),
        ({"fields": ["raw."]}, "unknown_column", "`raw.key.key`"),
        ({"fields": ["raw..x"]}, "unknown_column", "`raw.key.key`"),
        ({"fields": ["rw.x"]}, "unknown_column", "did you mean `raw`?"),
        ({"fields": ["raw." + "x" * 600]}, "unknown_column", "at most"),
        ({"fields": ["raw.a\u0000"]}, "unknown_column", "NUL"),
    ],
)
def test_a_wrong_word_is_named_with_what_would_be_right(
    rounds: Api, own: str, question: dict[str, Any], code: str, sentence: str
) -> None:
    error = read_error(rounds.query(SLUG, own, question), 422, code)
    assert sentence in error["error"] + error["hint"] + error["detail"][0]["message"], error
    assert "normalizer" not in error["hint"]  # advice for the author of the spec


def test_every_wrong_word_is_named_at_once(rounds: Api, own: str) -> None:
    question = {"domain": None, "amount": {"like": 1}, "order": ["nothing"], "fields": ["none"], "count": "x"}
    error = read_error(rounds.query(SLUG, own, question), 422, "unknown_column")
    assert {one["field"] for one in error["detail"]} == {"domain", "amount", "order", "fields", "count"}


def test_a_spec_without_search_says_so(api: Api, org: str) -> None:
    error = read_error(api.query("icp-job-titles", org, {"q": "engineer"}), 422, "unknown_field")
    assert "full-text" in error["error"] and "search" in error["hint"]


class TestCursors:
    @pytest.mark.parametrize(
        "other", [{"order": ["name"]}, {"order": ["-day"]}, {"q": "series"}, {"domain": {"is": None}}]
    )
    def test_belong_to_one_question(self, rounds: Api, own: str, other: dict[str, Any]) -> None:
        cursor = rounds.query(SLUG, own, {"order": ["day"], "limit": 2}).json()["meta"]["next_cursor"]
        read_error(rounds.query(SLUG, own, {"order": ["day"], "cursor": cursor} | other), 400, "invalid_cursor")

    def test_end_with_the_version_of_the_spec_that_they_are_of(self, server_dsn: str, template: str) -> None:
        """`dex rebuild` has changed the type of the column in whose order the pages are."""
        plan, older = compile_text(TEXT), compile_text(TEXT.replace("people: {type: integer", "people: {type: text"))
        with create_database(server_dsn, template) as dsn:
            with psycopg.connect(dsn) as connection:
                connection.execute(draft_migration.build_create_migration(older).encode())
            with run_api(dsn, (older,)) as api:
                org = api.insert_organisation()
                for name in ("some", "few", "many"):
                    assert api.upsert(SLUG, {"name": name, "people": name}, org).status_code == 200
                question = {"order": ["people"], "limit": 1}
                question["cursor"] = api.query(SLUG, org, question).json()["meta"]["next_cursor"]
                assert api.query(SLUG, org, question).status_code == 200
                api.execute("alter table rounds drop column people, add column people integer default 5")
            with run_api(dsn, (plan,)) as api:
                read_error(api.query(SLUG, org, question), 400, "invalid_cursor")

    def test_of_the_default_order_belong_to_it_by_name(self, rounds: Api, own: str) -> None:
        cursor = rounds.query(SLUG, own, {"limit": 2}).json()["meta"]["next_cursor"]
        assert rounds.query(SLUG, own, {"order": ["-created_at"], "cursor": cursor}).status_code == 200


class TestPaths:
    def test_are_keys_of_the_answer(self, rounds: Api, own: str) -> None:
        fields = ["name", "raw.funding.total", "raw.funding.of.1.y", "raw.nothing.there", "raw.null", 'raw.a"b']
        rows = rounds.query(SLUG, own, {"fields": fields, "order": ["name"], "limit": 2}).json()["data"]
        name = build_row(0)["name"]
        found = dict.fromkeys(fields[3:]) | {"name": name, "raw.funding.total": 0, "raw.funding.of.1.y": 1.1}
        assert rows == [found, {**dict.fromkeys(fields), "name": build_row(1)["name"]}]

    def test_keep_a_number_as_it_is_stored(self, rounds: Api, own: str) -> None:
        org = rounds.insert_organisation()
        body = b'{"name": "x", "raw": {"funding": {"of": ["x", {"y": 1.10}]}}}'
        rounds.post(f"/api/internal/{SLUG}/upsert", body, headers=internal_headers(org))
        answer = rounds.query(SLUG, org, {"fields": ["raw.funding.of"]})
        assert '{"raw.funding.of":["x", {"y": 1.10}]}' in answer.text

    def test_stand_beside_the_document(self, rounds: Api, own: str) -> None:
        answer = rounds.query(SLUG, own, {"fields": ["raw", "raw.funding"], "order": ["name"], "limit": 1}).json()
        assert answer["data"][0]["raw"]["funding"] == answer["data"][0]["raw.funding"]


class TestCount:
    def test_exact_counts_all_pages(self, rounds: Api, own: str) -> None:
        question = {"count": "exact", "limit": 2, "domain": {"is": "not null"}}
        first = rounds.query(SLUG, own, question).json()["meta"]
        assert first["count"] == 5
        assert rounds.query(SLUG, own, {**question, "cursor": first["next_cursor"]}).json()["meta"]["count"] == 5

    @pytest.mark.parametrize(
        ("page", "count"),
        [({}, 10), ({"limit": 3}, 10), ({"offset": 8}, 10), ({"offset": 50}, 10), ({"domain": "nobody.example"}, 0)],
    )
    def test_estimated_is_exact_for_few_rows(self, rounds: Api, own: str, page: dict[str, Any], count: int) -> None:
        assert rounds.query(SLUG, own, {"count": "estimated", **page}).json()["meta"]["count"] == count
        assert rounds.query(SLUG, rounds.insert_organisation(), {"count": "estimated"}).json()["meta"]["count"] == 0

    def test_estimated_says_nothing_of_other_organisations(self, rounds: Api) -> None:
        """The planner's statistics are about the rows of all: how often others have a value is in its estimates."""
        mine, other = rounds.insert_organisation(), rounds.insert_organisation()
        insert_many(rounds, mine, 3000, "'d' || number || '.example.com'")
        insert_many(rounds, other, 3000, "'secret.example.com'")
        rounds.execute("analyze rounds")

        def estimate(**question: Any) -> Any:
            return rounds.query(SLUG, mine, {"count": "estimated", "limit": 1, **question}).json()["meta"]["count"]

        for offset in (0, 1):
            assert estimate(domain="secret.example.com", offset=offset) == 0
            assert estimate(domain={"gte": "secret", "lt": "t"}, offset=offset) == 0
            assert estimate(domain={"prefix": "d"}, offset=offset) == 3000

    def test_estimated_is_the_planners_for_many_rows(self, rounds: Api) -> None:
        org = rounds.insert_organisation()
        insert_many(rounds, org, 10_001, "'a.example.com'")
        rounds.execute("analyze rounds")
        for question in ({}, {"domain": "a.example.com"}, {"order": ["-domain"], "offset": 10_000}):
            answer = rounds.query(SLUG, org, {"count": "estimated", "limit": 1, **question}).json()
            assert 10_001 <= answer["meta"]["count"] < 12_000, question
        rounds.execute("delete from rounds where org_id = %s", [org])

    def test_only_where_it_is_asked_for(self, rounds: Api, own: str) -> None:
        assert "count" not in rounds.query(SLUG, own).json()["meta"]


class TestOneRow:
    def get(self, api: Api, org: str, row_id: str, query: str = "") -> Any:
        headers = bearer_headers(api.insert_token(org))
        return api.client.get(f"/api/v1/{SLUG}/{row_id}{query}", headers=headers)

    def test_is_the_row_of_a_query(self, rounds: Api, own: str) -> None:
        for row in rounds.query(SLUG, own, {"limit": 3}).json()["data"]:
            assert self.get(rounds, own, row["id"]).json() == {"data": row}

    def test_with_fields_and_paths(self, rounds: Api, own: str) -> None:
        row = rounds.query(SLUG, own, {"name": build_row(4)["name"]}).json()["data"][0]
        answer = self.get(rounds, own, row["id"], "?fields=name,raw.funding.total")
        assert answer.json()["data"] == {"name": row["name"], "raw.funding.total": 4}
        read_error(self.get(rounds, own, row["id"], "?fields=nam"), 422, "unknown_column")

    def test_of_another_organisation_is_not_there(self, rounds: Api, own: str) -> None:
        row = rounds.query(SLUG, own, {"limit": 1}).json()["data"][0]
        other = rounds.insert_organisation()
        for row_id in (row["id"], str(uuid.uuid4()), "nothing"):
            read_error(self.get(rounds, other, row_id), 404, "not_found")

    def test_has_no_id_that_is_the_word_of_another_endpoint(self, rounds: Api, own: str) -> None:
        for word in ("query", "export"):
            answer = self.get(rounds, own, word)
            read_error(answer, 405, "method_not_allowed")
            assert answer.headers["allow"] == "POST"

    def test_refuses_parameters_it_does_not_know(self, rounds: Api, own: str) -> None:
        error = read_error(self.get(rounds, own, str(uuid.uuid4()), "?field=x"), 422, "unknown_field")
        assert "did you mean `fields`?" in error["detail"][0]["message"]

    def test_a_super_admin_names_the_organisation(self, rounds: Api, own: str) -> None:
        row = rounds.query(SLUG, own, {"limit": 1}).json()["data"][0]
        path, headers = f"/api/v1/{SLUG}/{row['id']}", bearer_headers(ADMIN_KEY)
        assert rounds.client.get(f"{path}?org_id={own}", headers=headers).json()["data"] == row
        read_error(rounds.client.get(path, headers=headers), 400, "org_id_required")
        assert rounds.client.get(path).status_code == 401


def test_the_examples_of_the_document_are_taken_of_every_type(rounds: Api, server_dsn: str, template: str) -> None:
    check_examples(rounds, rounds.insert_organisation())
    tags = '  tags: {type: "text[]", path: output.tags, filter: true}\n'
    by_tags = TEXT.replace(tags, "").replace("fields:\n", f"fields:\n{tags}")  # its filter is the example then
    with run_rounds(server_dsn, template, by_tags) as api:
        check_examples(api, api.insert_organisation())


def test_the_command_line_knows_the_same_words(rounds: Api, own: str, tmp_path: Path) -> None:
    plan = rounds.plans[0]
    from scripts.commands.database import parse_filters  # the command itself needs a project with this spec

    given = ["domain=c0.example.com", "domain=c2.example.com", "amount.gte=3", "day.in=2026-01-03,2026-01-07"]
    filters = parse_filters(plan, [*given, "tags.contains=seed", "source_submission_id.is=null", "open=false"])
    assert json.loads(json.dumps(filters)) == {
        "domain": ["c0.example.com", "c2.example.com"],
        "amount": {"gte": 3},
        "day": {"in": ["2026-01-03", "2026-01-07"]},
        "tags": {"contains": "seed"},
        "source_submission_id": {"is": None},
        "open": False,
    }
    assert "".join(ask(rounds, own, **filters)) == "CG"


def test_examples_are_shown_of_every_type(rounds: Api) -> None:
    """Those of the newest step results: decimals, dates and moments are no values of JSON."""
    org = rounds.insert_organisation()
    _, run = rounds.insert_submission(org)
    with rounds.connect_owner() as connection:
        insert_step(connection, run, payload=build_payload("test.rounds", {**build_row(2), "amount": 1e20}))
    answer = rounds.client.get("/api/v1/specs/rounds/samples", headers=internal_headers(org))
    examples = {column["name"]: [one["value"] for one in column["examples"]] for column in read_data(answer)["columns"]}
    assert (examples["amount"], examples["day"]) == (["1" + "0" * 20], ["2026-01-03"])
    assert examples["seen"][0].startswith("2026-01-03T00:00:00.123456")
    assert all(values for name, values in examples.items() if name != "source")
