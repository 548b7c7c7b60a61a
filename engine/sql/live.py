"""The statements of an upsert that names a recorded step result; those of one that names none are in `upsert.py`."""

from __future__ import annotations

from engine.rows.reading import Reading
from engine.sql.identifiers import quote
from engine.sql.step_results import build_held_values

#: A step result of an organisation.
SELECT_STEP_SQL = """
select status::text, result_status, operation_id, submission_id::text, pipeline_run_id::text
from step_results where id = %(id)s::uuid and org_id = %(org_id)s::uuid
"""

#: Add a note to the reasons of a ledger entry, unless it is there.
NOTE_CLAIM_SQL = """
update step_persistence set reasons = reasons || %(reason)s::jsonb
where step_result_id = %(id)s::uuid and spec = %(spec)s and not reasons @> %(reason)s::jsonb
"""


def build_compare_documents_sql(reading: Reading) -> str:
    """Build the query whether posted documents differ from those of the step result `step_id`, per held field."""
    tests = ", ".join(
        f"record_image_ne(row({value}), row(%({column.name})s::jsonb)) as {quote(column.name)}"
        for column, (value, _) in zip(reading.held_fields, build_held_values(reading), strict=True)
    )
    document = build_held_values(reading)[0][1] if reading.held_fields else ""
    return f"""
select {tests or "true"}
from step_results as source
cross join lateral {document} as document
where source.id = %(step_id)s::uuid
"""
