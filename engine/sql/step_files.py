"""The statements that read step results to write them to files, one per organisation and month."""

from __future__ import annotations

from typing import Final

from engine.sql.step_results import RECORDED_AT

_MONTH: Final = f"to_char({RECORDED_AT} at time zone 'UTC', 'YYYY-MM')"
_EXPORTED: Final = """found.status = 'succeeded' and found.output_payload is not null
    and (%(org_id)s::uuid is null or found.org_id = %(org_id)s::uuid)"""
#: The organisation, the month and the number of step results of every file.
SELECT_FILES_SQL: Final = f"""
select found.org_id::text, {_MONTH}, count(*) from step_results as found
where {_EXPORTED} group by 1, 2 order by 1, 2
"""
#: The step results of one file, oldest first, with the columns that an extraction takes.
SELECT_STEPS_SQL: Final = f"""
select found.id::text, found.org_id::text, run.company_id::text, found.submission_id::text,
    found.pipeline_run_id::text, found.step_position, found.status::text, {RECORDED_AT},
    found.input_payload::text, found.output_payload::text
from step_results as found left join pipeline_runs as run on run.id = found.pipeline_run_id
where {_EXPORTED} and {_MONTH} = %(month)s
order by found.recorded_at, found.id
"""
