-- Queries that store research done elsewhere: a submission and, for each output, a run with one step result.

-- name: create_submission
insert into submissions (org_id, input_payload, source, status)
values (%(org_id)s::uuid, '{}', %(source)s, 'completed')
returning id::text

-- name: create_step_result
-- Each step result gets a slightly later time than the one before, so that of two about one key the later is newer; by
-- its place, since a clock may repeat a time or be set back.
with moment as (
    select now() + %(place)s * interval '1 microsecond' as at
), run as (
    insert into pipeline_runs (org_id, submission_id, status, started_at, finished_at)
    select %(org_id)s::uuid, %(submission_id)s::uuid, 'succeeded', at, at from moment
    returning id, finished_at
)
insert into step_results (
    org_id, submission_id, pipeline_run_id, step_position, status, input_payload, output_payload, finished_at
)
select %(org_id)s::uuid, %(submission_id)s::uuid, run.id, 1, 'succeeded', %(input_payload)s::jsonb,
    %(output_payload)s::jsonb, run.finished_at
from run
returning id::text
