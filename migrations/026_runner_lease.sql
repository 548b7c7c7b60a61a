-- dex: no transaction
--
-- What a runner needs to be killed at any moment without losing or buying anything twice.
--
-- The provider's run id is kept on the step before anything else can fail, so a restarted run resumes that research.
-- provider_requested_at is set first of all: set without a run id, it says that a request may have been paid and its
-- answer lost.
--
-- A local runner holds a run by a lease. Runs executed by Trigger.dev have none: their lease_expires_at stays NULL, and
-- no local runner takes them over.

ALTER TABLE step_results
    ADD COLUMN IF NOT EXISTS provider_run_id TEXT,
    ADD COLUMN IF NOT EXISTS provider_requested_at TIMESTAMPTZ;

ALTER TABLE pipeline_runs
    ADD COLUMN IF NOT EXISTS lease_token UUID,
    ADD COLUMN IF NOT EXISTS lease_expires_at TIMESTAMPTZ;

CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_pipeline_runs_queued
    ON pipeline_runs (created_at, id) WHERE status = 'queued' AND runner = 'local';
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_pipeline_runs_leased
    ON pipeline_runs (lease_expires_at) WHERE status = 'running' AND lease_expires_at IS NOT NULL;
