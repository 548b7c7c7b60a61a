-- Queries about orders. Those on which a decision is based run in one transaction, after `lock_question`.

-- fragment: order_fields
-- An order as callers get it: the arguments of json_build_object for the row `o`. Amounts are decimal text.
'id', o.id, 'org_id', o.org_id, 'operation', o.operation, 'provider', o.provider, 'processor', o.processor,
'price', o.price::text, 'cost', o.cost::text, 'status', o.status, 'provider_run_id', o.provider_run_id,
'requested_at', o.requested_at, 'ended_at', o.ended_at, 'requested_by', o.requested_by,
'submission_id', o.submission_id, 'pipeline_run_id', o.pipeline_run_id, 'step_result_id', o.step_result_id,
'error_code', o.error_code, 'error_message', o.error_message

-- name: read_asking_step
-- Until the order is recorded, the row locks keep the run from being canceled and the step from being executed twice.
select r.org_id::text as org_id, s.id::text as step_result_id, s.order_id::text as order_id,
    s.submission_id::text as submission_id, r.id::text as pipeline_run_id, r.company_id::text as company_id,
    r.status::text as run_status, u.requested_by as requested_by, u.created_at as submitted_at,
    (%(lease_token)s::uuid is null or r.lease_token is not distinct from %(lease_token)s::uuid) as holds_lease
from step_results as s
join pipeline_runs as r on r.id = s.pipeline_run_id
join submissions as u on u.id = r.submission_id
where s.id = %(step_result_id)s::uuid
for no key update of s for share of r

-- name: lock_question
select pg_advisory_xact_lock(hashtextextended('dex order ' || %(org_id)s || ' ' || %(question)s, 0))

-- name: read_order
select o.id::text as id, o.org_id::text as org_id, o.status, o.question, o.provider, o.provider_run_id, o.held_by,
    o.held_until > now() as is_held, o.step_result_id::text as step_result_id, o.requested_at,
    o.error_code, o.error_message, json_build_object({order_fields})::text as listed
from research_orders as o
where o.id = %(order_id)s::uuid for no key update

-- name: find_unfinished
select o.id::text, o.requested_at from research_orders as o
where o.org_id = %(org_id)s::uuid and o.question = %(question)s and o.status in ('requested', 'open', 'unknown')

-- name: find_fresh
-- An order is not fresh if its answer is neither stored with it nor in a step result that still exists.
select o.id::text from research_orders as o
where o.org_id = %(org_id)s::uuid and o.question = %(question)s and o.status = 'completed'
  and o.ended_at > now() - make_interval(secs => %(fresh_for)s)
  and (%(not_before)s::timestamptz is null or o.requested_at >= %(not_before)s::timestamptz)
  and (o.answer is not null or exists (
      select from step_results as s
      where s.order_id = o.id and s.org_id = o.org_id and s.status = 'succeeded'
        and s.output_payload #> '{operation_result,output,parallel_raw_response}' is not null
  ))
order by o.ended_at desc limit 1

-- name: read_answer
select coalesce(o.answer, (
    select s.output_payload #> '{operation_result,output,parallel_raw_response}' from step_results as s
    where s.order_id = o.id and s.org_id = o.org_id and s.status = 'succeeded'
      and s.output_payload #> '{operation_result,output,parallel_raw_response}' is not null
    order by s.id limit 1
))::text
from research_orders as o where o.org_id = %(org_id)s::uuid and o.id = %(order_id)s::uuid

-- name: was_refused
-- Whether the provider refused this request before: a copy of the request that arrives late must not order again.
select exists (
    select from research_orders
    where org_id = %(org_id)s::uuid and question = %(question)s and status = 'not_accepted'
      and held_by = %(holder)s
)

-- name: attach_step
update step_results set order_id = %(order_id)s::uuid where id = %(step_result_id)s::uuid

-- name: insert_order
insert into research_orders as o (
    org_id, operation, provider, processor, question, price, requested_by,
    company_id, submission_id, pipeline_run_id, step_result_id, output, held_by, held_until
)
values (
    %(org_id)s::uuid, %(operation)s, %(provider)s, %(processor)s, %(question)s, %(price)s, %(requested_by)s,
    %(company_id)s::uuid, %(submission_id)s::uuid, %(pipeline_run_id)s::uuid, %(step_result_id)s::uuid,
    %(output)s::jsonb, %(holder)s, now() + make_interval(secs => %(hold_seconds)s)
)
returning o.id::text

-- name: hold_order
-- Take the lease, to ask for the answer, unless another step has it. (An earlier execution of this step lost its run.)
-- That the provider did not know the run is forgotten: it is about to be asked again.
update research_orders set held_by = %(holder)s, held_until = now() + make_interval(secs => %(hold_seconds)s),
    error_code = null, error_message = null
where org_id = %(org_id)s::uuid and id = %(order_id)s::uuid
  and (held_by = %(holder)s or held_until is null or held_until <= now()
       or split_part(held_by, '/', 1) = %(step_result_id)s)
