-- dex: no transaction
--
-- Which step result is the newest that a row is made of, and when it was recorded. There is no foreign key to
-- step_results: when one is deleted, its rows are folded anew first (027), and what it alone made stays. NULL in
-- source_recorded_at (a row older than this column) gives way to any source.
--
-- The source indexes are for the foreign keys: without them, deleting one run reads each of these tables in full.

ALTER TABLE icp_job_titles
    ADD COLUMN IF NOT EXISTS source_step_result_id UUID,
    ADD COLUMN IF NOT EXISTS source_recorded_at TIMESTAMPTZ;
ALTER TABLE company_intel_briefings
    ADD COLUMN IF NOT EXISTS source_step_result_id UUID,
    ADD COLUMN IF NOT EXISTS source_recorded_at TIMESTAMPTZ;
ALTER TABLE person_intel_briefings
    ADD COLUMN IF NOT EXISTS source_step_result_id UUID,
    ADD COLUMN IF NOT EXISTS source_recorded_at TIMESTAMPTZ;

CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_icp_job_titles_source_run ON icp_job_titles(source_pipeline_run_id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_icp_job_titles_source_submission ON icp_job_titles(source_submission_id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_company_intel_briefings_source_run ON company_intel_briefings(source_pipeline_run_id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_company_intel_briefings_source_submission
    ON company_intel_briefings(source_submission_id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_person_intel_briefings_source_run ON person_intel_briefings(source_pipeline_run_id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_person_intel_briefings_source_submission
    ON person_intel_briefings(source_submission_id);
