-- Queries that list runs and step results for people, with the outcome of each step.

-- fragment: step_fields
-- A step result with its order and its outcome under each spec: the arguments of json_build_object for the row `t` of
-- the run `r`.
'id', t.id, 'position', t.step_position, 'attempt', t.attempt, 'status', t.status,
'operation_id', {step_operation},
'result_status', t.result_status, 'error_message', t.error_message,
'started_at', t.started_at, 'finished_at', t.finished_at, 'recorded_at', t.recorded_at,
'order', (
    select json_build_object(
        'id', o.id, 'status', o.status, 'provider', o.provider, 'processor', o.processor,
        'price', o.price::text, 'cost', o.cost::text, 'provider_run_id', o.provider_run_id,
        'requested_at', o.requested_at, 'ended_at', o.ended_at
    ) from research_orders as o where o.id = t.order_id and o.org_id = t.org_id
),
'results', coalesce((
    select json_agg(json_build_object(
        'spec', l.spec, 'outcome', l.outcome, 'rows', l.row_count, 'refused', l.refused_count, 'reasons', l.reasons,
        'row_ids', coalesce((
            select json_agg(w.row_id) from (
                select distinct lineage.row_id from row_lineage as lineage
                where lineage.step_result_id = t.id and lineage.spec = l.spec and lineage.row_id is not null
                    and not lineage.refused
                limit 20
            ) as w
        ), '[]'::json)
    ) order by l.spec)
    from step_persistence as l
    where l.step_result_id = t.id
        and (l.spec, l.spec_digest) in (select * from unnest(%(specs)s::text[], %(digests)s::text[]))
), '[]'::json)

-- fragment: run_fields
-- A run: the arguments of json_build_object for the row `r`. Large inputs are left to the query of one step result.
'id', r.id, 'submission_id', r.submission_id, 'parent_pipeline_run_id', r.parent_pipeline_run_id,
'status', r.status, 'attempt', r.attempt, 'runner', r.runner, 'error_message', r.error_message,
'created_at', r.created_at, 'started_at', r.started_at, 'finished_at', r.finished_at,
'input', case when pg_column_size(r.blueprint_snapshot) < 20000 then r.blueprint_snapshot #> '{entity,input}' end

-- fragment: run_conditions
-- The condition that the run `r` is listed; `before` is the id of a run: only older ones are.
r.org_id = %(org_id)s::uuid
and (%(company_id)s::uuid is null or r.company_id = %(company_id)s::uuid)
and (%(status)s::text is null or r.status::text = %(status)s)
and (%(submission_id)s::uuid is null or r.submission_id = %(submission_id)s::uuid)
and (%(before)s::uuid is null or (r.created_at, r.id) < (
    select last.created_at, last.id from pipeline_runs as last where last.id = %(before)s::uuid
))

-- name: list_runs_with_steps
-- A text is searched in the inputs of the newest `window` runs. If a run has no recorded input (in an adopted
-- database), it is searched in the outputs of its steps, except for the provider's answer.
with newest as (
    select r.id from pipeline_runs as r
    where {run_conditions}
    order by r.created_at desc, r.id desc
    limit %(window)s
), page as (
    select r.* from newest join pipeline_runs as r using (id)
    where %(patterns)s::text[] is null
        or r.blueprint_snapshot #>> '{entity,input}' ilike any(%(patterns)s::text[])
        or (r.blueprint_snapshot #>> '{entity,input}' is null and exists (
            select from step_results as t
            where t.pipeline_run_id = r.id
                and ((t.output_payload #> '{operation_result,output}') - 'parallel_raw_response')::text
                    ilike any(%(patterns)s::text[])
        ))
    order by r.created_at desc, r.id desc
    limit %(limit)s offset %(offset)s
)
select json_build_object({run_fields}, 'steps', coalesce((
    select json_agg(json_build_object({step_fields}) order by t.step_position, t.attempt)
    from step_results as t where t.pipeline_run_id = r.id
), '[]'::json))::text
from page as r
order by r.created_at desc, r.id desc

-- name: find_window_end
-- The oldest run of the searched ones, if there are as many as `window`.
select r.id::text from pipeline_runs as r
where {run_conditions}
order by r.created_at desc, r.id desc
limit 1 offset %(window)s - 1

-- name: read_step_result
select json_build_object(
    {step_fields}, 'submission_id', t.submission_id, 'pipeline_run_id', t.pipeline_run_id,
    'input_payload', t.input_payload, 'output_payload', t.output_payload
)::text
from step_results as t join pipeline_runs as r on r.id = t.pipeline_run_id
where t.id = %(step_result_id)s::uuid and t.org_id = %(org_id)s::uuid
    and (%(company_id)s::uuid is null or r.company_id = %(company_id)s::uuid)
