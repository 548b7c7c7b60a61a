"""Every question begins at an index, looked at as the role that row level security binds."""

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from engine.plan import Plan
from engine.rows.ordering import list_order_columns
from engine.rows.query import build_query
from engine.sql.conditions import find_prefix_end
from engine.sql.identifiers import Statement
from engine.sql.select import build_count_statement, build_page_statement
from engine.tables import draft_migration
from tests.api.test_questions import TEXT, list_questions
from tests.conftest import create_database
from tests.database.conftest import compile_text

ORGANISATIONS, ROWS = 200, 40_000
_FILL = """
insert into orgs (id, name, slug)
    select ('00000000-0000-4000-8000-' || lpad(number::text, 12, '0'))::uuid, number::text, number::text
    from generate_series(1, %(organisations)s) as number;
insert into rounds
           (org_id, name, domain, amount, people, big, open, day, seen, ref, tags, raw, created_at, updated_at)
    select ('00000000-0000-4000-8000-' || lpad((1 + number %% %(organisations)s)::text, 12, '0'))::uuid,
           'round ' || number, (number %% 977) || '.example.com', number %% 1009, number %% 1013, number,
           number %% 2 = 0,
           date '2026-01-01' + number %% 300, now() - number * interval '1 second', gen_random_uuid(),
           array['t' || number %% 7], '{}', now() - number * interval '1 second', now() - number * interval '1 second'
    from generate_series(1, %(rows)s) as number;
"""


@pytest.fixture(scope="module")
def plan() -> Plan:
    return compile_text(TEXT)


@pytest.fixture(scope="module")
def filled(server_dsn: str, template: str, plan: Plan) -> Iterator[psycopg.Connection[Any]]:
    """A connection to a database with many rows of many organisations."""
    with create_database(server_dsn, template) as dsn:
        with psycopg.connect(dsn, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
            connection.execute(draft_migration.build_create_migration(plan).encode())
            connection.execute(_FILL, {"organisations": ORGANISATIONS, "rows": ROWS})
            connection.execute("vacuum analyze rounds")
        with psycopg.connect(dsn, autocommit=True) as connection:
            yield connection


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


def list_statements(connection: psycopg.Connection[Any], plan: Plan) -> Iterator[tuple[str, str, Statement]]:
    """Yield (organisation, question, statement) for each operator, order, page and count."""
    row = connection.execute("select to_jsonb(r) from rounds r where open limit 1").fetchone()
    assert row is not None
    values = row[0]
    org = values["org_id"]
    values["source_submission_id"] = values["source_pipeline_run_id"] = values["id"]
    values["source_recorded_at"] = values["created_at"]
    values |= {name: values[name].replace("+00:00", "Z") for name in ("created_at", "seen", "updated_at")}
    values["source_recorded_at"] = values["created_at"]
    orders = [[sign + name] for name in list_order_columns(plan) for sign in ("", "-")]
    questions = [*list_questions(plan, values), *({"order": order} for order in orders), {"q": "round"}, {}]
    for question in questions:
        query = build_query(plan, org, question)
        yield org, json.dumps(question), build_page_statement(plan, query)
        counted = build_query(plan, org, {**question, "count": "exact"})
        yield org, f"count of {json.dumps(question)}", build_count_statement(plan, counted)


def test_no_question_reads_the_table_in_full(filled: psycopg.Connection[Any], plan: Plan) -> None:
    own = ROWS // ORGANISATIONS
    for org, question, statement in list_statements(filled, plan):
        for node in explain(filled, org, statement):
            assert node["Node Type"] != "Seq Scan", f"{question}\n{json.dumps(node, indent=1)}"
            if "Scan" in node["Node Type"] and node["Actual Loops"] == 1:
                read = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
                assert read <= own, f"{question}: {read} rows read\n{json.dumps(node, indent=1)}"


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
    import asyncio

    from engine.store.connection import connect
    from engine.tables.inspect import find_differences

    async def find(dsn: str) -> list[str]:
        async with await connect(dsn) as connection:
            return [str(one) for one in await find_differences(connection, [plan], reading=True)]

    dsn = filled.info.dsn + (f" password={filled.info.password}" if filled.info.password else "")
    assert asyncio.run(find(dsn)) == []
    filled.execute("drop index idx_rounds_domain_newest")
    filled.execute("create index mistaken on rounds (org_id, domain, created_at desc, id desc)")
    (found,) = asyncio.run(find(dsn))
    assert found.startswith("rounds: TABLE520 no index of `rounds` serves the filter `domain`: org_id, domain COLLATE")
    filled.execute(found.split("hint: ")[1])
    filled.execute("drop index mistaken")
    filled.execute("drop trigger note_changes_truncate on rounds")
    (found,) = asyncio.run(find(dsn))
    assert found.startswith("rounds: TABLE521 what changes in `rounds` is not noted")
    filled.execute(found.split("hint: ")[1])
    assert asyncio.run(find(dsn)) == []


@pytest.mark.parametrize(
    ("prefix", "end"),
    [("abc", "abd"), ("a\U0010ffff", "b"), ("\U0010ffff", None), ("\ud7ff", "\ue000"), ("é", "ê")],
)
def test_the_end_of_a_prefix(prefix: str, end: str | None) -> None:
    assert find_prefix_end(prefix) == end
