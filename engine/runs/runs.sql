-- Queries of the runner about pipeline runs and their step results. Each is one round trip.
--
-- A query that changes a row first reads it (`target`), so that its result tells whether the row is missing or belongs
-- to another organisation and, if the row is locked, whether another runner holds the run.

-- fragment: run_fields
-- A pipeline run as the API returns it: the arguments of json_build_object for the row `r`.
'id', r.id, 'org_id', r.org_id, 'company_id', r.company_id, 'submission_id', r.submission_id,
'parent_pipeline_run_id', r.parent_pipeline_run_id, 'trigger_run_id', r.trigger_run_id,
'runner', r.runner, 'blueprint_snapshot', r.blueprint_snapshot, 'blueprint_version', r.blueprint_version,
'status', r.status, 'attempt', r.attempt, 'error_message', r.error_message, 'error_details', r.error_details,
'started_at', r.started_at, 'finished_at', r.finished_at, 'created_at', r.created_at, 'updated_at', r.updated_at

-- fragment: step_operation
-- The operation of a step result, in a query that has its run as well. Where it has no output yet, the run's blueprint
-- names the operation.
coalesce(operation_id, (
    select step ->> 'operation_id'
    from jsonb_array_elements(case when jsonb_typeof(blueprint_snapshot -> 'steps') = 'array'
                                   then blueprint_snapshot -> 'steps' else '[]' end) as step
    where step ->> 'position' = step_position::text limit 1
))

-- fragment: step_fields
-- A step result as the API returns it, without its payloads: the arguments of json_build_object for the row `s`.
'id', s.id, 'org_id', s.org_id, 'company_id', s.company_id, 'submission_id', s.submission_id,
'pipeline_run_id', s.pipeline_run_id, 'step_position', s.step_position, 'status', s.status,
'attempt', s.attempt, 'result_status', s.result_status,
'error_message', s.error_message, 'error_details', s.error_details, 'duration_ms', s.duration_ms,
'task_run_id', s.task_run_id, 'order_id', s.order_id,
'started_at', s.started_at, 'finished_at', s.finished_at, 'created_at', s.created_at, 'updated_at', s.updated_at

-- fragment: is_abandoned
-- Whether the runner of the running row `r` is gone: its lease has expired, or it changed nothing for an hour.
-- (Trigger.dev pauses for minutes at most, and a waiting step updates its row.)
(r.status = 'running' and coalesce(r.lease_expires_at, r.updated_at + interval '1 hour') < now())

-- fragment: is_silent
-- The same for runs of Trigger.dev, written as in the partial index on them.
(r.status = 'running' and r.lease_expires_at is null and r.runner = 'trigger'
 and r.updated_at < now() - interval '1 hour')

-- fragment: run_input
-- The input of the run `r`, or that of its submission if the run has none. If it is longer than two kilobytes, its
-- beginning, as a text.
(select case when length(given.input #>> '{}') > 2048 then to_json(left(given.input #>> '{}', 2048) || '…')
             else given.input::json end
 from (select coalesce(r.blueprint_snapshot #> '{entity,input}', (
     select asked.input_payload from submissions as asked where asked.id = r.submission_id
 )) as input) as given)

-- fragment: listed_run
-- A run in a list: the arguments of json_build_object for the row `r`.
'id', r.id, 'org_id', r.org_id, 'submission_id', r.submission_id, 'status', r.status, 'runner', r.runner,
'claims', r.claims, 'restarts', r.restarts, 'trigger_run_id', r.trigger_run_id, 'is_abandoned', {is_abandoned},
'error_message', r.error_message, 'created_at', r.created_at, 'started_at', r.started_at,
'finished_at', r.finished_at, 'input', {run_input}

-- name: claim_run
-- A run whose runner died comes first: it is older, and part of it may be paid for. Each select reads one row of a
-- partial index.
with expired as (
    select id from pipeline_runs
    where status = 'running' and lease_expires_at is not null and lease_expires_at < now()
      and claims < %(max_attempts)s
      and (%(org_id)s::uuid is null or org_id = %(org_id)s::uuid)
    order by lease_expires_at, id limit 1 for update skip locked
), queued as (
    select id from pipeline_runs
    where status = 'queued' and runner = 'local' and not exists (select from expired)
      and (%(org_id)s::uuid is null or org_id = %(org_id)s::uuid)
    order by created_at, id limit 1 for update skip locked
)
update pipeline_runs as r
set status = 'running', started_at = coalesce(r.started_at, now()), finished_at = null, claims = r.claims + 1,
    lease_token = gen_random_uuid(), lease_expires_at = now() + make_interval(secs => %(seconds)s)
