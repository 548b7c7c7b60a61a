-- The ledger: what became of each found step result under each spec. With it the accounts close:
--     found = written + unchanged + superseded + filtered + rejected + pending
-- where pending is whatever has no entry under the spec's present digest.
--
-- element_count and row_count: how many elements went in and how many rows came out (one each, unless the spec has
-- `rows`). reasons: [{"code", "field", "message", "value", ...}] for what was filtered or rejected.

CREATE TABLE IF NOT EXISTS step_persistence (
    step_result_id UUID NOT NULL REFERENCES step_results(id) ON DELETE CASCADE,
    spec TEXT NOT NULL,
    spec_digest TEXT NOT NULL,
    org_id UUID NOT NULL,
    outcome TEXT NOT NULL CHECK (outcome IN ('written', 'unchanged', 'superseded', 'filtered', 'rejected')),
    element_count INTEGER NOT NULL DEFAULT 1 CHECK (element_count >= 0),
    row_count INTEGER NOT NULL DEFAULT 0 CHECK (row_count >= 0),
    reasons JSONB NOT NULL DEFAULT '[]'::jsonb,
    recorded_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    PRIMARY KEY (step_result_id, spec)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_vacuum_scale_factor = 0.05);

-- Few distinct values, so Postgres keeps a million of these entries in a few megabytes; adding the id would undo that.
CREATE INDEX IF NOT EXISTS idx_step_persistence_outcome
    ON step_persistence (spec, spec_digest, org_id, outcome);

ALTER TABLE step_persistence ENABLE ROW LEVEL SECURITY;

-- A step result that says something else now, or belongs to another organisation, is pending again. record_image_ne
-- compares the stored bytes: `<>` on jsonb takes 1.10 and 1.1 for the same, and would leave the row with a number its
-- source no longer has.
CREATE OR REPLACE FUNCTION forget_step_persistence() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    DELETE FROM step_persistence WHERE step_result_id = NEW.id;
    RETURN NULL;
END;
$$;

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION forget_step_persistence() SET search_path = %I, pg_temp', current_schema());
END;
$$;

DROP TRIGGER IF EXISTS forget_step_persistence ON step_results;
CREATE TRIGGER forget_step_persistence
    AFTER UPDATE OF status, output_payload, org_id, pipeline_run_id ON step_results
    FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status
          OR OLD.org_id IS DISTINCT FROM NEW.org_id
          OR OLD.pipeline_run_id IS DISTINCT FROM NEW.pipeline_run_id
          OR record_image_ne(ROW(OLD.output_payload), ROW(NEW.output_payload)))
    EXECUTE FUNCTION forget_step_persistence();
