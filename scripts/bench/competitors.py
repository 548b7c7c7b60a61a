"""Alternatives to the engine's backfill: `python -m scripts.bench.competitors <name> <dsn>`.

Each writes the same rows to the same table and prints its seconds as JSON. None of them records outcomes, isolates
invalid rows, or can resume after being killed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import psycopg
from psycopg.types.json import Jsonb

from engine import plans, project
from engine.sql.identifiers import quote_names
from engine.sql.upsert import build_change_condition, build_on_conflict, list_written_columns
from engine.values.normalizers import NORMALIZERS
from scripts.bench.text import OPERATION, TABLE

_FOUND = f"status = 'succeeded' and result_status = 'found' and operation_id = '{OPERATION}'"
_DOMAIN = """rtrim(regexp_replace(split_part(split_part(regexp_replace(lower(btrim(
    coalesce(nullif(output ->> 'domain', ''), output ->> 'target_company_domain')
)), '^[a-z]+://', ''), '/', 1), ':', 1), '^www\\.', ''), '.')"""
_CONTENT = (
    "coalesce(nullif(output #> '{parallel_raw_response,output,content}', 'null'), output -> 'parallel_raw_response')"
)


# --- inside Postgres: the practical limit ---------------------------------------------------------------------------


def insert_at_once(dsn: str) -> None:
    """Write all rows by one INSERT ... SELECT."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("set work_mem = '256MB'")
        connection.execute(_build_insert("true"))


def insert_in_parts(dsn: str) -> None:
    """Write all rows by one INSERT ... SELECT per 500 step results."""
    numbers = "row_number() over (order by recorded_at, id) as place"
    ordered = f"select recorded_at, id, {numbers} from step_results where {_FOUND}"
    places = f"select recorded_at, id from ({ordered}) as numbered where place % 500 = 0 order by recorded_at, id"
    place = "(%s::timestamptz, %s::uuid)"
    text = _build_insert(f"(recorded_at, id) > {place} and (recorded_at, id) <= {place}")
    first, last = ("-infinity", _LEAST), ("infinity", _MOST)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("set work_mem = '256MB'")
        for after, until in pairwise([first, *connection.execute(places), last]):
            connection.execute(text, (*after, *until))


_LEAST, _MOST = "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"


def _build_insert(condition: str) -> str:
    """Build the INSERT ... SELECT: the spec's extraction in jsonb operators, with the engine's handling of conflicts.

    It decompresses each document only once.
    """
    plan = plans.find_plan(plans.load_plans(project.find_project()), TABLE)
    columns = quote_names(list_written_columns(plan))
    moves = "stored.source_recorded_at is distinct from excluded.source_recorded_at"
    return f"""
insert into {TABLE} as stored ({columns})
select distinct on (org_id, company_domain, client_company_name) {columns}
from (
    select id, org_id, {_DOMAIN} as company_domain,
        coalesce(nullif(output ->> 'company_name', ''), output ->> 'target_company_name') as company_name,
        output ->> 'client_company_name' as client_company_name,
        output ->> 'client_company_description' as client_company_description,
        {_CONTENT} as raw_parallel_output,
        output ->> 'parallel_run_id' as parallel_run_id,
        output ->> 'processor' as processor,
        submission_id as source_submission_id, pipeline_run_id as source_pipeline_run_id,
        id as source_step_result_id, recorded_at as source_recorded_at
    from (
        select id, org_id, submission_id, pipeline_run_id, recorded_at,
            output_payload -> 'operation_result' -> 'output' as output
        from step_results where {_FOUND} and {condition} offset 0
    ) as found
) as arriving
order by org_id, company_domain, client_company_name, source_recorded_at desc, id desc
{build_on_conflict(plan, build_change_condition(plan, "excluded", moves))}
"""


# --- by hand: a SELECT per run, an upsert and a commit per row ------------------------------------------------------

_COLUMNS = (
    "org_id, company_domain, company_name, client_company_name, client_company_description, raw_parallel_output,"
    " parallel_run_id, processor, source_submission_id, source_pipeline_run_id"
)
_UPSERT = f"""
insert into {TABLE} as stored ({_COLUMNS}) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
on conflict (org_id, company_domain, client_company_name) do update set
    company_name = coalesce(excluded.company_name, stored.company_name),
    client_company_description = coalesce(excluded.client_company_description, stored.client_company_description),
    raw_parallel_output = excluded.raw_parallel_output, parallel_run_id = excluded.parallel_run_id,
    processor = excluded.processor, source_submission_id = excluded.source_submission_id,
    source_pipeline_run_id = excluded.source_pipeline_run_id
"""


