select staged."Ordinal", stored.id::text, stored.id is not null and exists (select from (select staged."org_id" as "org_id", staged."name" as "name", staged."client_name" as "client_name", (select document from (select nullif((document.step_input #> array['client']::text[]), 'null'::jsonb) as document from step_results as source cross join lateral (select source.input_payload as step_input offset 0) as document where source.id = staged."brief" offset 0) as copied) as "brief", staged."company_id" as "company_id", staged."source_submission_id" as "source_submission_id", staged."source_pipeline_run_id" as "source_pipeline_run_id", staged."source_step_result_id" as "source_step_result_id", staged."source_recorded_at" as "source_recorded_at" offset 0) as late where stored."source_submission_id" is distinct from late."source_submission_id"
    or stored."source_pipeline_run_id" is distinct from late."source_pipeline_run_id"
    or stored."source_step_result_id" is distinct from late."source_step_result_id"
    or stored."source_recorded_at" is distinct from late."source_recorded_at"
    or stored."client_name" is distinct from late."client_name"
    or stored."company_id" is distinct from late."company_id"
    or record_image_ne(row(stored."brief"), row(late."brief")))
from "Arriving 9d09a75712a55c19" as staged
left join lateral (
        select * from "people" as stored where stored."org_id" = staged."org_id" and stored."name" = staged."name"
        limit 1
) as stored on true
where staged."Ordinal" = any(%(ordinals)s::int[])


with inserted as (
    insert into "people" as stored (id, "org_id", "name", "client_name", "brief", "company_id", "source_submission_id", "source_pipeline_run_id", "source_step_result_id", "source_recorded_at")
    select staged."Id", staged."org_id", staged."name", staged."client_name", copied_0.document, staged."company_id", staged."source_submission_id", staged."source_pipeline_run_id", staged."source_step_result_id", staged."source_recorded_at"
    from (
        select * from "Arriving 9d09a75712a55c19"
        where "Ordinal" = any(%(ordinals)s::int[]) order by "Ordinal" offset 0
    ) as staged
    left join lateral (select nullif((document.step_input #> array['client']::text[]), 'null'::jsonb) as document from step_results as source cross join lateral (select source.input_payload as step_input offset 0) as document where source.id = staged."brief" offset 0) as copied_0 on true
    on conflict ("org_id", "name") do nothing
    returning id, stored."org_id", stored."name"
)
select staged."Ordinal", inserted.id::text, inserted."org_id" is not distinct from staged."org_id" and inserted."name" is not distinct from staged."name"
from "Arriving 9d09a75712a55c19" as staged
join inserted on inserted.id = staged."Id"


update "people" as stored set
    "client_name" = arriving."client_name",
    "brief" = arriving."brief",
    "company_id" = arriving."company_id",
    "source_submission_id" = arriving."source_submission_id",
    "source_pipeline_run_id" = arriving."source_pipeline_run_id",
    "source_step_result_id" = arriving."source_step_result_id",
    "source_recorded_at" = arriving."source_recorded_at"
from (
    select target.ordinal as "Ordinal", target.id as "Id", staged."client_name" as "client_name", copied_0.document as "brief", staged."company_id" as "company_id", staged."source_submission_id" as "source_submission_id", staged."source_pipeline_run_id" as "source_pipeline_run_id", staged."source_step_result_id" as "source_step_result_id", staged."source_recorded_at" as "source_recorded_at"
    from unnest(%(ordinals)s::int[], %(ids)s::uuid[]) as target (ordinal, id)
    join "Arriving 9d09a75712a55c19" as staged on staged."Ordinal" = target.ordinal
    left join lateral (select nullif((document.step_input #> array['client']::text[]), 'null'::jsonb) as document from step_results as source cross join lateral (select source.input_payload as step_input offset 0) as document where source.id = staged."brief" offset 0) as copied_0 on true
    order by target.ordinal offset 0
) as arriving
where stored.id = arriving."Id"
returning arriving."Ordinal"
