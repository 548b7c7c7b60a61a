-- Queries about submissions: create one with its runs and steps, read it, derive its status from its runs. Each is one
-- round trip. `run_input` is a fragment of runs.sql.

-- fragment: submission_fields
-- A submission as the API returns it, without its inputs: the arguments of json_build_object for the row `s`.
'id', s.id, 'org_id', s.org_id, 'company_id', s.company_id, 'source', s.source, 'metadata', s.metadata,
'status', s.status, 'created_at', s.created_at

-- fragment: created_runs
-- The runs of a new submission as the API returns them, for the rows `r`.
coalesce(json_agg(json_build_object('id', r.id, 'status', r.status, 'runner', r.runner) order by r.created_at), '[]')

-- name: create_submission
-- The runs of one submission get increasing times, so that they are claimed in the order of the inputs.
with submission as (
    insert into submissions (
        org_id, company_id, input_payload, source, metadata, status, requested_by, idempotency_key, request_digest
    )
    values (
        %(org_id)s::uuid, %(company_id)s::uuid, jsonb_build_object('inputs', %(inputs)s::jsonb),
        %(source)s, %(metadata)s::jsonb, 'queued', %(requested_by)s, %(idempotency_key)s, %(request_digest)s
    )
    returning *
), runs as (
    insert into pipeline_runs (
        org_id, company_id, submission_id, blueprint_snapshot, status, runner, traceparent, created_at
    )
    select s.org_id, s.company_id, s.id,
        jsonb_build_object('steps', %(steps)s::jsonb, 'entity', jsonb_build_object('input', input.value)),
        'queued', %(runner)s, %(traceparent)s, s.created_at + input.place * interval '1 microsecond'
    from submission as s, jsonb_array_elements(%(inputs)s::jsonb) with ordinality as input(value, place)
    returning *
), steps as (
    insert into step_results (org_id, company_id, submission_id, pipeline_run_id, step_position, status)
    select r.org_id, r.company_id, r.submission_id, r.id, (step ->> 'position')::int, 'queued'
    from runs as r, jsonb_array_elements(%(steps)s::jsonb) as step
)
select json_build_object(
    {submission_fields},
    'pipeline_runs', (
        select {created_runs} from runs as r
    )
)::text,
(select array_agg(r.id::text order by r.created_at) from runs as r)
from submission as s

-- name: lock_submitting
-- Lock the organisation's submissions: queued steps are counted before more are queued.
select pg_advisory_xact_lock(hashtextextended('dex submit ' || %(org_id)s, 0))

-- name: find_by_idempotency_key
select s.request_digest, json_build_object(
    {submission_fields},
    'pipeline_runs', (
        select {created_runs} from pipeline_runs as r where r.submission_id = s.id
    )
)::text,
(select array_agg(r.id::text order by r.created_at) from pipeline_runs as r where r.submission_id = s.id)
from submissions as s
where s.org_id = %(org_id)s::uuid and s.idempotency_key = %(idempotency_key)s

-- name: count_queued_steps
select count(*) from (
    select from step_results where org_id = %(org_id)s::uuid and status = 'queued' limit %(max_queued_steps)s
) as queued

-- name: find_company
select exists (select from companies where id = %(company_id)s::uuid and org_id = %(org_id)s::uuid)

-- name: read_submission
select json_build_object(
    {submission_fields}, 'updated_at', s.updated_at,
    'pipeline_runs', coalesce((
        select json_agg(json_build_object(
            'id', r.id, 'status', r.status, 'attempt', r.attempt, 'runner', r.runner,
            'trigger_run_id', r.trigger_run_id, 'parent_pipeline_run_id', r.parent_pipeline_run_id,
            'error_message', r.error_message, 'started_at', r.started_at, 'finished_at', r.finished_at,
            'input', {run_input},
            'step_results', coalesce((
                select json_agg(json_build_object(
                    'id', t.id, 'step_position', t.step_position, 'status', t.status,
                    'operation_id', {step_operation}, 'result_status', t.result_status,
                    'error_message', t.error_message, 'order_id', t.order_id,
                    'started_at', t.started_at, 'finished_at', t.finished_at
                ) order by t.step_position, t.attempt)
                from step_results as t where t.pipeline_run_id = r.id
            ), '[]'::json)
        ) order by r.created_at, r.id)
        from pipeline_runs as r where r.submission_id = s.id
    ), '[]'::json)
)::text
from submissions as s
where s.id = %(submission_id)s::uuid and s.org_id = %(org_id)s::uuid
  and (%(company_id)s::uuid is null or s.company_id is not distinct from %(company_id)s::uuid)