returning id

-- name: touch_run
-- For a run without a lease, the time of its last change shows whether a runner still executes it.
update pipeline_runs set updated_at = now()
where id = %(pipeline_run_id)s::uuid and lease_expires_at is null and status = 'running'
  and updated_at < now() - interval '1 minute'

-- name: mark_unknown
update research_orders set status = 'unknown', error_code = 'order_unknown', error_message = %(message)s
where org_id = %(org_id)s::uuid and id = %(order_id)s::uuid and status = 'requested'

-- name: note_unknown_run
update research_orders set error_code = %(code)s, error_message = %(message)s
where org_id = %(org_id)s::uuid and id = %(order_id)s::uuid and status = 'open'

-- name: mark_open
-- Also an open order, whose run id a person corrects.
update research_orders
set status = 'open', provider_run_id = %(provider_run_id)s, error_code = null, error_message = null,
    cost = null, ended_at = null
where org_id = %(org_id)s::uuid and id = %(order_id)s::uuid
  and status in ('requested', 'open', 'unknown', 'not_accepted')

-- name: mark_not_accepted
-- The run id of an open order is one that the provider does not know, or that of another order, which may need it. Only
-- an order that was reopened has a time of its end: it was paid for.
update research_orders
set status = 'not_accepted', cost = case when ended_at is null then 0 else price end, ended_at = now(),
    held_until = null, provider_run_id = null,
    error_code = 'not_bought',
    error_message = concat_ws('; ', %(message)s::text, case when status = 'open' then error_message end)
where org_id = %(org_id)s::uuid and id = %(order_id)s::uuid
  and (status in ('requested', 'unknown') or (status = 'open' and error_code = 'provider_unknown'))

-- name: end_order
-- The provider has a fixed price per run, so a completed order costs its price, and a failed one nothing. If the order
-- was erased, its answer is not stored.
update research_orders set
    status = %(status)s, ended_at = coalesce(ended_at, now()), held_until = null,
    answer = case when erased_at is null then coalesce(%(answer)s::jsonb, answer) end,
    error_code = %(code)s, error_message = case when erased_at is null then %(message)s end,
    cost = case when %(status)s = 'completed' then price else 0 end
where org_id = %(org_id)s::uuid and id = %(order_id)s::uuid and status = 'open'

-- name: reopen_order
-- Reopen a completed order whose answer is stored nowhere any more; the provider still has it. Its question may have a
-- newer order, which has to end first.
update research_orders as o set status = 'open', cost = null
where o.org_id = %(org_id)s::uuid and o.id = %(order_id)s::uuid and o.status = 'completed' and o.answer is null
  and not exists (
      select from research_orders as newer
      where newer.org_id = o.org_id and newer.question = o.question
        and newer.status in ('requested', 'open', 'unknown')
  )
returning o.id

-- name: release_order
update research_orders set held_until = now()
where org_id = %(org_id)s::uuid and id = %(order_id)s::uuid and held_by = %(holder)s

-- name: find_collectable
-- Orders that are open, or whose answer no step result has yet. `input` is the step's input. Orders of runs that a
-- runner is executing are left out: that runner collects them.
select json_build_object(
    {order_fields},
    'output', o.output, 'answer', o.answer,
    'step_status', s.status, 'input', s.input_payload,
    'is_executed', coalesce(r.status = 'running' and coalesce(r.lease_expires_at, r.updated_at + interval '10 minutes')
                            > now(), false)
)::text
from research_orders as o
left join step_results as s on s.id = o.step_result_id and s.org_id = o.org_id
left join pipeline_runs as r on r.id = s.pipeline_run_id
where (o.status = 'open'
       or (o.answer is not null and s.order_id = o.id and s.status <> 'succeeded'
           and not coalesce(r.status = 'running' and coalesce(r.lease_expires_at, r.updated_at + interval '10 minutes')
                            > now(), false)))
  and (%(org_id)s::uuid is null or o.org_id = %(org_id)s::uuid)
  and (%(order_id)s::uuid is null or o.id = %(order_id)s::uuid)
  and (%(order_id)s::uuid is not null or o.held_until is null or o.held_until <= now() or %(held_too)s)
  and (o.requested_at, o.id) > (%(after_time)s::timestamptz, %(after_id)s::uuid)
order by o.requested_at, o.id
limit %(limit)s

-- name: list_orders
select json_build_object({order_fields})::text, o.requested_at::text, o.id::text
from research_orders as o
where (%(org_id)s::uuid is null or o.org_id = %(org_id)s::uuid)
  and (%(status)s::text is null or o.status = %(status)s)
  and (%(operation)s::text is null or o.operation = %(operation)s)
order by o.requested_at desc, o.id desc
limit %(limit)s offset %(offset)s

