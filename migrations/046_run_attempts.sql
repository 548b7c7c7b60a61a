-- dex: no transaction
--
-- How often a run was taken up since somebody last started it, so that one that fails its runner again and again is
-- set aside; and how often it was started, which is part of the key under which Trigger.dev takes it.

ALTER TABLE pipeline_runs
    ADD COLUMN IF NOT EXISTS claims INTEGER NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS restarts INTEGER NOT NULL DEFAULT 0;

-- Runs of Trigger.dev that nobody may be executing any more, and the queued steps of an organisation.
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_pipeline_runs_running
    ON pipeline_runs (updated_at) WHERE status = 'running' AND lease_expires_at IS NULL;
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_step_results_queued
    ON step_results (org_id) WHERE status = 'queued';
