-- dex: no transaction
--
-- The runs of an organisation, newest first, whatever it has.

CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_pipeline_runs_newest ON pipeline_runs (org_id, created_at DESC, id DESC);
