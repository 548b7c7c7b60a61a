-- dex: no transaction
--
-- An earlier system asks for values that the engine does not have, such as the blueprint of a submission. Whoever inserts
-- needs no more than what 001 and 002 ask for; every other column of these tables may be left out.

DO $$
DECLARE
    place RECORD;
BEGIN
    FOR place IN
        SELECT relation.name AS relation, a.attname AS name
        FROM (VALUES
            ('orgs', ARRAY['id', 'name', 'slug']),
            ('submissions', ARRAY['id', 'org_id', 'status']),
            ('pipeline_runs', ARRAY['id', 'org_id', 'submission_id', 'status']),
            ('step_results', ARRAY['id', 'org_id', 'submission_id', 'pipeline_run_id', 'step_position', 'status']),
            ('api_tokens', ARRAY['id', 'org_id', 'name', 'token_hash', 'role'])
        ) AS relation (name, asked)
        JOIN pg_attribute AS a ON a.attrelid = relation.name::regclass AND a.attnum > 0 AND NOT a.attisdropped
        LEFT JOIN pg_attrdef AS d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
        WHERE a.attnotnull AND d.oid IS NULL AND a.attidentity = '' AND a.attname <> ALL(relation.asked)
    LOOP
        EXECUTE format('ALTER TABLE %I ALTER COLUMN %I DROP NOT NULL', place.relation, place.name);
    END LOOP;
END;
$$;
