-- What was asked for and what came of it: a submission, its runs, the step results that hold the research.
--
-- The run says whose research it is; 021 sees to it that its step results say the same.

CREATE TABLE IF NOT EXISTS submissions (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    org_id UUID NOT NULL REFERENCES orgs(id) ON DELETE CASCADE,
    company_id UUID REFERENCES companies(id),
    input_payload JSONB DEFAULT '{}'::jsonb,
    source TEXT,
    metadata JSONB NOT NULL DEFAULT '{}'::jsonb,
    status TEXT NOT NULL DEFAULT 'received'
        CHECK (status IN ('received', 'validated', 'queued', 'running', 'completed', 'failed', 'canceled')),
    created_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT NOW()
);
CREATE INDEX IF NOT EXISTS idx_submissions_org ON submissions(org_id);
CREATE INDEX IF NOT EXISTS idx_submissions_company ON submissions(company_id) WHERE company_id IS NOT NULL;

-- blueprint_snapshot is frozen when the run is made: the steps, and for a child of a fan-out its entity.
CREATE TABLE IF NOT EXISTS pipeline_runs (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    org_id UUID NOT NULL REFERENCES orgs(id) ON DELETE CASCADE,
    company_id UUID REFERENCES companies(id),
    submission_id UUID NOT NULL REFERENCES submissions(id) ON DELETE CASCADE,
    parent_pipeline_run_id UUID REFERENCES pipeline_runs(id) ON DELETE SET NULL,
    trigger_run_id TEXT UNIQUE,
    blueprint_snapshot JSONB NOT NULL DEFAULT '{}'::jsonb,
    blueprint_version INTEGER NOT NULL DEFAULT 1,
    status TEXT NOT NULL DEFAULT 'queued'
        CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'canceled')),
    attempt INTEGER NOT NULL DEFAULT 1 CHECK (attempt > 0),
    error_message TEXT,
    error_details JSONB,
    started_at TIMESTAMPTZ,
    finished_at TIMESTAMPTZ,
    created_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT NOW()
);
CREATE INDEX IF NOT EXISTS idx_pipeline_runs_org ON pipeline_runs(org_id);
CREATE INDEX IF NOT EXISTS idx_pipeline_runs_company ON pipeline_runs(company_id) WHERE company_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_pipeline_runs_submission ON pipeline_runs(submission_id);
CREATE INDEX IF NOT EXISTS idx_pipeline_runs_parent ON pipeline_runs(parent_pipeline_run_id)
    WHERE parent_pipeline_run_id IS NOT NULL;

-- output_payload is {"operation_result": {...}, "cumulative_context": {...}}; the operation is known only from
-- inside it.
CREATE TABLE IF NOT EXISTS step_results (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    org_id UUID NOT NULL REFERENCES orgs(id) ON DELETE CASCADE,
    company_id UUID REFERENCES companies(id),
    submission_id UUID NOT NULL REFERENCES submissions(id) ON DELETE CASCADE,
    pipeline_run_id UUID NOT NULL REFERENCES pipeline_runs(id) ON DELETE CASCADE,
    step_position INTEGER NOT NULL CHECK (step_position >= 0),
    status TEXT NOT NULL DEFAULT 'queued'
        CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'skipped', 'retrying')),
    input_payload JSONB,
    output_payload JSONB,
    error_message TEXT,
    error_details JSONB,
    duration_ms INTEGER CHECK (duration_ms >= 0),
    attempt INTEGER NOT NULL DEFAULT 1 CHECK (attempt > 0),
    task_run_id TEXT,
    started_at TIMESTAMPTZ,
    finished_at TIMESTAMPTZ,
    created_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    UNIQUE (pipeline_run_id, step_position, attempt)
);
CREATE INDEX IF NOT EXISTS idx_step_results_org ON step_results(org_id);
CREATE INDEX IF NOT EXISTS idx_step_results_company ON step_results(company_id) WHERE company_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_step_results_submission ON step_results(submission_id);

DO $$
DECLARE
    t TEXT;
BEGIN
    FOREACH t IN ARRAY ARRAY['submissions', 'pipeline_runs', 'step_results'] LOOP
        EXECUTE format('DROP TRIGGER IF EXISTS %I ON %I', 'update_' || t || '_updated_at', t);
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION update_updated_at_column()',
            'update_' || t || '_updated_at', t);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
    END LOOP;
END;
$$;
