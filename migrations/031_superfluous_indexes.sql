-- dex: no transaction
--
-- Indexes of 015 and 016 that begin another one, which serves their questions too: they only cost whoever writes.

DROP INDEX CONCURRENTLY IF EXISTS idx_icp_job_titles_org;
DROP INDEX CONCURRENTLY IF EXISTS idx_company_intel_briefings_org;
DROP INDEX CONCURRENTLY IF EXISTS idx_company_intel_briefings_domain;
DROP INDEX CONCURRENTLY IF EXISTS idx_person_intel_briefings_org;
