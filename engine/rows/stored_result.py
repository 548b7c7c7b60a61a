"""Extract the rows of a stored step result, from the columns that `build_step_results_statement` selects."""

from __future__ import annotations

from typing import Any, TypeAlias

from engine.rows.document import Run, build_document
from engine.rows.extract import Extraction, build_unreadable, extract_rows
from engine.rows.fetch_plan import FetchPlan
from engine.values import exact_json

#: The columns of `engine.sql.step_results.build_step_results_statement`.
StepResultRow: TypeAlias = tuple[Any, ...]


def extract_stored_result(fetch_plan: FetchPlan, row: StepResultRow, *, with_duplicates: bool = False) -> Extraction:
    """Extract the rows of one stored step result; never raise: one that cannot be read is rejected as `unreadable`."""
    try:
        return _extract_rows(fetch_plan, row, with_duplicates)
    except Exception as error:  # one step result must never keep others from being written
        return build_unreadable(fetch_plan.plan.find_mapping(row[5]), error)


def build_stored_document(fetch_plan: FetchPlan, row: StepResultRow) -> dict[str, Any]:
    """Build the document of one stored step result from the parts that the plan reads.

    Raises ExactError when their JSON cannot be read.
    """
    _, org_id, submission_id, run_id, position, operation, _, _, parts, company_id, *_ = row
    values = exact_json.loads(parts)
    assert isinstance(values, list)
    roots = fetch_plan.build_document(values)
    run = Run(
        org_id=org_id,
        company_id=company_id,
        submission_id=submission_id,
        pipeline_run_id=run_id,
        step_position=position,
    )
    return build_document(roots["output"], roots["context"], run, operation, step_input=roots["step_input"])


def _extract_rows(fetch_plan: FetchPlan, row: StepResultRow, with_duplicates: bool) -> Extraction:
    operation, present = row[5], row[10:]
    document = build_stored_document(fetch_plan, row)
    copied = {column.name: is_present for column, is_present in zip(fetch_plan.copied_fields, present, strict=True)}
    return extract_rows(fetch_plan.plan, operation, document, copied, with_duplicates=with_duplicates)
