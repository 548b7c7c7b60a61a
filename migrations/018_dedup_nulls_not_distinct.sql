-- dex: no transaction
--
-- The keys of 016 end in nullable columns, and NULL conflicts with nothing: the same research upserted twice made two
-- rows. Same indexes, same names, NULLS NOT DISTINCT.
--
-- Where rows collide already, only a person can say which of them is right: the migration stops, lists them, and
-- changes nothing. The new indexes are built beside the old ones; a pair that slips in meanwhile fails the build, and the
-- next attempt lists it.

DO $$
DECLARE
    shown CONSTANT INTEGER := 50;
    total INTEGER;
    listed TEXT;
BEGIN
    WITH collision AS (
        SELECT 'company_intel_briefings' AS table_name, count(*) AS rows_found,
               jsonb_build_object('org_id', org_id, 'company_domain', company_domain,
                                  'client_company_name', client_company_name) AS key
        FROM company_intel_briefings
        GROUP BY org_id, company_domain, client_company_name
        HAVING count(*) > 1
        UNION ALL
        SELECT 'person_intel_briefings', count(*),
               jsonb_build_object('org_id', org_id, 'person_full_name', person_full_name,
                                  'person_current_company_name', person_current_company_name,
                                  'client_company_name', client_company_name)
        FROM person_intel_briefings
        GROUP BY org_id, person_full_name, person_current_company_name, client_company_name
        HAVING count(*) > 1
    ), numbered AS (
        SELECT *, row_number() OVER (ORDER BY table_name, key) AS place FROM collision
    )
    SELECT count(*),
           string_agg(format('  %s: %s rows with %s', table_name, rows_found, key), E'\n' ORDER BY place)
               FILTER (WHERE place <= shown)
    INTO total, listed
    FROM numbered;

    IF total > 0 THEN
        RAISE EXCEPTION E'% keys are held by more than one row, so they cannot be made unique:\n%',
            total, listed || CASE WHEN total > shown THEN format(E'\n  and %s more', total - shown) ELSE '' END
            USING ERRCODE = 'unique_violation',
                  HINT = 'keep one row per key (usually the newest), delete or rename the others, then migrate again;'
                      || ' nothing was changed';
    END IF;
END;
$$;

DROP INDEX CONCURRENTLY IF EXISTS idx_company_intel_briefings_dedup_next;
CREATE UNIQUE INDEX CONCURRENTLY idx_company_intel_briefings_dedup_next
    ON company_intel_briefings(org_id, company_domain, client_company_name) NULLS NOT DISTINCT;
BEGIN;
DROP INDEX IF EXISTS idx_company_intel_briefings_dedup;
ALTER INDEX idx_company_intel_briefings_dedup_next RENAME TO idx_company_intel_briefings_dedup;
COMMIT;

DROP INDEX CONCURRENTLY IF EXISTS idx_person_intel_briefings_dedup_next;
CREATE UNIQUE INDEX CONCURRENTLY idx_person_intel_briefings_dedup_next
    ON person_intel_briefings(org_id, person_full_name, person_current_company_name, client_company_name)
    NULLS NOT DISTINCT;
BEGIN;
DROP INDEX IF EXISTS idx_person_intel_briefings_dedup;
ALTER INDEX idx_person_intel_briefings_dedup_next RENAME TO idx_person_intel_briefings_dedup;
COMMIT;
