"""Organisations, submissions, runs and step results, inserted by hand: the one place of the tests that does so."""

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import psycopg

Connection = psycopg.Connection[Any]


def fetch_rows(dsn: str, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """Run one statement over a connection of its own; return its rows."""
    with psycopg.connect(dsn) as connection:
        return connection.execute(statement, parameters).fetchall()


def insert_organisation(connection: Connection, org_id: str | None = None) -> str:
    """Insert an organisation; return its id."""
    org_id = org_id or str(uuid.uuid4())
    connection.execute("insert into orgs (id, name, slug) values (%s, %s, %s)", (org_id, f"Org {org_id}", org_id))
    return org_id


def insert_submission(
    connection: Connection,
    org_id: str,
    submission_id: str | None = None,
    *,
    status: str = "completed",
    given: Mapping[str, Any] | None = None,
) -> str:
    """Insert a submission whose input is `given`; return its id."""
    submission_id = submission_id or str(uuid.uuid4())
    connection.execute(
        "insert into submissions (id, org_id, input_payload, status) values (%s, %s, %s, %s)",
        (submission_id, org_id, json.dumps(given or {}), status),
    )
    return submission_id


def insert_run(
    connection: Connection,
    org_id: str,
    submission_id: str,
    *,
    status: str = "succeeded",
    parent_id: str | None = None,
    steps: Sequence[Mapping[str, Any]] | None = None,
) -> str:
    """Insert a pipeline run with the steps of its blueprint, if any; return its id."""
    run_id = str(uuid.uuid4())
    blueprint = None if steps is None else json.dumps({"steps": steps})
    connection.execute(
        "insert into pipeline_runs (id, org_id, submission_id, status, parent_pipeline_run_id, blueprint_snapshot)"
        " values (%s, %s, %s, %s, %s, coalesce(%s::jsonb, '{}'))",
        (run_id, org_id, submission_id, status, parent_id, blueprint),
    )
    return run_id


def insert_step(
    connection: Connection,
    run_id: str,
    *,
    position: int = 1,
    status: str = "succeeded",
    payload: str | None = None,
    finished_at: datetime | None = None,
    org_id: str | None = None,
    step_id: str | None = None,
) -> str:
    """Insert a step result of a run; return its id. `org_id` is the run's unless another one is given."""
    step_id = step_id or str(uuid.uuid4())
    connection.execute(
        "insert into step_results (id, org_id, submission_id, pipeline_run_id, step_position, status, output_payload,"
        " finished_at) select %s, coalesce(%s, org_id), submission_id, id, %s, %s, %s::jsonb, %s::timestamptz"
        " from pipeline_runs where id = %s",
        (step_id, org_id, position, status, payload, finished_at, run_id),
    )
    return step_id


def build_payload(operation: str, output: Any, *, context: Any = None, status: str = "found") -> str:
    """Build an `output_payload`. `output` and `context` may be JSON text, which keeps the digits of its numbers."""
    result = f'{{"operation_id": {json.dumps(operation)}, "status": "{status}", "output": {_as_json(output)}}}'
    return f'{{"operation_result": {result}, "cumulative_context": {_as_json({} if context is None else context)}}}'


def _as_json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
