"""Read stored step results and extract their rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from engine.rows.document import Run, build_document
from engine.rows.extract import Extraction, Reason, build_rejection, extract_rows
from engine.rows.reading import Reading
from engine.rows.steps import Step, build_step
from engine.sql import step_results
from engine.sql.step_results import Scope
from engine.store.connection import Connection
from engine.values import exact_json

StepResultRow: TypeAlias = tuple[Any, ...]


async def fetch_steps(connection: Connection, reading: Reading, ids: Sequence[str]) -> list[Step]:
    """Return the found step results among `ids`, extracted. Raises psycopg's errors."""
    if not ids:
        return []
    statement = step_results.build_step_results_statement(reading, Scope(step_ids=ids, all=True))
    rows = await (await connection.execute(statement.text, statement.parameters)).fetchall()
    return [extract_step(reading, row) for row in rows]


def extract_step(reading: Reading, row: StepResultRow) -> Step:
    """Extract the rows of one stored step result (the columns of `build_step_results_statement`). Never raises."""
    step_id, org_id, submission_id, run_id, _, _, recorded_at, version, parts, *_ = row
    try:
        extraction = _extract_rows(reading, row)
    except Exception as error:  # one step result must never keep the others of its batch from being written
        extraction = _reject_unreadable(reading, row, error)
    return build_step(
        reading.plan,
        extraction,
        org_id=org_id,
        size=len(parts or ""),
        id=step_id,
        submission_id=submission_id,
        pipeline_run_id=run_id,
        recorded_at=recorded_at,
        version=version,
    )


def _extract_rows(reading: Reading, row: StepResultRow) -> Extraction:
    _, org_id, submission_id, run_id, position, operation, _, _, parts, company_id, *present = row
    values = exact_json.loads(parts)
    assert isinstance(values, list)
    roots = reading.build_document(values)
    run = Run(
        org_id=org_id,
        company_id=company_id,
        submission_id=submission_id,
        pipeline_run_id=run_id,
        step_position=position,
    )
    document = build_document(roots["output"], roots["context"], run, operation, step_input=roots["step_input"])
    held = {column.name: is_present for column, is_present in zip(reading.held_fields, present, strict=True)}
    return extract_rows(reading.plan, operation, document, held)


def _reject_unreadable(reading: Reading, row: StepResultRow, error: Exception) -> Extraction:
    operation = row[5]
    message = f"the step result cannot be read: {str(error).strip() or type(error).__name__}"
    return build_rejection(reading.plan.find_mapping(operation), Reason("unreadable", None, message))
