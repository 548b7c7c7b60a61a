-- The ledger: what became of each found step result under each spec. With it the accounts close:
--     found = written + unchanged + superseded + filtered + rejected + pending
-- where pending is whatever has no entry under the spec's present digest.
--
-- The elements of a step result close as well: elements = rows + duplicates + refused. rows are the keys it has a value
-- for, also when a newer result has superseded them since. Without `rows` in the spec a result is one element, or none
-- when it is filtered. reasons: [{"code", "field", "message", "value", ...}] for what is no row.

CREATE TABLE IF NOT EXISTS step_persistence (
    step_result_id UUID NOT NULL REFERENCES step_results(id) ON DELETE CASCADE,
    spec TEXT NOT NULL,
    spec_digest TEXT NOT NULL,
    org_id UUID NOT NULL,
    outcome TEXT NOT NULL CHECK (outcome IN ('written', 'unchanged', 'superseded', 'filtered', 'rejected')),
    element_count INTEGER NOT NULL DEFAULT 0 CHECK (element_count >= 0),
    row_count INTEGER NOT NULL DEFAULT 0 CHECK (row_count >= 0),
    duplicate_count INTEGER NOT NULL DEFAULT 0 CHECK (duplicate_count >= 0),
    refused_count INTEGER NOT NULL DEFAULT 0 CHECK (refused_count >= 0),
    reasons JSONB NOT NULL DEFAULT '[]'::jsonb,
    recorded_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    PRIMARY KEY (step_result_id, spec),
    CONSTRAINT step_persistence_elements_close
        CHECK (element_count = row_count + duplicate_count + refused_count)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_vacuum_scale_factor = 0.05);

-- What coverage adds up. Few distinct values, so Postgres keeps a million of these entries in a few megabytes; adding
-- the id would undo that.
CREATE INDEX IF NOT EXISTS idx_step_persistence_outcome
    ON step_persistence (spec, spec_digest, org_id, outcome, element_count, row_count, duplicate_count, refused_count);
-- What `--rejected` takes up again.
CREATE INDEX IF NOT EXISTS idx_step_persistence_refused
    ON step_persistence (spec, org_id) WHERE refused_count > 0 OR outcome = 'rejected';

ALTER TABLE step_persistence ENABLE ROW LEVEL SECURITY;
