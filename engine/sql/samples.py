"""Build the statement that reads the newest step results of a plan with their documents."""

from __future__ import annotations

from typing import Final

from engine.plan import Plan
from engine.sql.identifiers import Statement
from engine.sql.step_results import FOUND, build_plan_parameters

#: The most bytes of documents, as stored, that are read; the newest document is read whatever its size is.
_MOST_BYTES: Final = 2 * 1024 * 1024


def build_newest_statement(plan: Plan, org_id: str, limit: int) -> Statement:
    """Select the newest found step results of an organisation, at most `limit` and a few megabytes.

    Columns: id, submission_id, pipeline_run_id, step_position, operation_id, the run's company, and both payloads.
    """
    text = f"""
select found.id::text, found.submission_id::text, found.pipeline_run_id::text, found.step_position::text,
    found.operation_id, (select run.company_id::text from pipeline_runs as run where run.id = found.pipeline_run_id),
    found.output_payload::text, found.input_payload::text
from (
    select found.*, row_number() over newest as place,
        sum(pg_column_size(found.output_payload)) over newest as bytes
    from (
        select * from step_results as found
        where {FOUND} and found.org_id = %(org_id)s::uuid
        order by found.recorded_at desc, found.id desc limit %(limit)s
    ) as found
    window newest as (order by found.recorded_at desc, found.id desc)
) as found
where found.place = 1 or found.bytes <= %(most_bytes)s
order by found.place
"""
    own = {"org_id": org_id, "limit": limit, "most_bytes": _MOST_BYTES}
    return Statement(text, {**build_plan_parameters(plan), **own})
