-- dex: no transaction
--
-- What finding needs, as columns: which operation a step result belongs to, what it said, when it was recorded. Found
-- through an index instead of by reading every document. A trigger writes them and not a generated column: adding one
-- would write the table anew, with everybody waiting.
--
-- Any JSON is tolerated (an array, a string, an operation_id that is itself an object): what is not there is NULL, and
-- an absurdly long word is cut, since an index entry has a limit and paid research must never be refused for its shape.
--
-- recorded_at is written once, with the times it is made of: rows are folded in the order of (recorded_at, id), so an
-- edit of anything else must not move a step result. A time of its writer's that lies more than five minutes ahead would
-- win over all that comes after it; the clock of its arrival stands in for it, and stays. NULL: not filled yet.
--
-- Found means status = 'succeeded' and result_status = 'found': the condition of both indexes, so a query spells it the
-- same way. The first gives a backfill its order, the second counts, and gives one organisation its order. They are read
-- without touching the table as long as it is vacuumed, hence a vacuum after every twentieth part inserted, not after
-- every fifth.

-- Let a function find its tables in the schemas of the search path that it is made with, whoever calls it: the tables may
-- lie in several, and a caller who could put one of its own in front would have it used.
CREATE OR REPLACE FUNCTION pin_search_path(target REGPROCEDURE) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'ALTER FUNCTION %s SET search_path = %s, pg_temp', target,
        (SELECT string_agg(quote_ident(name), ', ' ORDER BY place)
         FROM unnest(current_schemas(false)) WITH ORDINALITY AS schemas (name, place)));
END;
$$;
REVOKE EXECUTE ON FUNCTION pin_search_path(REGPROCEDURE) FROM PUBLIC;

ALTER TABLE step_results
    ADD COLUMN IF NOT EXISTS operation_id TEXT,
    ADD COLUMN IF NOT EXISTS result_status TEXT,
    ADD COLUMN IF NOT EXISTS recorded_at TIMESTAMPTZ;

CREATE OR REPLACE FUNCTION choose_recorded_at(finished TIMESTAMPTZ, created TIMESTAMPTZ) RETURNS timestamptz
LANGUAGE sql VOLATILE AS $$
    SELECT CASE WHEN chosen > clock_timestamp() + interval '5 minutes' THEN clock_timestamp() ELSE chosen END
    FROM (SELECT coalesce(finished, created, clock_timestamp()) AS chosen) AS times
$$;

CREATE OR REPLACE FUNCTION describe_step() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.operation_id = left(NEW.output_payload -> 'operation_result' ->> 'operation_id', 200);
    NEW.result_status = left(NEW.output_payload -> 'operation_result' ->> 'status', 200);
    IF TG_OP = 'INSERT' OR OLD.recorded_at IS NULL OR OLD.finished_at IS DISTINCT FROM NEW.finished_at
            OR OLD.created_at IS DISTINCT FROM NEW.created_at THEN
        NEW.recorded_at = choose_recorded_at(NEW.finished_at, NEW.created_at);
    END IF;
    RETURN NEW;
END;
$$;
SELECT pin_search_path('describe_step()');

CREATE OR REPLACE TRIGGER describe_step
    BEFORE INSERT OR UPDATE OF output_payload, operation_id, result_status, finished_at, created_at ON step_results
    FOR EACH ROW EXECUTE FUNCTION describe_step();

-- Filling is no edit: it leaves updated_at as it is. Behind update_step_results_updated_at, by its name.
CREATE OR REPLACE FUNCTION keep_updated_at() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at = OLD.updated_at;
    RETURN NEW;
END;
$$;
CREATE OR REPLACE TRIGGER zz_keep_updated_at
    BEFORE UPDATE ON step_results
    FOR EACH ROW WHEN (current_setting('dex.fill', true) = 'on')
    EXECUTE FUNCTION keep_updated_at();

-- The fill: some pages of the table at a time, each in a transaction of its own that takes about a tenth of a second. What
-- somebody holds is left to the next round, so that nobody waits for more than such a part.
DO $$
DECLARE
    first BIGINT;
    pages BIGINT := 8;
    total BIGINT;
    to_fill BIGINT := pg_relation_size('step_results') / current_setting('block_size')::bigint;
    begun TIMESTAMPTZ;
    told TIMESTAMPTZ := clock_timestamp();
BEGIN
    LOOP
        EXIT WHEN NOT EXISTS (SELECT FROM step_results WHERE recorded_at IS NULL);
        first := 0;
        LOOP
            total := pg_relation_size('step_results') / current_setting('block_size')::bigint;
            EXIT WHEN first >= total;
            begun := clock_timestamp();
            PERFORM set_config('dex.fill', 'on', true);
            UPDATE step_results SET created_at = created_at
            WHERE ctid = ANY(ARRAY(
                SELECT ctid FROM step_results
                WHERE ctid >= format('(%s,0)', first)::tid AND ctid < format('(%s,0)', first + pages)::tid
                    AND recorded_at IS NULL
                FOR NO KEY UPDATE SKIP LOCKED
            ));
            COMMIT;
            first := first + pages;
            pages := least(greatest(
                pages * 0.1 / greatest(extract(epoch FROM clock_timestamp() - begun), 0.01), 1), pages * 2, 1000);
            IF clock_timestamp() > told + interval '5 seconds' THEN
                told := clock_timestamp();
                RAISE INFO 'step_results: % of % pages are filled', least(first, to_fill), to_fill;
            END IF;
        END LOOP;
        PERFORM pg_sleep(0.1);
        COMMIT;
    END LOOP;
END;
$$;

DROP TRIGGER zz_keep_updated_at ON step_results;
DROP FUNCTION keep_updated_at();

-- NOT NULL without reading the table under its lock: the condition is validated beside everybody, and then known.
ALTER TABLE step_results
    DROP CONSTRAINT IF EXISTS step_results_recorded,
    ADD CONSTRAINT step_results_recorded CHECK (recorded_at IS NOT NULL) NOT VALID;
ALTER TABLE step_results VALIDATE CONSTRAINT step_results_recorded;
ALTER TABLE step_results ALTER COLUMN recorded_at SET NOT NULL;
ALTER TABLE step_results DROP CONSTRAINT step_results_recorded;

CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_step_results_found_recorded
    ON step_results (operation_id, recorded_at, id)
    WHERE status = 'succeeded' AND result_status = 'found';
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_step_results_found_org
    ON step_results (operation_id, org_id, recorded_at, id)
    WHERE status = 'succeeded' AND result_status = 'found';

ALTER TABLE step_results SET (
    autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_vacuum_scale_factor = 0.05
);
