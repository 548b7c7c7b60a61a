select wanted.id::text, wanted.org_id::text, wanted.submission_id::text, wanted.pipeline_run_id::text,
    wanted.step_position, wanted.operation_id, wanted.recorded_at, wanted.version, content.*
from (
    select found.id, found.org_id, found.submission_id, found.pipeline_run_id, found.step_position,
        found.operation_id, greatest('0001-01-02 00:00+00', least('9999-12-30 00:00+00', found.recorded_at)) as recorded_at, found.xmin::text as version
    from step_results as found
    where found.status = 'succeeded' and found.result_status = 'found' and found.operation_id = any(%(operations)s)
    and (
        select ledger.spec_digest from step_persistence as ledger
        where ledger.step_result_id = found.id and ledger.spec = %(spec)s
    ) is distinct from %(digest)s
    order by found.recorded_at, found.id
    limit %(limit)s
) as wanted
cross join lateral (
    select array_to_json(array[(case when jsonb_typeof(document.output) = 'object' and document.output ? 'client' then document.output #> array['client', 'name']::text[] else (document.context #> array['client', 'name']::text[]) end), (document.output #> array['name']::text[]), (document.step_input #> array['client', 'name']::text[])]::jsonb[])::text, (select run.company_id::text from pipeline_runs as run where run.id = wanted.pipeline_run_id) as company_id, nullif((document.step_input #> array['client']::text[]), 'null'::jsonb) is not null
    from step_results as source
    cross join lateral (select source.output_payload -> 'cumulative_context' as context, source.output_payload -> 'operation_result' -> 'output' as output, source.input_payload as step_input offset 0) as document
    where source.id = wanted.id
    offset 0
) as content
