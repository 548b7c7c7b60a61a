-- dex: no transaction
--
-- The indexes of the query endpoint's questions. Each begins with the organisation and ends in the order of answers
-- (newest first, id as tie-break), so that the last page costs what the first costs; one per filter, one for no filter,
-- one for what changed since.
--
-- Text stands under the collation "C", as queries compare it: the strings of one prefix are one range there, and row
-- level security lets a range use an index, as it does not let LIKE.

CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_icp_job_titles_newest
    ON icp_job_titles (org_id, created_at DESC, id DESC);
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_icp_job_titles_changed
    ON icp_job_titles (org_id, updated_at DESC, id DESC);
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_icp_job_titles_company_domain_newest
    ON icp_job_titles (org_id, company_domain COLLATE "C", created_at DESC, id DESC);

CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_company_intel_briefings_newest
    ON company_intel_briefings (org_id, created_at DESC, id DESC);
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_company_intel_briefings_changed
    ON company_intel_briefings (org_id, updated_at DESC, id DESC);
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_company_intel_briefings_company_domain_newest
    ON company_intel_briefings (org_id, company_domain COLLATE "C", created_at DESC, id DESC);
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_company_intel_briefings_client_company_name_newest
    ON company_intel_briefings (org_id, client_company_name COLLATE "C", created_at DESC, id DESC);

CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_person_intel_briefings_newest
    ON person_intel_briefings (org_id, created_at DESC, id DESC);
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_person_intel_briefings_changed
    ON person_intel_briefings (org_id, updated_at DESC, id DESC);
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_person_intel_briefings_person_linkedin_url_newest
    ON person_intel_briefings (org_id, person_linkedin_url COLLATE "C", created_at DESC, id DESC);
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_person_intel_briefings_person_current_company_name_newest
    ON person_intel_briefings (org_id, person_current_company_name COLLATE "C", created_at DESC, id DESC);
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_person_intel_briefings_client_company_name_newest
    ON person_intel_briefings (org_id, client_company_name COLLATE "C", created_at DESC, id DESC);
