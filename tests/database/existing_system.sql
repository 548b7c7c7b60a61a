-- A database of the shape of the system before this one: enums, blueprints, row level security without policies, and its
-- tables moved into two schemas. 015 and 016 are applied after it, as they were there.

CREATE SCHEMA ops;
CREATE SCHEMA entities;
SET search_path = ops, entities;

CREATE TYPE user_role AS ENUM ('org_admin', 'company_admin', 'member');
CREATE TYPE run_status AS ENUM ('queued', 'running', 'succeeded', 'failed', 'canceled');
CREATE TYPE step_status AS ENUM ('queued', 'running', 'succeeded', 'failed', 'skipped', 'retrying');
CREATE TYPE submission_status AS ENUM
    ('received', 'validated', 'queued', 'running', 'completed', 'failed', 'canceled');

CREATE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at = now();
    RETURN NEW;
END;
$$;

CREATE TABLE orgs (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(), name TEXT NOT NULL, slug TEXT NOT NULL UNIQUE,
    is_active BOOLEAN NOT NULL DEFAULT TRUE,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(), updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE TABLE companies (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(), org_id UUID NOT NULL REFERENCES orgs(id) ON DELETE CASCADE,
    name TEXT NOT NULL, domain TEXT, is_active BOOLEAN NOT NULL DEFAULT TRUE,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(), updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    UNIQUE (org_id, name), UNIQUE (id, org_id)
);
CREATE TABLE users (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(), org_id UUID NOT NULL REFERENCES orgs(id) ON DELETE CASCADE,
    company_id UUID REFERENCES companies(id), email TEXT NOT NULL UNIQUE, full_name TEXT,
    role user_role NOT NULL DEFAULT 'member', is_active BOOLEAN NOT NULL DEFAULT TRUE,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(), updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE TABLE api_tokens (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(), org_id UUID NOT NULL REFERENCES orgs(id) ON DELETE CASCADE,
    company_id UUID REFERENCES companies(id), user_id UUID REFERENCES users(id) ON DELETE CASCADE,
    name TEXT NOT NULL, token_hash TEXT NOT NULL UNIQUE, role user_role NOT NULL,
    expires_at TIMESTAMPTZ, revoked_at TIMESTAMPTZ, last_used_at TIMESTAMPTZ,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(), updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE TABLE super_admins (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(), email TEXT NOT NULL UNIQUE, password_hash TEXT, full_name TEXT,
    is_active BOOLEAN NOT NULL DEFAULT TRUE,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(), updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE TABLE blueprints (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(), org_id UUID NOT NULL REFERENCES orgs(id) ON DELETE CASCADE,
    name TEXT NOT NULL, is_active BOOLEAN NOT NULL DEFAULT TRUE
);
CREATE TABLE blueprint_steps (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    blueprint_id UUID NOT NULL REFERENCES blueprints(id) ON DELETE CASCADE,
    position INTEGER NOT NULL CHECK (position > 0), operation_id TEXT, step_config JSONB, is_enabled BOOLEAN DEFAULT TRUE,
    UNIQUE (blueprint_id, position)
);
CREATE TABLE submissions (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(), org_id UUID NOT NULL REFERENCES orgs(id) ON DELETE CASCADE,
    company_id UUID NOT NULL REFERENCES companies(id) ON DELETE RESTRICT,
    blueprint_id UUID NOT NULL REFERENCES blueprints(id) ON DELETE RESTRICT,
    input_payload JSONB NOT NULL, source TEXT, metadata JSONB, status submission_status NOT NULL DEFAULT 'received',
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(), updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE TABLE pipeline_runs (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(), org_id UUID NOT NULL REFERENCES orgs(id) ON DELETE CASCADE,
    company_id UUID NOT NULL REFERENCES companies(id),
    submission_id UUID NOT NULL REFERENCES submissions(id) ON DELETE CASCADE,
    parent_pipeline_run_id UUID REFERENCES pipeline_runs(id) ON DELETE SET NULL, trigger_run_id TEXT UNIQUE,
    blueprint_snapshot JSONB NOT NULL, blueprint_version INTEGER NOT NULL DEFAULT 1,
    status run_status NOT NULL DEFAULT 'queued', attempt INTEGER NOT NULL DEFAULT 1,
    error_message TEXT, error_details JSONB, started_at TIMESTAMPTZ, finished_at TIMESTAMPTZ,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(), updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE TABLE step_results (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(), org_id UUID NOT NULL REFERENCES orgs(id) ON DELETE CASCADE,
    company_id UUID NOT NULL REFERENCES companies(id), submission_id UUID NOT NULL REFERENCES submissions(id),
    pipeline_run_id UUID NOT NULL REFERENCES pipeline_runs(id) ON DELETE CASCADE, step_position INTEGER NOT NULL,
    status step_status NOT NULL DEFAULT 'queued', input_payload JSONB, output_payload JSONB,
    error_message TEXT, error_details JSONB, duration_ms INTEGER CHECK (duration_ms >= 0),
    attempt INTEGER NOT NULL DEFAULT 1, task_run_id TEXT, started_at TIMESTAMPTZ, finished_at TIMESTAMPTZ,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(), updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    UNIQUE (pipeline_run_id, step_position, attempt)
);
CREATE INDEX idx_step_results_org_id ON step_results(org_id);
CREATE INDEX idx_step_results_pipeline_run_id ON step_results(pipeline_run_id);

CREATE FUNCTION ensure_tenant_integrity() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.org_id <> (SELECT org_id FROM ops.submissions WHERE id = NEW.submission_id) THEN
        RAISE EXCEPTION 'org_id differs from that of the submission';
    END IF;
    RETURN NEW;
END;
$$;
CREATE TRIGGER ensure_tenant_integrity BEFORE INSERT OR UPDATE ON pipeline_runs
    FOR EACH ROW EXECUTE FUNCTION ensure_tenant_integrity();
CREATE TRIGGER ensure_tenant_integrity BEFORE INSERT OR UPDATE ON step_results
    FOR EACH ROW EXECUTE FUNCTION ensure_tenant_integrity();

DO $$
DECLARE
    t TEXT;
BEGIN
    FOREACH t IN ARRAY ARRAY['orgs', 'companies', 'users', 'api_tokens', 'super_admins', 'submissions',
                             'pipeline_runs', 'step_results'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION update_updated_at_column()',
                       'update_' || t || '_updated_at', t);
    END LOOP;
END;
$$;
