-- What finding needs, as columns: which operation a step result belongs to, what it said, when it was recorded. Found
-- through an index instead of by reading every document.
--
-- Any JSON is tolerated (an array, a string, an operation_id that is itself an object): what is not there is NULL, and
-- an absurdly long word is cut, since an index entry has a limit and paid research must never be refused for its shape.
--
-- recorded_at is written once, with the times it is made of: rows are folded in the order of (recorded_at, id), so an
-- edit of anything else must not move a step result. A time of its writer's that lies more than five minutes ahead would
-- win over all that comes after it; the clock of its arrival stands in for it, and stays.
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
    ADD COLUMN IF NOT EXISTS recorded_at TIMESTAMPTZ;

CREATE OR REPLACE FUNCTION choose_recorded_at(finished TIMESTAMPTZ, created TIMESTAMPTZ) RETURNS timestamptz
LANGUAGE sql VOLATILE AS $$
    SELECT CASE WHEN chosen > clock_timestamp() + interval '5 minutes' THEN clock_timestamp() ELSE chosen END
    FROM (SELECT coalesce(finished, created, clock_timestamp()) AS chosen) AS times
$$;

CREATE OR REPLACE FUNCTION record_step_time() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.recorded_at = choose_recorded_at(NEW.finished_at, NEW.created_at);
    RETURN NEW;
END;
$$;

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION record_step_time() SET search_path = %I, pg_temp', current_schema());
END;
$$;

UPDATE step_results SET recorded_at = choose_recorded_at(finished_at, created_at) WHERE recorded_at IS NULL;
ALTER TABLE step_results ALTER COLUMN recorded_at SET NOT NULL;

DROP TRIGGER IF EXISTS record_step_time ON step_results;
CREATE TRIGGER record_step_time
    BEFORE INSERT ON step_results
    FOR EACH ROW EXECUTE FUNCTION record_step_time();

DROP TRIGGER IF EXISTS record_changed_step_time ON step_results;
CREATE TRIGGER record_changed_step_time
    BEFORE UPDATE OF finished_at, created_at ON step_results
    FOR EACH ROW
    WHEN (OLD.finished_at IS DISTINCT FROM NEW.finished_at OR OLD.created_at IS DISTINCT FROM NEW.created_at)
    EXECUTE FUNCTION record_step_time();

CREATE INDEX IF NOT EXISTS idx_step_results_found_recorded
    ON step_results (operation_id, recorded_at, id)
    WHERE status = 'succeeded' AND result_status = 'found';
CREATE INDEX IF NOT EXISTS idx_step_results_found_org
    ON step_results (operation_id, org_id, recorded_at, id)
    WHERE status = 'succeeded' AND result_status = 'found';

ALTER TABLE step_results SET (
    autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_vacuum_scale_factor = 0.05
);
