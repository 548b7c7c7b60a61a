-- `dex rebuild` fills a new table under a temporary spec, and lets the spec have the ledger and the lineage of that one
-- when the tables are swapped. A change of a step result that waits for an entry meanwhile has to find it under its new
-- name, and a ledger entry of another version than the present one has to leave its step result pending.

-- As in 027, but the lineage is deleted before it is queued: a deletion that waited sees the entry as it is by then, a
-- query before it would queue the entry as it was.
CREATE OR REPLACE FUNCTION queue_rows_of_step(step UUID, remove_empty BOOLEAN) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    WITH gone AS (
        DELETE FROM row_lineage WHERE step_result_id = step RETURNING org_id, spec, unit, row_id, parent
    )
    INSERT INTO stale_rows AS known (org_id, spec, unit, row_id, parent, remove_when_empty)
    SELECT org_id, spec, unit, row_id, parent, remove_empty FROM gone
    ORDER BY org_id, spec, unit
    ON CONFLICT (org_id, spec, unit) DO UPDATE SET
        row_id = coalesce(excluded.row_id, known.row_id), parent = coalesce(excluded.parent, known.parent),
        remove_when_empty = excluded.remove_when_empty, revision = excluded.revision;
END;
$$;

-- As in 028, and a process with an older version cannot take a step result out of the queue by recording it again: that
-- process read the present version before another one was registered.
CREATE OR REPLACE FUNCTION unqueue_recorded_steps() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('dex queue step results', 0));
    DELETE FROM pending_results AS pending
    USING recorded JOIN present_versions AS present
        ON present.spec = recorded.spec AND present.digest = recorded.spec_digest
    WHERE pending.step_result_id = recorded.step_result_id AND pending.spec = recorded.spec;
    INSERT INTO pending_results (step_result_id, spec, org_id)
    SELECT step.id, present.spec, step.org_id
    FROM recorded
    JOIN present_versions AS present ON present.spec = recorded.spec AND present.digest <> recorded.spec_digest
    JOIN step_results AS step ON step.id = recorded.step_result_id
    WHERE step.status = 'succeeded' AND step.result_status = 'found' AND step.operation_id = ANY(present.operations)
    ON CONFLICT (step_result_id, spec) DO NOTHING;
    RETURN NULL;
END;
$$;

SELECT pin_search_path('queue_rows_of_step(uuid, boolean)'), pin_search_path('unqueue_recorded_steps()');
