select staged."Ordinal", stored.id::text, stored.id is not null and (stored."source_submission_id" is distinct from staged."source_submission_id"
    or stored."source_pipeline_run_id" is distinct from staged."source_pipeline_run_id"
    or stored."source_step_result_id" is distinct from staged."source_step_result_id"
    or stored."source_recorded_at" is distinct from staged."source_recorded_at")
from "Arriving 9eba037cc14b3616" as staged
left join lateral (
        select * from "research"."people" as stored where stored."org_id" = staged."org_id" and stored."name" = staged."name"
        limit 1
) as stored on true
where staged."Ordinal" = any(%(ordinals)s::int[])


with inserted as (
    insert into "research"."people" as stored (id, "org_id", "name", "source_submission_id", "source_pipeline_run_id", "source_step_result_id", "source_recorded_at")
    select staged."Id", staged."org_id", staged."name", staged."source_submission_id", staged."source_pipeline_run_id", staged."source_step_result_id", staged."source_recorded_at"
    from (
        select * from "Arriving 9eba037cc14b3616"
        where "Ordinal" = any(%(ordinals)s::int[]) order by "Ordinal" offset 0
    ) as staged

    on conflict ("org_id", "name") do nothing
    returning id, stored."org_id", stored."name"
)
select staged."Ordinal", inserted.id::text, inserted."org_id" is not distinct from staged."org_id" and inserted."name" is not distinct from staged."name"
from "Arriving 9eba037cc14b3616" as staged
join inserted on inserted.id = staged."Id"


update "research"."people" as stored set
    "source_submission_id" = arriving."source_submission_id",
    "source_pipeline_run_id" = arriving."source_pipeline_run_id",
    "source_step_result_id" = arriving."source_step_result_id",
    "source_recorded_at" = arriving."source_recorded_at"
from (
    select target.ordinal as "Ordinal", target.id as "Id", staged."source_submission_id" as "source_submission_id", staged."source_pipeline_run_id" as "source_pipeline_run_id", staged."source_step_result_id" as "source_step_result_id", staged."source_recorded_at" as "source_recorded_at"
    from unnest(%(ordinals)s::int[], %(ids)s::uuid[]) as target (ordinal, id)
    join "Arriving 9eba037cc14b3616" as staged on staged."Ordinal" = target.ordinal

    order by target.ordinal offset 0
) as arriving
where stored.id = arriving."Id"
returning arriving."Ordinal"
