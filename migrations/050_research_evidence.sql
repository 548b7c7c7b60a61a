-- Research evidence. One row per citation of what a provider says for a part of its answer, and one for a part without
-- citations.
--
-- Drafted by `dex draft-migration research_evidence` from specs/research_evidence.yaml.

CREATE TABLE IF NOT EXISTS research_evidence (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    org_id UUID NOT NULL REFERENCES orgs(id) ON DELETE CASCADE,
    parallel_run_id TEXT NOT NULL,
    operation TEXT NOT NULL,
    subject TEXT,
    field TEXT,
    citation TEXT NOT NULL,
    url TEXT,
    site TEXT,
    title TEXT,
    excerpts JSONB,
    reasoning TEXT,
    confidence TEXT,
    source_submission_id UUID REFERENCES submissions(id) ON DELETE SET NULL,
    source_pipeline_run_id UUID REFERENCES pipeline_runs(id) ON DELETE SET NULL,
    source_step_result_id UUID,
    source_recorded_at TIMESTAMPTZ,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

CREATE UNIQUE INDEX IF NOT EXISTS idx_research_evidence_dedup
    ON research_evidence (org_id, parallel_run_id, field, citation) NULLS NOT DISTINCT;
CREATE INDEX IF NOT EXISTS idx_research_evidence_org
    ON research_evidence (org_id, created_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS idx_research_evidence_parallel_run_id_newest
    ON research_evidence (org_id, parallel_run_id COLLATE "C", created_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS idx_research_evidence_subject_newest
    ON research_evidence (org_id, subject COLLATE "C", created_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS idx_research_evidence_field_newest
    ON research_evidence (org_id, field COLLATE "C", created_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS idx_research_evidence_site_newest
    ON research_evidence (org_id, site COLLATE "C", created_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS idx_research_evidence_confidence_newest
    ON research_evidence (org_id, confidence COLLATE "C", created_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS idx_research_evidence_changed
    ON research_evidence (org_id, updated_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS idx_research_evidence_source_submission
    ON research_evidence (source_submission_id);
CREATE INDEX IF NOT EXISTS idx_research_evidence_source_run
    ON research_evidence (source_pipeline_run_id);

DROP TRIGGER IF EXISTS update_research_evidence_updated_at ON research_evidence;
CREATE TRIGGER update_research_evidence_updated_at
    BEFORE UPDATE ON research_evidence
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();

ALTER TABLE research_evidence ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON research_evidence TO dex_tenant;
DROP POLICY IF EXISTS tenant ON research_evidence;
CREATE POLICY tenant ON research_evidence TO dex_tenant
    USING (org_id = nullif(current_setting('app.org_id', true), '')::uuid)
    WITH CHECK (org_id = nullif(current_setting('app.org_id', true), '')::uuid);

DO $$
BEGIN
    ALTER TABLE research_evidence ALTER COLUMN excerpts SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN
    RAISE NOTICE 'this server is built without lz4; the columns keep its default compression';
END;
$$;

SELECT follow_changes('research_evidence');  -- its rows are followed by `changes`
