-- dex: no transaction
--
-- What changed, for those who follow: one entry per row that was written or removed, whoever did it. A row that is
-- written again keeps its entry and loses its number; numbers are given after commit, to entries that everybody sees, by
-- whoever reads the changes. So a number is never passed before all below it are visible, and no writer waits for
-- another: a sequence would skip what commits late, and a counter would line an organisation's writers up.
--
-- The entries are bounded by the rows there are and were. A removal keeps the id and nothing of the content.

CREATE TABLE IF NOT EXISTS row_changes (
    org_id UUID NOT NULL,
    table_name TEXT NOT NULL,
    row_id UUID NOT NULL,
    removed BOOLEAN NOT NULL DEFAULT false,
    changed_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    number BIGINT,
    PRIMARY KEY (org_id, table_name, row_id)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);

CREATE UNIQUE INDEX IF NOT EXISTS idx_row_changes_number
    ON row_changes (org_id, table_name, number) WHERE number IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_row_changes_unnumbered
    ON row_changes (org_id, table_name, changed_at, row_id) WHERE number IS NULL;

-- The last number given: it outlives the entry that had it. Whoever gives numbers locks its row first.
CREATE TABLE IF NOT EXISTS change_numbers (
    org_id UUID NOT NULL,
    table_name TEXT NOT NULL,
    last BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (org_id, table_name)
);

DO $$
DECLARE
    t TEXT;
BEGIN
    FOREACH t IN ARRAY ARRAY['row_changes', 'change_numbers'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('DROP POLICY IF EXISTS tenant ON %I', t);
        EXECUTE format(
            'CREATE POLICY tenant ON %I TO dex_tenant'
            ' USING (org_id = nullif(current_setting(''app.org_id'', true), '''')::uuid)'
            ' WITH CHECK (org_id = nullif(current_setting(''app.org_id'', true), '''')::uuid)', t);
    END LOOP;
END;
$$;
GRANT SELECT, UPDATE (number) ON row_changes TO dex_tenant;
GRANT SELECT, INSERT, UPDATE ON change_numbers TO dex_tenant;

-- The argument of the triggers is the table as the spec names it. An organisation that is being deleted takes its rows
-- along; nobody is left to follow them.
CREATE OR REPLACE FUNCTION note_changed_rows() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        UPDATE row_changes SET removed = true, number = NULL, changed_at = clock_timestamp()
        WHERE table_name = TG_ARGV[0] AND NOT removed;
    ELSIF TG_OP = 'INSERT' THEN
        INSERT INTO row_changes (org_id, table_name, row_id)
        SELECT w.org_id, TG_ARGV[0], w.id FROM new_rows w ORDER BY w.id
        ON CONFLICT (org_id, table_name, row_id)
            DO UPDATE SET removed = false, number = NULL, changed_at = excluded.changed_at;
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO row_changes (org_id, table_name, row_id, removed)
        SELECT c.org_id, TG_ARGV[0], c.id, bool_and(c.removed)  -- a row that left an organisation is removed there
        FROM (
            SELECT w.org_id, w.id, false AS removed FROM new_rows w
            UNION ALL
            SELECT o.org_id, o.id, true FROM old_rows o
        ) c
        GROUP BY c.org_id, c.id
        ORDER BY c.id
        ON CONFLICT (org_id, table_name, row_id)
            DO UPDATE SET removed = excluded.removed, number = NULL, changed_at = excluded.changed_at;
    ELSE
        INSERT INTO row_changes (org_id, table_name, row_id, removed)
        SELECT o.org_id, TG_ARGV[0], o.id, true FROM old_rows o
        WHERE EXISTS (SELECT FROM orgs WHERE orgs.id = o.org_id)
        ORDER BY o.id
        ON CONFLICT (org_id, table_name, row_id)
            DO UPDATE SET removed = true, number = NULL, changed_at = excluded.changed_at;
    END IF;
    RETURN NULL;
END;
$$;

-- After the triggers of the foreign keys, whose names begin with `RI_`: they have removed the rows by then.
CREATE OR REPLACE FUNCTION forget_changes_of_org() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    DELETE FROM row_changes WHERE org_id = OLD.id;
    DELETE FROM change_numbers WHERE org_id = OLD.id;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE TRIGGER forget_changes_of_org
    AFTER DELETE ON orgs
    FOR EACH ROW EXECUTE FUNCTION forget_changes_of_org();

-- Make the triggers of one table. What it has already is noted apart, here in parts and by follow_changes at once.
CREATE OR REPLACE FUNCTION note_changes_of(target TEXT) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    relation CONSTANT regclass := target::regclass;
    word TEXT;
BEGIN
    FOREACH word IN ARRAY ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE'] LOOP
        EXECUTE format(
            'CREATE OR REPLACE TRIGGER %I AFTER %s ON %s %s FOR EACH STATEMENT EXECUTE FUNCTION note_changed_rows(%L)',
            'note_changes_' || lower(word), word, relation,
            CASE word WHEN 'INSERT' THEN 'REFERENCING NEW TABLE AS new_rows'
                      WHEN 'UPDATE' THEN 'REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows'
                      WHEN 'DELETE' THEN 'REFERENCING OLD TABLE AS old_rows' ELSE '' END,
            target);
    END LOOP;
END;
$$;

-- Make the triggers of one table, and the entries of the rows it has already. Drafted migrations call it.
CREATE OR REPLACE FUNCTION follow_changes(target TEXT) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM note_changes_of(target);
    EXECUTE format(
        'INSERT INTO row_changes (org_id, table_name, row_id, changed_at) SELECT org_id, %L, id, updated_at FROM %s'
        ' ON CONFLICT DO NOTHING', target, target::regclass);
END;
$$;

SELECT pin_search_path('note_changed_rows()'), pin_search_path('forget_changes_of_org()');

SELECT note_changes_of('icp_job_titles');
SELECT note_changes_of('company_intel_briefings');
SELECT note_changes_of('person_intel_briefings');

-- The rows from before, some thousand at a time.
DO $$
DECLARE
    target TEXT;
    after UUID;
    last UUID;
    told TIMESTAMPTZ := clock_timestamp();
BEGIN
    FOREACH target IN ARRAY ARRAY['icp_job_titles', 'company_intel_briefings', 'person_intel_briefings'] LOOP
        after := '00000000-0000-0000-0000-000000000000';
        LOOP
            EXECUTE format(
                'WITH part AS (SELECT org_id, id, updated_at FROM %s WHERE id > $2 ORDER BY id LIMIT 2000),'
                ' noted AS (INSERT INTO row_changes (org_id, table_name, row_id, changed_at)'
                ' SELECT org_id, $1, id, updated_at FROM part ON CONFLICT DO NOTHING)'
                ' SELECT max(id::text)::uuid FROM part', target::regclass)
            INTO last USING target, after;
            COMMIT;
            EXIT WHEN last IS NULL;
            after := last;
            IF clock_timestamp() > told + interval '5 seconds' THEN
                told := clock_timestamp();
                RAISE INFO '%: changes noted up to row %', target, after;
            END IF;
        END LOOP;
    END LOOP;
END;
$$;