where r.id in (select id from expired union all select id from queued)
returning json_build_object(
    'id', r.id, 'org_id', r.org_id, 'company_id', r.company_id, 'submission_id', r.submission_id,
    'lease_token', r.lease_token, 'lease_expires_at', r.lease_expires_at
)::text

-- name: set_aside_runs
-- Runs that were claimed too often without ending: a person has to look before one is started again.
update pipeline_runs as r
set status = 'failed', finished_at = now(), lease_expires_at = null,
    error_message = format('set aside after %%s attempts%%s', r.claims, coalesce(': ' || r.error_message, '')),
    error_details = json_build_object('code', 'set_aside', 'attempts', r.claims)::jsonb
where r.id in (
    select id from pipeline_runs
    where status = 'running' and lease_expires_at is not null and lease_expires_at < now()
      and claims >= %(max_attempts)s and (%(org_id)s::uuid is null or org_id = %(org_id)s::uuid)
    order by id limit 100 for update skip locked
)
returning r.id::text, r.submission_id::text, r.error_message

-- name: set_aside_silent_runs
-- The same for runs of Trigger.dev, which have no lease.
update pipeline_runs as r
set status = 'failed', finished_at = now(),
    error_message = format('set aside after %%s attempts: Trigger.dev does not bring it to an end', r.claims),
    error_details = json_build_object('code', 'set_aside', 'attempts', r.claims)::jsonb
where r.id in (
    select r.id from pipeline_runs as r
    where {is_silent} and r.claims >= %(max_attempts)s
    order by r.id limit 100 for update skip locked
)
returning r.id::text, r.submission_id::text, r.error_message

-- name: queue_silent_runs
-- Queue runs whose runner is gone. Their steps stay as they are: the next execution resumes them.
update pipeline_runs as r
set status = 'queued', trigger_run_id = null, claims = r.claims + 1, restarts = r.restarts + 1
where r.id in (
    select r.id from pipeline_runs as r where {is_silent} order by r.updated_at limit 100 for update skip locked
)
returning r.id::text, r.submission_id::text

-- name: end_steps_of_run
with skipped as (
    update step_results set status = 'skipped', finished_at = now()
    where pipeline_run_id = %(pipeline_run_id)s::uuid and status in ('queued', 'retrying')
)
update step_results set status = 'failed', finished_at = now(), error_message = %(error_message)s
where pipeline_run_id = %(pipeline_run_id)s::uuid and status = 'running'

-- name: cancel_runs
-- A step that is being executed keeps its order: the answer is collected, and nothing more is ordered.
with target as (
    select r.id from pipeline_runs as r
    where (r.id = %(pipeline_run_id)s::uuid or r.submission_id = %(submission_id)s::uuid)
      and r.status in ('queued', 'running')
    order by r.id for update
), canceled as (
    update pipeline_runs as r
    set status = 'canceled', finished_at = now(), lease_expires_at = null
    from target where r.id = target.id
    returning r.id, r.submission_id, r.trigger_run_id
), skipped as (
    update step_results as s set status = 'skipped', finished_at = now()
    from canceled where s.pipeline_run_id = canceled.id and s.status in ('queued', 'retrying')
), failed as (
    update step_results as s
    set status = 'failed', finished_at = now(), error_message = 'the run was canceled',
        error_details = '{"code": "canceled"}'
    from canceled where s.pipeline_run_id = canceled.id and s.status = 'running'
)
select id::text, submission_id::text, trigger_run_id from canceled order by id

-- name: retry_runs
-- Queue runs that failed, were canceled, or have no runner any more. A step keeps its order if that may get an answer.
with target as (
    select r.id from pipeline_runs as r
    where (r.id = %(pipeline_run_id)s::uuid or r.submission_id = %(submission_id)s::uuid)
      and (r.status in ('failed', 'canceled')
           or {is_abandoned})
    order by r.id for update
), restarted as (
    update pipeline_runs as r
    set status = 'queued', finished_at = null, error_message = null, error_details = null,
        lease_token = null, lease_expires_at = null, trigger_run_id = null, claims = 0, restarts = r.restarts + 1
    from target where r.id = target.id
    returning r.id, r.submission_id
), steps as (
    update step_results as s
    set status = 'queued', finished_at = null, error_message = null, error_details = null, output_payload = null,
        order_id = case when exists (
            select from research_orders as o
            where o.id = s.order_id and o.status in ('failed', 'not_accepted')
        ) then null else s.order_id end
    from restarted
    where s.pipeline_run_id = restarted.id and s.status <> 'succeeded'
)
select id::text, submission_id::text, null::text from restarted order by id

