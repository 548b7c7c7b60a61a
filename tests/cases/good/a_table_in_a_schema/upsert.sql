with "Arriving" as materialized (
    select
    %(org_id)s::uuid as "org_id",
    %(name)s::text as "name",
    %(source_submission_id)s::uuid as "source_submission_id",
    %(source_pipeline_run_id)s::uuid as "source_pipeline_run_id",
    %(source_step_result_id)s::uuid as "source_step_result_id",
    coalesce(%(source_recorded_at)s::timestamptz, clock_timestamp()) as "source_recorded_at"
), "Owner" as (
    select
        (arriving.source_submission_id is null or exists (
            select from submissions where id = arriving.source_submission_id and org_id = arriving.org_id
        )) as submission_ok,
        (arriving.source_pipeline_run_id is null or exists (
            select from pipeline_runs where id = arriving.source_pipeline_run_id and org_id = arriving.org_id
            and submission_id = coalesce(arriving.source_submission_id, submission_id)
        )) as run_ok,
        (arriving.source_step_result_id is null or exists (
            select from step_results where id = arriving.source_step_result_id and org_id = arriving.org_id
            and pipeline_run_id = coalesce(arriving.source_pipeline_run_id, pipeline_run_id)
            and submission_id = coalesce(arriving.source_submission_id, submission_id)
        )) as step_ok,
        arriving.source_recorded_at <= now() + interval '5 minutes' as time_ok
    from "Arriving" as arriving
), "Upserted" as (
    insert into "research"."people" as stored ("org_id", "name", "source_submission_id", "source_pipeline_run_id", "source_step_result_id", "source_recorded_at")
    select arriving."org_id", arriving."name", arriving."source_submission_id", arriving."source_pipeline_run_id", arriving."source_step_result_id", arriving."source_recorded_at"
    from "Arriving" as arriving, "Owner" as owner
    where owner.submission_ok and owner.run_ok and owner.step_ok and owner.time_ok
    on conflict ("org_id", "name") do update set
    "source_submission_id" = excluded."source_submission_id",
    "source_pipeline_run_id" = excluded."source_pipeline_run_id",
    "source_step_result_id" = excluded."source_step_result_id",
    "source_recorded_at" = excluded."source_recorded_at"
where (select (stored.source_recorded_at is null or arriving.source_recorded_at is null or stored.source_recorded_at < arriving.source_recorded_at or stored.source_recorded_at = arriving.source_recorded_at and not coalesce(stored.source_step_result_id > arriving.source_step_result_id, false))
and ((%(source_recorded_at)s::timestamptz is not null and stored.source_recorded_at is distinct from arriving.source_recorded_at)
    or stored."source_submission_id" is distinct from arriving."source_submission_id"
    or stored."source_pipeline_run_id" is distinct from arriving."source_pipeline_run_id"
    or stored."source_step_result_id" is distinct from arriving."source_step_result_id") from "Arriving" as arriving)
    returning stored.*
), "Pending" as (
    delete from step_persistence where spec = %(Spec)s and exists (select from "Upserted") and step_result_id = (
        select lineage.step_result_id
        from row_lineage as lineage join step_results as source on source.id = lineage.step_result_id
        where lineage.org_id = %(org_id)s::uuid and lineage.unit = %(Unit)s::uuid
        order by source.recorded_at desc, source.id desc limit 1
    )
), "Claim" as (
    insert into row_lineage as known (org_id, unit, step_result_id, spec, row_id, parent)
    select %(org_id)s::uuid, %(Unit)s::uuid, %(source_step_result_id)s::uuid, %(Spec)s, id, %(Parent)s::jsonb
    from "Upserted" where %(source_step_result_id)s::uuid is not null
    on conflict (org_id, unit, step_result_id) do update set row_id = excluded.row_id
), answer as (
    select 'written' as outcome, (select row_to_json(small.*)::text from (select upserted."id", upserted."org_id", upserted."name", upserted."source_submission_id", upserted."source_pipeline_run_id", upserted."source_step_result_id", upserted."source_recorded_at", upserted."created_at", upserted."updated_at") as small) as scalars from "Upserted" as upserted
    union all
    select
        case when compared."Differs" then 'superseded' else 'unchanged' end,
        (select row_to_json(small.*)::text from (select stored."id", stored."org_id", stored."name", stored."source_submission_id", stored."source_pipeline_run_id", stored."source_step_result_id", stored."source_recorded_at", stored."created_at", stored."updated_at") as small) as scalars
    from "Arriving" as arriving cross join "Owner" as owner cross join lateral (
        select * from "research"."people" as stored where stored."org_id" = arriving."org_id" and stored."name" = arriving."name"
        limit 1
    ) as stored cross join lateral (
        select stored."source_submission_id" is distinct from arriving."source_submission_id"
    or stored."source_pipeline_run_id" is distinct from arriving."source_pipeline_run_id"
    or stored."source_step_result_id" is distinct from arriving."source_step_result_id" as "Differs" offset 0
    ) as compared
    where not exists (select from "Upserted") and owner.submission_ok and owner.run_ok and owner.step_ok and owner.time_ok
    and not ((stored.source_recorded_at is null or arriving.source_recorded_at is null or stored.source_recorded_at < arriving.source_recorded_at or stored.source_recorded_at = arriving.source_recorded_at and not coalesce(stored.source_step_result_id > arriving.source_step_result_id, false))
        and (compared."Differs" or (%(source_recorded_at)s::timestamptz is not null and stored.source_recorded_at is distinct from arriving.source_recorded_at)))
)
select owner.submission_ok, owner.run_ok, owner.step_ok, owner.time_ok, answer.*
from "Owner" as owner left join answer on true
