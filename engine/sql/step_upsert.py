"""The statements for an upsert that names a recorded step result; `upsert.py` has those for one that names none."""

from __future__ import annotations

from engine.rows.fetch_plan import FetchPlan
from engine.sql.copied_documents import build_copied_value, collect_copied_roots
from engine.sql.identifiers import quote
from engine.sql.json_paths import build_detoast_subquery
from engine.sql.upsert import LATEST_TIME

#: Select a step result of an organisation by id, with whether the time that the upsert gives for it is not far ahead.
SELECT_STEP_SQL = f"""
select status::text, result_status, operation_id, submission_id::text, pipeline_run_id::text,
    coalesce(%(time)s::timestamptz <= {LATEST_TIME}, true)
from step_results where id = %(id)s::uuid and org_id = %(org_id)s::uuid
"""

#: Append a reason to a ledger entry, unless the entry has it already.
NOTE_CLAIM_SQL = """
update step_persistence set reasons = reasons || %(reason)s::jsonb
where step_result_id = %(id)s::uuid and spec = %(spec)s and not reasons @> %(reason)s::jsonb
"""


def build_compare_documents_sql(fetch_plan: FetchPlan) -> str:
    """Build the query for whether each posted document differs from that of the step result `Step`.

    Only for documents that Postgres copies itself (copied fields).
    """
    tests = ", ".join(
        f"record_image_ne(row({build_copied_value(fetch_plan, column)}), row(%({column.name})s::jsonb))"
        f" as {quote(column.name)}"
        for column in fetch_plan.copied_fields
    )
    document = build_detoast_subquery(collect_copied_roots(fetch_plan, fetch_plan.copied_fields))
    return f"""
select {tests or "true"}
from step_results as source
cross join lateral {document} as document
where source.id = %(Step)s::uuid
"""