-- name: list_runs
select json_build_object({listed_run})::text
from pipeline_runs as r
where (%(org_id)s::uuid is null or r.org_id = %(org_id)s::uuid)
  and (%(status)s::text is null or r.status::text = %(status)s)
  and (not %(abandoned)s or {is_abandoned})
order by r.created_at desc, r.id desc limit %(limit)s

-- name: renew_lease
-- A runner that was told to stop gives the run back (`released`): that attempt does not count.
with target as (
    select id, org_id, status = 'running' and lease_token = %(lease_token)s::uuid as holds_lease
    from pipeline_runs where id = %(pipeline_run_id)s::uuid for update
), renewed as (
    update pipeline_runs as r
    set lease_expires_at = now() + make_interval(secs => %(seconds)s),
        error_message = coalesce(%(error_message)s, r.error_message),
        claims = case when %(released)s then greatest(r.claims - 1, 0) else r.claims end
    from target
    where r.id = target.id and target.holds_lease and (%(org_id)s::uuid is null or target.org_id = %(org_id)s::uuid)
    returning json_build_object('lease_expires_at', r.lease_expires_at)
)
select target.org_id::text, coalesce(target.holds_lease, false), (select * from renewed)::text from target

-- name: read_queue
-- No count goes beyond a thousand.
select json_build_object(
    'queued', (select count(*) from (
        select from pipeline_runs where status = 'queued' and runner = 'local'
          and (%(org_id)s::uuid is null or org_id = %(org_id)s::uuid) limit 1000) as r),
    'leased', (select count(*) from (
        select from pipeline_runs where status = 'running' and lease_expires_at is not null
          and (%(org_id)s::uuid is null or org_id = %(org_id)s::uuid) limit 1000) as r),
    'first_lease_ends_at', (
        select min(lease_expires_at) from pipeline_runs where status = 'running' and lease_expires_at is not null
          and (%(org_id)s::uuid is null or org_id = %(org_id)s::uuid)),
    'at_trigger', (select count(*) from (
        select from pipeline_runs where status in ('queued', 'running') and runner = 'trigger'
          and (%(org_id)s::uuid is null or org_id = %(org_id)s::uuid) limit 1000) as r),
    'open_orders', (select count(*) from (
        select from research_orders where status = 'open'
          and (%(org_id)s::uuid is null or org_id = %(org_id)s::uuid) limit 1000) as o)
)::text

-- name: read_run
select r.org_id::text, true, json_build_object(
    {run_fields}, 'traceparent', r.traceparent,
    'submissions', (
        select json_build_object(
            'id', u.id, 'org_id', u.org_id, 'company_id', u.company_id, 'input_payload', u.input_payload,
            'source', u.source, 'metadata', u.metadata, 'status', u.status,
            'created_at', u.created_at, 'updated_at', u.updated_at
        ) from submissions as u where u.id = r.submission_id
    ),
    'step_results', coalesce((
        select json_agg(json_build_object(
            {step_fields}, 'operation_id', {step_operation},
            'input_payload', s.input_payload, 'output_payload', s.output_payload
        ) order by s.step_position, s.attempt)
        from step_results as s where s.pipeline_run_id = r.id
    ), '[]'::json)
)::text
from pipeline_runs as r where r.id = %(pipeline_run_id)s::uuid

