select staged."Ordinal", stored.id::text, stored.id is not null and exists (select from (select staged."org_id" as "org_id", staged."symbol" as "symbol", staged."exchange" as "exchange", staged."price" as "price", (select document from (select coalesce(case when (document.output #> array['response', 'content']::text[]) not in ('null', 'false', '""', '[]', '{}') then (document.output #> array['response', 'content']::text[]) end, nullif((document.output #> array['response']::text[]), 'null'::jsonb)) as document from step_results as source cross join lateral (select source.output_payload -> 'operation_result' -> 'output' as output offset 0) as document where source.id = staged."body" offset 0) as copied) as "body", staged."source_submission_id" as "source_submission_id", staged."source_pipeline_run_id" as "source_pipeline_run_id", staged."source_step_result_id" as "source_step_result_id", staged."source_recorded_at" as "source_recorded_at" offset 0) as late where stored."source_submission_id" is distinct from late."source_submission_id"
    or stored."source_pipeline_run_id" is distinct from late."source_pipeline_run_id"
    or stored."source_step_result_id" is distinct from late."source_step_result_id"
    or stored."source_recorded_at" is distinct from late."source_recorded_at"
    or (stored."price" is distinct from late."price" or scale(stored."price") is distinct from scale(late."price"))
    or record_image_ne(row(stored."body"), row(late."body")))
from "Arriving 000804c493bacd40" as staged
left join lateral (
        select * from "quotes" as stored where stored."org_id" = staged."org_id" and stored."symbol" = staged."symbol" and stored."exchange" = staged."exchange"
        union all select * from "quotes" as stored where stored."org_id" = staged."org_id" and stored."symbol" = staged."symbol" and staged."exchange" is null and stored."exchange" is null
        limit 1
) as stored on true
where staged."Ordinal" = any(%(ordinals)s::int[])


with inserted as (
    insert into "quotes" as stored (id, "org_id", "symbol", "exchange", "price", "body", "source_submission_id", "source_pipeline_run_id", "source_step_result_id", "source_recorded_at")
    select staged."Id", staged."org_id", staged."symbol", staged."exchange", staged."price", copied_0.document, staged."source_submission_id", staged."source_pipeline_run_id", staged."source_step_result_id", staged."source_recorded_at"
    from (
        select * from "Arriving 000804c493bacd40"
        where "Ordinal" = any(%(ordinals)s::int[]) order by "Ordinal" offset 0
    ) as staged
    left join lateral (select coalesce(case when (document.output #> array['response', 'content']::text[]) not in ('null', 'false', '""', '[]', '{}') then (document.output #> array['response', 'content']::text[]) end, nullif((document.output #> array['response']::text[]), 'null'::jsonb)) as document from step_results as source cross join lateral (select source.output_payload -> 'operation_result' -> 'output' as output offset 0) as document where source.id = staged."body" offset 0) as copied_0 on true
    on conflict ("org_id", "symbol", "exchange") do nothing
    returning id, stored."org_id", stored."symbol", stored."exchange"
)
select staged."Ordinal", inserted.id::text, inserted."org_id" is not distinct from staged."org_id" and inserted."symbol" is not distinct from staged."symbol" and inserted."exchange" is not distinct from staged."exchange"
from "Arriving 000804c493bacd40" as staged
join inserted on inserted.id = staged."Id"


update "quotes" as stored set
    "price" = arriving."price",
    "body" = arriving."body",
    "source_submission_id" = arriving."source_submission_id",
    "source_pipeline_run_id" = arriving."source_pipeline_run_id",
    "source_step_result_id" = arriving."source_step_result_id",
    "source_recorded_at" = arriving."source_recorded_at"
from (
    select target.ordinal as "Ordinal", target.id as "Id", staged."price" as "price", copied_0.document as "body", staged."source_submission_id" as "source_submission_id", staged."source_pipeline_run_id" as "source_pipeline_run_id", staged."source_step_result_id" as "source_step_result_id", staged."source_recorded_at" as "source_recorded_at"
    from unnest(%(ordinals)s::int[], %(ids)s::uuid[]) as target (ordinal, id)
    join "Arriving 000804c493bacd40" as staged on staged."Ordinal" = target.ordinal
    left join lateral (select coalesce(case when (document.output #> array['response', 'content']::text[]) not in ('null', 'false', '""', '[]', '{}') then (document.output #> array['response', 'content']::text[]) end, nullif((document.output #> array['response']::text[]), 'null'::jsonb)) as document from step_results as source cross join lateral (select source.output_payload -> 'operation_result' -> 'output' as output offset 0) as document where source.id = staged."body" offset 0) as copied_0 on true
    order by target.ordinal offset 0
) as arriving
where stored.id = arriving."Id"
returning arriving."Ordinal"