-- name: show_run
-- A run with its steps, without payloads, and their orders. The other fragments come from runs.sql.
select json_build_object(
    {run_fields}, 'input', {run_input}, 'claims', r.claims, 'restarts', r.restarts, 'is_abandoned', {is_abandoned},
    'step_results', coalesce((
        select json_agg(
            json_build_object({step_fields}, 'operation_id', {step_operation}) order by s.step_position, s.attempt
        )
        from step_results as s where s.pipeline_run_id = r.id
    ), '[]'::json),
    'orders', coalesce((
        select json_agg(json_build_object({order_fields}) order by o.requested_at, o.id)
        from research_orders as o
        where o.org_id = r.org_id
          and o.id in (select s.order_id from step_results as s where s.pipeline_run_id = r.id)
    ), '[]'::json)
)::text
from pipeline_runs as r where r.id = %(pipeline_run_id)s::uuid

-- name: sum_costs
-- Costs by organisation, operation and month (UTC). An order without a cost yet counts as an order with the cost 0, one
-- that was not accepted only where it was paid for.
select json_build_object(
    'org_id', o.org_id, 'operation', o.operation, 'month', to_char(o.requested_at at time zone 'UTC', 'YYYY-MM'),
    'orders', count(*) filter (where o.status <> 'not_accepted' or o.cost > 0), 'cost', coalesce(sum(o.cost), 0)::text
)::text
from research_orders as o
where (%(org_id)s::uuid is null or o.org_id = %(org_id)s::uuid)
  and (%(month)s::text is null or to_char(o.requested_at at time zone 'UTC', 'YYYY-MM') = %(month)s)
group by o.org_id, o.operation, to_char(o.requested_at at time zone 'UTC', 'YYYY-MM')
order by o.org_id, to_char(o.requested_at at time zone 'UTC', 'YYYY-MM') desc, o.operation

-- name: lock_budgets
-- Locked in the same order by every transaction, so that two orders never wait for each other.
select operation, usd from budgets
where org_id = %(org_id)s::uuid and operation in ('', %(operation)s)
order by operation for update

-- name: sum_month
-- The amount spent or reserved this month: the price of orders that have not ended, the cost of those that have.
select coalesce(sum(case when status in ('requested', 'open', 'unknown') then price else cost end), 0)
from research_orders
where org_id = %(org_id)s::uuid
  and requested_at >= date_trunc('month', now() at time zone 'UTC') at time zone 'UTC'
  and (%(operation)s = '' or operation = %(operation)s)

-- name: set_budget
insert into budgets (org_id, operation, usd) values (%(org_id)s::uuid, %(operation)s, %(usd)s)
on conflict (org_id, operation) do update set usd = excluded.usd, updated_at = now()

-- name: remove_budget
delete from budgets where org_id = %(org_id)s::uuid and operation = %(operation)s

-- name: list_budgets
select json_build_object(
    'org_id', b.org_id, 'operation', nullif(b.operation, ''), 'usd', b.usd::text,
    'spent', (
        select coalesce(sum(case when o.status in ('requested', 'open', 'unknown') then o.price else o.cost end), 0)::text
        from research_orders as o
        where o.org_id = b.org_id
          and o.requested_at >= date_trunc('month', now() at time zone 'UTC') at time zone 'UTC'
          and (b.operation = '' or o.operation = b.operation)
    )
)::text
from budgets as b where %(org_id)s::uuid is null or b.org_id = %(org_id)s::uuid
order by b.org_id, b.operation

-- name: count_organisations_without_budget
select count(*) from orgs as g where not exists (select from budgets as b where b.org_id = g.id and b.operation = '')

-- name: settle_step
-- Store the answer of an order as the result of the step that placed it, if no runner is executing its run.
update step_results as s set
    status = %(status)s, output_payload = %(output_payload)s::jsonb, finished_at = o.ended_at,
    error_message = %(message)s, error_details = %(details)s::jsonb
from research_orders as o
where s.id = o.step_result_id and s.order_id = o.id and o.id = %(order_id)s::uuid
  and (%(org_id)s::uuid is null or o.org_id = %(org_id)s::uuid)
  and o.status in ('completed', 'failed') and s.status not in ('succeeded')
  and not exists (
      select from pipeline_runs as r
      where r.id = s.pipeline_run_id and r.status = 'running'
        and coalesce(r.lease_expires_at, r.updated_at + interval '10 minutes') > now()
  )
returning s.pipeline_run_id::text, s.id::text

-- name: complete_run
-- A run that failed because answers were missing becomes succeeded once all its steps have theirs.
update pipeline_runs as r
set status = 'succeeded', finished_at = now(), error_message = null, error_details = null, lease_expires_at = null
where r.id = %(pipeline_run_id)s::uuid and r.status = 'failed'
  and jsonb_typeof(r.blueprint_snapshot -> 'steps') = 'array' and not exists (
    select from jsonb_array_elements(r.blueprint_snapshot -> 'steps') as step
    where coalesce(step ->> 'is_enabled', 'true') <> 'false' and not exists (
        select from step_results as s
        where s.pipeline_run_id = r.id and s.step_position::text = step ->> 'position' and s.status = 'succeeded'
    )
)
returning r.id