-- name: update_run
-- `set_...` tells a field that was not sent (it stays) from one sent as null (it is cleared). A finished run keeps its
-- lease token, so that its runner can report the end twice, but not its lease, so that no runner claims it. A canceled
-- run stays canceled until it is retried, whatever its runner reports; the results of its steps are recorded anyway.
-- The first use of `status` is beside its column, so that the parameter gets the column's type: text here, an enum in
-- an adopted database.
with target as (
    select id, org_id, status,
        case when status = 'canceled' then status = %(status)s
             when %(lease_token)s::uuid is not null
             then lease_token is not distinct from %(lease_token)s::uuid
             else not (%(status)s = 'running' and status = 'running' and coalesce(lease_expires_at > now(), false))
        end as holds_lease
    from pipeline_runs where id = %(pipeline_run_id)s::uuid for update
), updated as (
    update pipeline_runs as r set
        status = %(status)s,
        error_message = case when %(set_error_message)s then %(error_message)s
                             when %(status)s = 'succeeded' then null else r.error_message end,
        error_details = case when %(set_error_details)s then %(error_details)s::jsonb
                             when %(status)s = 'succeeded' then null else r.error_details end,
        trigger_run_id = case when %(set_trigger_run_id)s then %(trigger_run_id)s else r.trigger_run_id end,
        started_at = case when %(status)s = 'queued' then r.started_at
                          else coalesce(%(started_at)s::timestamptz, r.started_at, now()) end,
        finished_at = case when %(ended)s then coalesce(%(finished_at)s::timestamptz, r.finished_at, now()) end,
        lease_expires_at = case when %(status)s = 'running' then r.lease_expires_at end
    from target
    where r.id = target.id and target.holds_lease and (%(org_id)s::uuid is null or target.org_id = %(org_id)s::uuid)
    returning json_build_object({run_fields}) as run
)
select target.org_id::text, target.holds_lease, (select run from updated)::text from target

-- name: update_step
-- `finished_at` is set when the step first ends with that status, and stays when its runner repeats the report, since
-- the rows made from the step have that time.
with target as (
    select s.id, s.org_id, s.status, r.org_id as run_org_id,
        (%(lease_token)s::uuid is null or r.lease_token is not distinct from %(lease_token)s::uuid) as holds_lease
    from step_results as s join pipeline_runs as r on r.id = s.pipeline_run_id
    where s.id = %(step_result_id)s::uuid for update of s
), updated as (
    update step_results as s set
        status = coalesce(%(status)s, s.status),
        input_payload = case when %(set_input_payload)s then %(input_payload)s::jsonb else s.input_payload end,
        output_payload = case when %(set_output_payload)s then %(output_payload)s::jsonb else s.output_payload end,
        error_message = case when %(set_error_message)s then %(error_message)s else s.error_message end,
        error_details = case when %(set_error_details)s then %(error_details)s::jsonb else s.error_details end,
        task_run_id = case when %(set_task_run_id)s then %(task_run_id)s else s.task_run_id end,
        started_at = case when %(status)s is null or %(status)s in ('queued', 'skipped') then s.started_at
                          else coalesce(%(started_at)s::timestamptz, s.started_at, now()) end,
        finished_at = case
            when %(status)s is null then s.finished_at
            when %(finished_at)s::timestamptz is not null and %(ended)s then %(finished_at)s::timestamptz
            when %(ended)s then case when s.status = %(status)s then coalesce(s.finished_at, now()) else now() end
        end,
        duration_ms = case
            when %(duration_ms)s::int is not null then %(duration_ms)s::int
            when %(status)s in ('succeeded', 'failed') and s.status <> %(status)s and s.started_at is not null
                then least(extract(epoch from now() - s.started_at) * 1000, 2147483647)::int
            else s.duration_ms
        end
    from target
    where s.id = target.id and target.holds_lease
      and (%(org_id)s::uuid is null or target.run_org_id = %(org_id)s::uuid)
    returning json_build_object({step_fields}, 'operation_id', s.operation_id) as step
)
select target.run_org_id::text, target.holds_lease, (select step from updated)::text from target

-- name: forget_answer_of_step
-- An order keeps its answer until a step result has it; that may be the result of the step that placed the order. The
-- step may have been moved to another organisation since.
update research_orders as o set answer = null, output = null
from step_results as t
where t.id = %(step_result_id)s::uuid and o.id = t.order_id and o.answer is not null
  and t.status = 'succeeded'
  and t.output_payload #> '{operation_result,output,parallel_raw_response}' is not null
  and not exists (
      select from step_results as b
      where b.id = o.step_result_id and b.order_id = o.id and b.status <> 'succeeded'
  )

-- name: skip_remaining_steps
with target as (
    select id, org_id from pipeline_runs where id = %(pipeline_run_id)s::uuid
), skipped as (
    update step_results as s set status = 'skipped', finished_at = now()
    from target
    where s.pipeline_run_id = target.id and s.step_position > %(position)s and s.status = 'queued'
      and (%(org_id)s::uuid is null or target.org_id = %(org_id)s::uuid)
    returning s.id, s.step_position
)
select target.org_id::text, true, (
    select json_build_object(
        'pipeline_run_id', target.id, 'skipped', count(skipped.id),
        'step_result_ids', coalesce(json_agg(skipped.id order by skipped.step_position), '[]'::json)
    ) from skipped
)::text
from target