-- name: lock_submission
select id from submissions where id = %(submission_id)s::uuid for no key update

-- name: lock_submission_of_run
-- If several runs of a submission end at once, each waits here, and then sees the statuses that the others wrote.
select s.id::text
from submissions as s join pipeline_runs as r on r.submission_id = s.id
where r.id = %(pipeline_run_id)s::uuid for no key update of s

-- name: sync_submission_status
-- A retry is a later attempt for the same entity below the same parent. Only the latest attempt for each counts, and
-- only below parents that count themselves: so runs of an earlier attempt do not keep a submission failed.
-- jsonb_populate_record gives the new status the type of its column: text here, an enum in an adopted database.
with recursive ranked as (
    select r.id, r.status, r.parent_pipeline_run_id as parent,
        r.attempt = max(r.attempt) over (
            partition by r.parent_pipeline_run_id, coalesce(r.blueprint_snapshot -> 'entity', 'null'::jsonb)
        ) as latest
    from pipeline_runs as r where r.submission_id = %(submission_id)s::uuid
), counted as (
    select ranked.id, ranked.status from ranked
    where latest and (parent is null or parent not in (select id from ranked))
    union
    select ranked.id, ranked.status from ranked join counted on ranked.parent = counted.id where ranked.latest
), decided as (
    select (jsonb_populate_record(null::submissions, jsonb_build_object('status', case
        when count(*) = 0 then 'received'
        when bool_or(status = 'failed') then 'failed'
        when bool_or(status = 'running') then 'running'
        when bool_or(status = 'queued') then 'queued'
        when bool_and(status = 'canceled') then 'canceled'
        else 'completed'
    end))).status from counted
), target as (
    select id, org_id, status from submissions where id = %(submission_id)s::uuid
), updated as (
    update submissions as s set status = decided.status
    from decided, target
    where s.id = target.id and s.status is distinct from decided.status
      and (%(org_id)s::uuid is null or target.org_id = %(org_id)s::uuid)
    returning s.updated_at
)
select target.org_id::text, true, json_build_object(
    'id', target.id, 'org_id', target.org_id, 'status', decided.status, 'was', target.status,
    'runs', coalesce((
        select json_object_agg(status, number)
        from (select status, count(*) as number from counted group by status) as c
    ), '{}'::json)
)::text
from target, decided

-- name: find_undispatched_runs
-- Runs for Trigger.dev that it has not confirmed yet.
select r.id::text, r.org_id::text, r.company_id::text, r.restarts
from pipeline_runs as r
where r.submission_id = %(submission_id)s::uuid
  and r.status = 'queued' and r.runner = 'trigger' and r.trigger_run_id is null
order by r.created_at, r.id

-- name: find_left_runs
-- Of all organisations, oldest first: runs that were queued again, and runs that were not confirmed within a minute
-- after they were dispatched.
select r.id::text, r.org_id::text, r.company_id::text, r.restarts
from pipeline_runs as r
where r.status = 'queued' and r.runner = 'trigger' and r.trigger_run_id is null
  and (r.restarts > 0 or r.updated_at < now() - interval '1 minute')
order by r.created_at, r.id limit 100

-- name: record_dispatch
update pipeline_runs set trigger_run_id = %(trigger_run_id)s
where id = %(pipeline_run_id)s::uuid and trigger_run_id is null
