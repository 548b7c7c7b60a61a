-- dex: no transaction
--
-- A query may order rows by the columns that say where they come from. No index is in these orders, so the rows of the
-- organisation are sorted; the index of `updated_at` stores the four columns too, so that they are read from it alone
-- and not from as many pages of the table. The indexes it replaces only cost whoever writes.

CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_icp_job_titles_changed_with_source
    ON icp_job_titles (org_id, updated_at DESC, id DESC)
    INCLUDE (source_submission_id, source_pipeline_run_id, source_step_result_id, source_recorded_at);
DROP INDEX CONCURRENTLY IF EXISTS idx_icp_job_titles_changed;

CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_company_intel_briefings_changed_with_source
    ON company_intel_briefings (org_id, updated_at DESC, id DESC)
    INCLUDE (source_submission_id, source_pipeline_run_id, source_step_result_id, source_recorded_at);
DROP INDEX CONCURRENTLY IF EXISTS idx_company_intel_briefings_changed;

CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_person_intel_briefings_changed_with_source
    ON person_intel_briefings (org_id, updated_at DESC, id DESC)
    INCLUDE (source_submission_id, source_pipeline_run_id, source_step_result_id, source_recorded_at);
DROP INDEX CONCURRENTLY IF EXISTS idx_person_intel_briefings_changed;

CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_research_evidence_changed_with_source
    ON research_evidence (org_id, updated_at DESC, id DESC)
    INCLUDE (source_submission_id, source_pipeline_run_id, source_step_result_id, source_recorded_at);
DROP INDEX CONCURRENTLY IF EXISTS idx_research_evidence_changed;
