"""Every question begins at an index, looked at as the role that row level security binds."""

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from engine.plan import Plan
from engine.rows.ordering import list_order_columns
from engine.rows.query import build_query
from engine.sql.conditions import find_prefix_end
from engine.sql.identifiers import Statement
from engine.sql.select import build_count_statements, build_page_statement
from engine.store.connection import connect
from engine.store.select import fetch_page
from engine.tables import draft_migration
from engine.tables.inspect import find_differences
from tests.api.test_questions import TEXT, list_questions
from tests.conftest import create_database, load_project_plans
from tests.database.conftest import compile_text
from tests.database.many_rows import ORGANISATIONS, build_org_id, insert_many_rows, insert_organisations, read_some_row

ROWS = 20_000
#: Seconds that 95 of 100 pages of 100 rows take at most, in the long run.
PAGE_SECONDS = 0.025
ROW_SCANS = ("Index Scan", "Index Only Scan", "Bitmap Heap Scan")
PLANS = (*load_project_plans(), compile_text(TEXT))


@pytest.fixture(scope="module")
def plan() -> Plan:
    return PLANS[-1]


@pytest.fixture(scope="module", params=[ROWS, pytest.param(1_000_000, marks=pytest.mark.long)])
def rows(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@dataclass
class Tables:
    """A connection to a database of many organisations, and the specs whose tables have many rows so far."""

    connection: psycopg.Connection[Any]
    dsn: str
    filled: set[str] = field(default_factory=set)


@pytest.fixture(scope="module")
def tables(server_dsn: str, template: str, rows: int) -> Iterator[Tables]:
    with create_database(server_dsn, template) as dsn:
        with psycopg.connect(dsn, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
            connection.execute(draft_migration.build_create_migration(PLANS[-1]).encode())
            insert_organisations(connection)
        with psycopg.connect(dsn, autocommit=True) as connection:
            yield Tables(connection, dsn)


@pytest.fixture
def filled(tables: Tables, plan: Plan, rows: int) -> psycopg.Connection[Any]:
    """A connection to a database with many rows of many organisations in the table of the plan."""
    if plan.name not in tables.filled:
        with psycopg.connect(tables.dsn, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
            insert_many_rows(connection, plan, rows)
        tables.filled.add(plan.name)
    return tables.connection


def explain(connection: psycopg.Connection[Any], org: str, statement: Statement) -> list[dict[str, Any]]:
    """Return the nodes of the plan of a tenant's statement, which is run."""
    with connection.transaction():
        connection.execute("select set_config('role', 'dex_tenant', true), set_config('app.org_id', %s, true)", [org])
        text = f"explain (analyze, format json) {statement.text}"
        found = connection.execute(text, statement.parameters, prepare=False).fetchone()
    assert found is not None
    return list(walk_nodes(found[0][0]["Plan"]))


def walk_nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from walk_nodes(child)


def list_every_question(connection: psycopg.Connection[Any], plan: Plan) -> Iterator[dict[str, Any]]:
    """Yield a question for each operator of each column, each order, and full text."""
    yield from list_questions(plan, read_some_row(connection, plan))
    yield from ({"order": [sign + name]} for name in list_order_columns(plan) for sign in ("", "-"))
    yield from ({"q": "example.com"} for _ in plan.search[:1])
    yield {}


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)
def test_no_question_reads_the_table_in_full(filled: psycopg.Connection[Any], plan: Plan, rows: int) -> None:
    own, org = rows // ORGANISATIONS, read_some_row(filled, plan)["org_id"]
    for question in list_every_question(filled, plan):
        exact, estimated = (build_query(plan, org, {**question, "count": count}) for count in ("exact", "estimated"))
        counts = [build_count_statements(plan, exact)[0], build_count_statements(plan, estimated)[0]]
        for statement in (build_page_statement(plan, exact), *counts):
            for node in explain(filled, org, statement):
                assert node["Node Type"] != "Seq Scan", f"{question}\n{json.dumps(node, indent=1)}"
                # What a bitmap of an index lists is no row yet: it is met with the bitmap of the organisation.
                if node["Node Type"] in ROW_SCANS and node["Actual Loops"] == 1:
                    read = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
                    assert read <= own, f"{question}: {read} rows read\n{json.dumps(node, indent=1)}"


@pytest.mark.long
@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)
def test_a_page_is_there_in_time(filled: psycopg.Connection[Any], plan: Plan, rows: int) -> None:
    """Pages of organisations in turn, as the API fetches them; the first ones, which fill caches, do not count."""
    questions = list(list_every_question(filled, plan))

    async def measure() -> dict[str, float]:
        found = {}
        async with await connect(find_dsn(filled)) as connection:
            for question in questions:
                spent = []
                for number in range(1, 61):
                    query = build_query(plan, build_org_id(number), question)
                    began = time.perf_counter()
                    await fetch_page(connection, plan, query)
                    spent.append(time.perf_counter() - began)
                found[json.dumps(question)] = sorted(spent[20:])[37]  # of 40
        return found

    slow = {question: seconds for question, seconds in asyncio.run(measure()).items() if seconds > PAGE_SECONDS}
    assert slow == {}, "\n".join(f"{seconds * 1000:.0f} ms: {question}" for question, seconds in slow.items())


def find_dsn(connection: psycopg.Connection[Any]) -> str:
    password = connection.info.password
    return connection.info.dsn + (f" password={password}" if password else "")


@pytest.mark.parametrize(
    ("question", "condition"),
    [
        ({"domain": {"prefix": "12"}}, "domain"),
        ({"domain": "12.example.com"}, "domain"),
        ({"domain": ["12.example.com", "13.example.com"]}, "domain"),
        ({"domain": {"gte": "12.example.com", "lt": "13.example.com"}}, "domain"),
        ({"day": {"gte": "2026-05-01", "lt": "2026-05-03"}}, "day"),
        ({"people": {"gt": 5, "lt": 9}}, "people"),
        ({"updated_at": {"gt": "2030-01-01T00:00:00Z"}, "order": ["-updated_at"]}, "updated_at"),
        ({"source_pipeline_run_id": "00000000-0000-4000-8000-000000000001"}, "source_pipeline_run_id"),
        ({"created_at": {"lt": "2020-01-01T00:00:00Z"}}, "created_at"),
    ],
)
def test_what_is_asked_is_what_the_index_is_entered_by(
    filled: psycopg.Connection[Any], plan: Plan, question: dict[str, Any], condition: str
) -> None:
    org = "00000000-0000-4000-8000-000000000001"
    nodes = explain(filled, org, build_page_statement(plan, build_query(plan, org, question)))
    assert any(condition in node.get("Index Cond", "") for node in nodes), json.dumps(nodes, indent=1)


def test_a_missing_index_is_named_with_the_statement_that_makes_it(filled: psycopg.Connection[Any], plan: Plan) -> None:
    async def find(dsn: str) -> list[str]:
        async with await connect(dsn) as connection:
            return [str(one) for one in await find_differences(connection, [plan], reading=True)]

    dsn = find_dsn(filled)
    assert asyncio.run(find(dsn)) == []
    filled.execute("drop index idx_rounds_domain_newest")
    filled.execute("create index mistaken on rounds (org_id, domain, created_at desc, id desc)")
    (found,) = asyncio.run(find(dsn))
    assert found.startswith("rounds: TABLE520 no index of `rounds` serves the filter `domain`: (org_id, domain COLLATE")
    filled.execute(found.split("hint: ")[1])
    filled.execute("drop index mistaken")
    filled.execute("alter table rounds drop column search_document")
    (found,) = asyncio.run(find(dsn))
    assert found.startswith("rounds: TABLE525 `rounds` does not store the words of `name`, `tags`")
    filled.execute(found.split("hint: ")[1])
    filled.execute("drop trigger note_changes_truncate on rounds")
    (found,) = asyncio.run(find(dsn))
    assert found.startswith("rounds: TABLE521 changes of `rounds` are not recorded")
    filled.execute(found.split("hint: ")[1])
    assert asyncio.run(find(dsn)) == []


@pytest.mark.parametrize(
    ("prefix", "end"),
    [("abc", "abd"), ("a\U0010ffff", "b"), ("\U0010ffff", None), ("\ud7ff", "\ue000"), ("é", "ê")],
)
def test_the_end_of_a_prefix(prefix: str, end: str | None) -> None:
    assert find_prefix_end(prefix) == end
