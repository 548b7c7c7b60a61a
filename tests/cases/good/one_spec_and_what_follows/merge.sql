with upserted as (
    insert into "quotes" as stored ("org_id", "symbol", "exchange", "price", "body", "source_submission_id", "source_pipeline_run_id", "source_recorded_at")
    select staged."org_id", staged."symbol", staged."exchange", staged."price", held_0.document, staged."source_submission_id", staged."source_pipeline_run_id", staged."source_recorded_at"
    from (select * from "Arriving" where coalesce("Ordinal" between %(first)s::int and %(last)s::int, false) order by "Ordinal" offset 0) as staged
    left join lateral (select coalesce(case when (document.output #> array['response', 'content']::text[]) not in ('null', 'false', '""', '[]', '{}') then (document.output #> array['response', 'content']::text[]) end, nullif((document.output #> array['response']::text[]), 'null'::jsonb)) as document from step_results as source cross join lateral (select source.output_payload -> 'operation_result' -> 'output' as output offset 0) as document where source.id = staged."body" offset 0) as held_0 on true

    on conflict ("org_id", "symbol", "exchange") do update set
    "price" = excluded."price",
    "body" = coalesce(excluded."body", stored."body"),
    "source_submission_id" = excluded."source_submission_id",
    "source_pipeline_run_id" = excluded."source_pipeline_run_id",
    "source_recorded_at" = excluded."source_recorded_at"
where (stored.source_recorded_at is null or excluded.source_recorded_at is null or stored.source_recorded_at <= excluded.source_recorded_at)
and (stored.source_recorded_at is distinct from excluded.source_recorded_at
    or stored."source_submission_id" is distinct from excluded."source_submission_id"
    or stored."source_pipeline_run_id" is distinct from excluded."source_pipeline_run_id"
    or stored."price" is distinct from excluded."price"
    or (excluded."body" is not null and record_image_ne(row(stored."body"), row(excluded."body"))))
    returning stored."org_id", stored."symbol", stored."exchange"
)
select staged."Ordinal"
from "Arriving" as staged
join upserted on upserted."org_id" = staged."org_id"
    and upserted."symbol" = staged."symbol"
    and upserted."exchange" is not distinct from staged."exchange"
where coalesce("Ordinal" between %(first)s::int and %(last)s::int, false)
