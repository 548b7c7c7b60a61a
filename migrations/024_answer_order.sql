-- Every query answers newest first with id as tie-break. For each filter an index that ends in that order, so that the
-- last page costs what the first costs; and one for no filter at all.

CREATE INDEX IF NOT EXISTS idx_icp_job_titles_newest
    ON icp_job_titles (org_id, created_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS idx_icp_job_titles_domain_newest
    ON icp_job_titles (org_id, company_domain, created_at DESC, id DESC);

CREATE INDEX IF NOT EXISTS idx_company_intel_briefings_newest
    ON company_intel_briefings (org_id, created_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS idx_company_intel_briefings_domain_newest
    ON company_intel_briefings (org_id, company_domain, created_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS idx_company_intel_briefings_client_newest
    ON company_intel_briefings (org_id, client_company_name, created_at DESC, id DESC);

CREATE INDEX IF NOT EXISTS idx_person_intel_briefings_newest
    ON person_intel_briefings (org_id, created_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS idx_person_intel_briefings_linkedin_newest
    ON person_intel_briefings (org_id, person_linkedin_url, created_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS idx_person_intel_briefings_company_newest
    ON person_intel_briefings (org_id, person_current_company_name, created_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS idx_person_intel_briefings_client_newest
    ON person_intel_briefings (org_id, client_company_name, created_at DESC, id DESC);
