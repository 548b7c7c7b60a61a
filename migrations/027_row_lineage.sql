-- A row is a fold of what its step results say. Here is which ones they are, which rows have to be folded anew, and which
-- version of each spec is the present one.
--
-- unit: what is folded as one, a hash (made by engine/rows/units.py alone) of spec, organisation and conflict key; under
-- `on_absent: delete` of the parent key, since there a result speaks for all rows of its parent, and with `[]` for none.
-- row_id: where the row of the unit stands, to find it when nothing contributes to it any more. parent: the same for the
-- rows of a parent, as {"column": value}. refused: the database refused it, so it does not count until the unit is
-- folded again.
--
-- There are no foreign keys. A cascade would remove lineage before anybody knows which rows it was about; the triggers
-- below move it to stale_rows instead.

CREATE TABLE IF NOT EXISTS row_lineage (
    org_id UUID NOT NULL,
    unit UUID NOT NULL,
    step_result_id UUID NOT NULL,
    spec TEXT NOT NULL,
    row_id UUID,
    parent JSONB,
    refused BOOLEAN NOT NULL DEFAULT FALSE,
    PRIMARY KEY (org_id, unit, step_result_id)
);
CREATE INDEX IF NOT EXISTS idx_row_lineage_step ON row_lineage (step_result_id);

-- Units to fold anew. Whoever folds one deletes its entry, at the revision that was read: what was queued meanwhile
-- stays. remove_when_empty: whether the row goes when nothing contributes to it any more (its source was corrected or
-- moved) or stays as it stands (its source was deleted).
CREATE SEQUENCE IF NOT EXISTS stale_rows_revision;
CREATE TABLE IF NOT EXISTS stale_rows (
    org_id UUID NOT NULL,
    spec TEXT NOT NULL,
    unit UUID NOT NULL,
    row_id UUID,
    parent JSONB,
    remove_when_empty BOOLEAN NOT NULL,
    revision BIGINT NOT NULL DEFAULT nextval('stale_rows_revision'),
    PRIMARY KEY (org_id, spec, unit)
);
CREATE INDEX IF NOT EXISTS idx_stale_rows_spec ON stale_rows (spec, org_id, unit);

-- The version of a spec with the highest number is the present one. A process with another one leaves its work pending:
-- two versions that each took the other's rows for stale would fold history anew in turns for ever.
-- table_state: a hash of what in the table can refuse a row, as it was at the last backfill. When it has changed, what was
-- refused is tried again.
CREATE TABLE IF NOT EXISTS spec_versions (
    spec TEXT NOT NULL,
    digest TEXT NOT NULL,
    number INTEGER NOT NULL,
    operations TEXT[] NOT NULL,
    table_state TEXT,
    registered_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    PRIMARY KEY (spec, digest),
    UNIQUE (spec, number)
);

ALTER TABLE row_lineage ENABLE ROW LEVEL SECURITY;
ALTER TABLE stale_rows ENABLE ROW LEVEL SECURITY;
ALTER TABLE spec_versions ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON row_lineage, stale_rows TO dex_tenant;
GRANT USAGE ON SEQUENCE stale_rows_revision TO dex_tenant;

DO $$
DECLARE
    t TEXT;
BEGIN
    FOREACH t IN ARRAY ARRAY['row_lineage', 'stale_rows'] LOOP
        EXECUTE format('DROP POLICY IF EXISTS tenant ON %I', t);
        EXECUTE format(
            'CREATE POLICY tenant ON %I TO dex_tenant'
            ' USING (org_id = nullif(current_setting(''app.org_id'', true), '''')::uuid)'
            ' WITH CHECK (org_id = nullif(current_setting(''app.org_id'', true), '''')::uuid)', t);
    END LOOP;
END;
$$;

-- Move the lineage of a step result to stale_rows, under the organisation it was recorded with. The last that happened
-- to a unit decides whether its row goes when it is empty.
CREATE OR REPLACE FUNCTION queue_rows_of_step(step UUID, remove_empty BOOLEAN) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO stale_rows AS known (org_id, spec, unit, row_id, parent, remove_when_empty)
    SELECT org_id, spec, unit, row_id, parent, remove_empty
    FROM row_lineage WHERE step_result_id = step
    ORDER BY org_id, spec, unit
    ON CONFLICT (org_id, spec, unit) DO UPDATE SET
        row_id = coalesce(excluded.row_id, known.row_id), parent = coalesce(excluded.parent, known.parent),
        remove_when_empty = excluded.remove_when_empty, revision = excluded.revision;
    DELETE FROM row_lineage WHERE step_result_id = step;
END;
$$;

-- A step result that says something else now, or belongs elsewhere, is pending again and takes its traces with it.
CREATE OR REPLACE FUNCTION forget_changed_step() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    PERFORM queue_rows_of_step(OLD.id, TRUE);
    DELETE FROM step_persistence WHERE step_result_id = OLD.id;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE FUNCTION forget_deleted_step() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    PERFORM queue_rows_of_step(OLD.id, FALSE);
    RETURN OLD;
END;
$$;

SELECT pin_search_path(f)
FROM unnest(ARRAY['queue_rows_of_step(uuid, boolean)', 'forget_changed_step()', 'forget_deleted_step()']::regprocedure[]) f;
REVOKE EXECUTE ON FUNCTION queue_rows_of_step(UUID, BOOLEAN) FROM PUBLIC;

-- record_image_ne compares the stored bytes: `<>` on jsonb takes 1.10 and 1.1 for the same, and would leave the row with
-- a number its source no longer has.
DROP TRIGGER IF EXISTS forget_changed_step ON step_results;
CREATE TRIGGER forget_changed_step
    AFTER UPDATE OF status, output_payload, input_payload, org_id, company_id, submission_id, pipeline_run_id,
        step_position, finished_at, created_at, recorded_at
    ON step_results
    FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status
          OR OLD.org_id IS DISTINCT FROM NEW.org_id
          OR OLD.company_id IS DISTINCT FROM NEW.company_id
          OR OLD.submission_id IS DISTINCT FROM NEW.submission_id
          OR OLD.pipeline_run_id IS DISTINCT FROM NEW.pipeline_run_id
          OR OLD.step_position IS DISTINCT FROM NEW.step_position
          OR OLD.recorded_at IS DISTINCT FROM NEW.recorded_at
          OR record_image_ne(ROW(OLD.output_payload), ROW(NEW.output_payload))
          OR record_image_ne(ROW(OLD.input_payload), ROW(NEW.input_payload)))
    EXECUTE FUNCTION forget_changed_step();

DROP TRIGGER IF EXISTS forget_deleted_step ON step_results;
CREATE TRIGGER forget_deleted_step
    BEFORE DELETE ON step_results
    FOR EACH ROW EXECUTE FUNCTION forget_deleted_step();