def upsert_row_by_row(dsn: str) -> None:
    """Write all rows with one SELECT per run, and one upsert and commit per row, as the project's first version did."""
    with psycopg.connect(dsn) as connection:
        runs = "select id, org_id, submission_id from pipeline_runs where status = 'succeeded' order by created_at"
        for run, org, submission in connection.execute(runs).fetchall():
            steps = "select output_payload from step_results where pipeline_run_id = %s and status = 'succeeded'"
            for (payload,) in connection.execute(steps, (run,)).fetchall():
                result = payload["operation_result"]
                if result["operation_id"] == OPERATION and result["status"] == "found":
                    row = _build_row(result["output"])
                    row["raw_parallel_output"] = Jsonb(row["raw_parallel_output"])
                    connection.execute(_UPSERT, (org, *row.values(), submission, run))
                    connection.commit()


def _build_row(output: dict[str, Any]) -> dict[str, Any]:
    response = output.get("parallel_raw_response") or {}
    return {
        "company_domain": NORMALIZERS["domain"].function(output.get("domain") or output.get("target_company_domain")),
        "company_name": output.get("company_name") or output.get("target_company_name"),
        "client_company_name": output.get("client_company_name"),
        "client_company_description": output.get("client_company_description"),
        "raw_parallel_output": (response.get("output") or {}).get("content") or response,
        "parallel_run_id": output.get("parallel_run_id"),
        "processor": output.get("processor"),
    }


# --- with dlt, a library for loading data ---------------------------------------------------------------------------


def load_with_dlt(dsn: str) -> None:
    """Write all rows with dlt's merge (strategy upsert), to a table that dlt creates."""
    os.environ |= {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR"}
    import dlt

    key = ("org_id", "company_domain", "client_company_name")
    resource = dlt.resource(
        _read_outputs(dsn),
        name=TABLE,
        primary_key=key,
        write_disposition={"disposition": "merge", "strategy": "upsert"},
        columns={"raw_parallel_output": {"data_type": "json"}},
        max_table_nesting=0,
    )
    folder, place = os.environ["DEX_BENCH_FOLDER"], urlsplit(dsn)
    socket = quote(parse_qs(place.query)["host"][0], safe="")  # a folder, percent-encoded as the host of a URL
    credentials = {"host": socket, "database": place.path[1:], "username": "postgres", "password": "none"}
    destination = dlt.destinations.postgres(credentials=credentials)
    pipeline = dlt.pipeline("bench", pipelines_dir=folder, destination=destination, dataset_name="loaded")
    pipeline.run(resource, loader_file_format=os.environ.get("DEX_BENCH_FORMAT", "csv"))


#: dlt refuses a load in which a key occurs twice, so this query returns only the newest output per key.
_NEWEST = f"""
select distinct on (org_id, output -> 'domain', output -> 'client_company_name') id from (
    select id, org_id, recorded_at, output_payload -> 'operation_result' -> 'output' as output
    from step_results where {_FOUND} offset 0
) as found
order by org_id, output -> 'domain', output -> 'client_company_name', recorded_at desc, id desc
"""


def _read_outputs(dsn: str) -> Iterator[dict[str, Any]]:
    """Yield the newest output per key, as a row for dlt."""
    with psycopg.connect(dsn) as connection, connection.cursor(name="found") as cursor:
        cursor.itersize = 500
        columns = "org_id::text, submission_id::text, pipeline_run_id::text, output_payload"
        cursor.execute(f"select {columns} from step_results where id in ({_NEWEST})")
        for org, submission, run, payload in cursor:
            row = _build_row(payload["operation_result"]["output"])
            yield {"org_id": org, **row, "source_submission_id": submission, "source_pipeline_run_id": run}


COMPETITORS = {
    "whole": insert_at_once,
    "parts": insert_in_parts,
    "hand": upsert_row_by_row,
    "loader": load_with_dlt,
}


def main() -> None:
    name, dsn = sys.argv[1:]
    started = time.monotonic()
    COMPETITORS[name](dsn)
    print(json.dumps({"seconds": time.monotonic() - started}))


if __name__ == "__main__":
    main()
