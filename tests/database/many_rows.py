"""A table with many narrow rows of many organisations, whatever its spec."""

from typing import Any

import psycopg

from engine.plan import Field, Plan
from engine.sql.identifiers import quote, quote_table

ORGANISATIONS = 200
_ORG = "('00000000-0000-4000-8000-' || lpad((1 + number %% {count})::text, 12, '0'))::uuid"
_VALUES = {
    "text": "'c' || (number %% 977) || '.example.com'",
    "jsonb": "'{}'::jsonb",
    "boolean": "number %% 2 = 0",
    "integer": "number %% 1013",
    "bigint": "number",
    "numeric": "number %% 1009",
    "double precision": "number %% 1009",
    "date": "date '2026-01-01' + number %% 300",
    "timestamptz": "timestamptz '2026-01-01' + number * interval '1 second'",
    "uuid": "gen_random_uuid()",
    "text[]": "array['t' || number %% 7]",
}
#: The indexes of a table that no constraint needs, with the statement that makes each.
_INDEXES = """
select indexrelid::regclass::text, pg_get_indexdef(indexrelid) from pg_index
where indrelid = %s::regclass and not indisunique
"""


def insert_organisations(connection: psycopg.Connection[Any]) -> list[str]:
    """Insert ORGANISATIONS organisations; return their ids."""
    for number in range(1, ORGANISATIONS + 1):
        row = (build_org_id(number), str(number), str(number))
        connection.execute("insert into orgs (id, name, slug) values (%s, %s, %s) on conflict do nothing", row)
    return [build_org_id(number) for number in range(1, ORGANISATIONS + 1)]


def build_org_id(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


def insert_many_rows(connection: psycopg.Connection[Any], plan: Plan, rows: int) -> None:
    """Insert rows of all organisations, in turns; every value is there, and a key is taken once.

    The indexes are built afterwards, and triggers do not run, which takes a fraction of the time. Nor are foreign keys
    looked up: submissions and runs are ids of nothing.
    """
    columns = {"org_id": _ORG.format(count=ORGANISATIONS)}
    columns |= {column.name: _build_value(column) for column in plan.fields}
    times = "timestamptz '2026-01-01' - number * interval '1 second'"
    columns |= dict.fromkeys(("created_at", "updated_at", "source_recorded_at"), times)
    columns |= {
        "source_step_result_id": "gen_random_uuid()",
        "source_pipeline_run_id": "gen_random_uuid()",
        "source_submission_id": "md5((number %% 50000)::text)::uuid",
    }
    names, values = ", ".join(map(quote, columns)), ", ".join(columns.values())
    statement = f"insert into {quote_table(plan.table)} ({names}) select {values} from generate_series(1, %s) as number"
    indexes = connection.execute(_INDEXES, [quote_table(plan.table)]).fetchall()
    for name, _ in indexes:
        connection.execute(f"drop index {name}")
    connection.execute("set session_replication_role = replica")
    connection.execute(statement, [rows])
    connection.execute("reset session_replication_role")
    for _, definition in indexes:
        connection.execute(definition)
    connection.execute(f"vacuum analyze {quote_table(plan.table)}")
    connection.execute("checkpoint")  # or a query would wait until what was inserted is written to disk


def _build_value(column: Field) -> str:
    if column.key and column.type.name == "text":
        return "'c' || number || '.example.com'"
    return _VALUES[column.type.name]


def read_some_row(connection: psycopg.Connection[Any], plan: Plan) -> dict[str, Any]:
    """Return a row as an answer has it, with something in every column that may be asked for."""
    row = connection.execute(f"select to_jsonb(r) from {quote_table(plan.table)} r offset 1000 limit 1").fetchone()
    assert row is not None
    values: dict[str, Any] = row[0]
    for name in ("source_submission_id", "source_pipeline_run_id"):
        values[name] = values["id"]
    return {
        name: value.replace("+00:00", "Z") if isinstance(value, str) and value.endswith("+00:00") else value
        for name, value in values.items()
    }
