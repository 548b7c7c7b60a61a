"""Nothing a tenant asks leaves its organisation: a test for every operator of every column of every spec."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from engine.columns import list_query_columns
from engine.plan import Plan
from engine.provided_columns import PROVIDED_COLUMNS
from engine.rows.filters import Operator, list_operators
from engine.rows.ordering import list_order_columns
from engine.sql.identifiers import quote, quote_table
from engine.tables import draft_migration
from tests.api.loopback import Api, bearer_headers, run_api
from tests.api.test_questions import TEXT, list_questions
from tests.conftest import create_database, load_project_plans
from tests.database.conftest import compile_text

PLANS = (*load_project_plans(), compile_text(TEXT))
ROWS = 6
CASES = [
    pytest.param(plan, column.name, operator, id=f"{plan.name}-{column.name}-{operator}")
    for plan in PLANS
    for column in list_query_columns(plan).values()
    for operator in list_operators(column)
]
ORDERS = [pytest.param(plan, name, id=f"{plan.name}-{name}") for plan in PLANS for name in list_order_columns(plan)]


@pytest.fixture(scope="module")
def every(server_dsn: str, template: str) -> Iterator[Api]:
    """An API with the project's specs and one whose fields have every type."""
    with create_database(server_dsn, template) as dsn:
        with psycopg.connect(dsn) as connection:
            connection.execute(draft_migration.build_create_migration(PLANS[-1]).encode())
        with run_api(dsn, PLANS) as api:
            yield api


@pytest.fixture(scope="module")
def tenants(every: Api) -> list[dict[str, Any]]:
    """Two organisations with the same rows in every table: each one's token, its ids by spec, and its second row."""
    found = []
    with psycopg.connect(every.dsn, autocommit=True) as connection:
        for _ in range(2):
            org = every.insert_organisation()
            submission, run = every.insert_submission(org)
            sources = {"source_submission_id": submission, "source_pipeline_run_id": run}
            ids = {
                plan.name: [insert_row(connection, plan, org, place, sources) for place in range(ROWS)]
                for plan in PLANS
            }
            headers = bearer_headers(every.insert_token(org))
            rows = {
                plan.name: every.client.get(f"/api/v1/{plan.slug}/{ids[plan.name][1]}", headers=headers).json()["data"]
                for plan in PLANS
            }
            found.append({"headers": headers, "ids": ids, "rows": rows})
    return found


def insert_row(connection: Any, plan: Plan, org: str, place: int, sources: dict[str, str]) -> str:
    """Insert a row whose values are the same in every organisation; every third lacks what may be missing."""
    row: dict[str, Any] = {"org_id": org, **sources, "source_recorded_at": datetime(2026, 1, 1 + place, tzinfo=UTC)}
    row["source_step_result_id"] = f"00000000-0000-4000-9000-{place:012}"
    for column in plan.fields:
        if column.required or column.key or place % 3:
            row[column.name] = make_value(column.type.name, place)
    names = ", ".join(map(quote, row))
    places = ", ".join(["%s"] * len(row))
    statement = f"insert into {quote_table(plan.table)} ({names}) values ({places}) returning id::text"
    return str(connection.execute(statement, list(row.values())).fetchone()[0])


def make_value(type_: str, place: int) -> Any:
    values = {
        "text": f"c{place}.example.com",
        "jsonb": Jsonb({"place": place}),
        "boolean": place % 2 == 0,
        "date": date(2026, 1, 1) + timedelta(place),
        "timestamptz": datetime(2026, 1, 1 + place, tzinfo=UTC),
        "uuid": f"00000000-0000-4000-8000-{place:012}",
        "text[]": ["tag", f"t{place}"],
    }
    return values.get(type_, place)


def ask(api: Api, tenant: dict[str, Any], plan: Plan, question: dict[str, Any]) -> tuple[set[str], int]:
    """Return the ids of all pages of an answer, and its count."""
    ids, cursor, count = set(), None, 0
    while True:
        body = {**question, "count": "exact", "limit": 4, "cursor": cursor}
        answer = api.post(f"/api/v1/{plan.slug}/query", body, headers=tenant["headers"])
        assert answer.status_code == 200, (question, answer.text)
        ids |= {row["id"] for row in answer.json()["data"]}
        cursor, count = answer.json()["meta"]["next_cursor"], answer.json()["meta"]["count"]
        if cursor is None:
            return ids, count


@pytest.mark.parametrize(("plan", "column", "operator"), CASES)
def test_an_operator(every: Api, tenants: list[dict[str, Any]], plan: Plan, column: str, operator: Operator) -> None:
    """Each of the two finds rows of its own, as many as the other; what names an own row finds nothing there."""
    own, other = tenants
    questions = [
        question
        for question in list_questions(plan, own["rows"][plan.name])
        if column in question and operator.value in question[column]
    ]
    assert len(questions) == 1
    mine, count = ask(every, own, plan, questions[0])
    theirs, their_count = ask(every, other, plan, questions[0])
    assert mine <= set(own["ids"][plan.name]) and theirs <= set(other["ids"][plan.name])
    assert (count, their_count) == (len(mine), len(theirs))
    if column not in PROVIDED_COLUMNS:
        assert len(mine) == len(theirs)
    export = every.post(f"/api/v1/{plan.slug}/export", {**questions[0], "fields": ["id"]}, headers=own["headers"])
    assert {line[7:43] for line in export.text.splitlines()} == mine, export.text


@pytest.mark.parametrize(("plan", "column"), ORDERS)
def test_an_order(every: Api, tenants: list[dict[str, Any]], plan: Plan, column: str) -> None:
    for order in ([column], [f"-{column}"]):
        ids, count = ask(every, tenants[0], plan, {"order": order})
        assert ids == set(tenants[0]["ids"][plan.name]) and count == ROWS


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)
def test_rows_changes_and_coverage(every: Api, tenants: list[dict[str, Any]], plan: Plan) -> None:
    own, other = tenants
    for row_id in other["ids"][plan.name]:
        assert every.client.get(f"/api/v1/{plan.slug}/{row_id}", headers=own["headers"]).status_code == 404
    changes = every.client.get(f"/api/v1/{plan.slug}/changes", headers=own["headers"]).json()["data"]
    assert {change["id"] for change in changes} == set(own["ids"][plan.name])
    assert every.client.get("/api/v1/coverage", headers=own["headers"]).json() == {"data": []}
