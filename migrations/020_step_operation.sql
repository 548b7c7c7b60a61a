-- What finding needs, as columns: which operation a step result belongs to, what it said, when it was recorded. Found
-- through an index instead of by reading every document.
--
-- Any JSON is tolerated (an array, a string, an operation_id that is itself an object): what is not there is NULL, and
-- an absurdly long word is cut, since an index entry has a limit and paid research must never be refused for its shape.
--
-- Found means status = 'succeeded' and result_status = 'found': the condition of both indexes, so a query spells it the
-- same way. The first gives a backfill its order. The second counts: few distinct values, so a million entries are a
-- few megabytes, read without touching the table as long as it is vacuumed. Hence a vacuum after every twentieth part
-- inserted, not after every fifth.

ALTER TABLE step_results
    ADD COLUMN IF NOT EXISTS operation_id TEXT
        GENERATED ALWAYS AS (left(output_payload -> 'operation_result' ->> 'operation_id', 200)) STORED,
    ADD COLUMN IF NOT EXISTS result_status TEXT
        GENERATED ALWAYS AS (left(output_payload -> 'operation_result' ->> 'status', 200)) STORED,
    ADD COLUMN IF NOT EXISTS recorded_at TIMESTAMPTZ
        GENERATED ALWAYS AS (coalesce(finished_at, updated_at, created_at)) STORED;

CREATE INDEX IF NOT EXISTS idx_step_results_found_recorded
    ON step_results (operation_id, recorded_at, id)
    WHERE status = 'succeeded' AND result_status = 'found';
CREATE INDEX IF NOT EXISTS idx_step_results_found_org
    ON step_results (operation_id, org_id)
    WHERE status = 'succeeded' AND result_status = 'found';

ALTER TABLE step_results SET (
    autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_vacuum_scale_factor = 0.05
);
