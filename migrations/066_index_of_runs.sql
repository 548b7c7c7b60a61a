-- dex: no transaction
--
-- idx_pipeline_runs_newest (060) begins with the organisation as well and serves the same questions; this one only costs
-- whoever writes.

DROP INDEX CONCURRENTLY IF EXISTS idx_pipeline_runs_org;
