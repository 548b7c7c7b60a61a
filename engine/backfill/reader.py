"""Read stored step results and extract their rows."""

from __future__ import annotations

from collections.abc import Sequence

from engine.rows.reading import Reading
from engine.rows.steps import Step, build_step
from engine.rows.stored_result import StepResultRow, extract_stored_result
from engine.sql import step_results
from engine.sql.step_results import Scope
from engine.store.connection import Connection


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
    return build_step(
        reading.plan,
        extract_stored_result(reading, row),
        org_id=org_id,
        size=len(parts or ""),
        id=step_id,
        submission_id=submission_id,
        pipeline_run_id=run_id,
        recorded_at=recorded_at,
        version=version,
    )
