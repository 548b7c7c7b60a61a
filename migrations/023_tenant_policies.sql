-- dex: no transaction
--
-- The API does a tenant's work as the role dex_tenant, which row level security binds, with the organisation set for
-- one transaction at a time:
--     select set_config('role', 'dex_tenant', true), set_config('app.org_id', '<uuid>', true)
-- Without an organisation nothing is visible and nothing can be written. Never a session SET: a pooler would hand it on
-- to the next client.
--
-- Roles belong to the whole cluster: another database may be making this one at the same moment, hence the handlers.

DO $$
DECLARE
    me CONSTANT TEXT := current_setting('role');
BEGIN
    BEGIN
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'dex_tenant') THEN
            CREATE ROLE dex_tenant NOLOGIN;
        END IF;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
        NULL;
    END;
    BEGIN
        GRANT dex_tenant TO CURRENT_USER;
    EXCEPTION WHEN unique_violation OR insufficient_privilege THEN
        NULL;  -- whether it was needed, the next block tells
    END;
    BEGIN
        PERFORM set_config('role', 'dex_tenant', true);
        PERFORM set_config('role', me, true);
    EXCEPTION WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'role `%` may not take the role `dex_tenant`', CURRENT_USER
            USING ERRCODE = 'insufficient_privilege',
                  HINT = format('as a superuser run: GRANT dex_tenant TO %I; then migrate again', CURRENT_USER);
    END;
    EXECUTE (
        SELECT format('GRANT USAGE ON SCHEMA %s TO dex_tenant', string_agg(quote_ident(name), ', '))
        FROM unnest(current_schemas(false)) AS name);
END;
$$;

GRANT SELECT ON orgs, companies TO dex_tenant;
-- What was researched is never deleted as the tenant.
GRANT SELECT, INSERT, UPDATE ON submissions, pipeline_runs, step_results TO dex_tenant;
GRANT SELECT, INSERT, UPDATE, DELETE
    ON step_persistence, icp_job_titles, company_intel_briefings, person_intel_briefings
    TO dex_tenant;

-- One table at a time: nobody waits for a table while the migration waits for another.
BEGIN;
ALTER TABLE orgs ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant ON orgs;
CREATE POLICY tenant ON orgs TO dex_tenant
    USING (id = nullif(current_setting('app.org_id', true), '')::uuid);
COMMIT;

BEGIN;
ALTER TABLE companies ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant ON companies;
CREATE POLICY tenant ON companies TO dex_tenant
    USING (org_id = nullif(current_setting('app.org_id', true), '')::uuid)
    WITH CHECK (org_id = nullif(current_setting('app.org_id', true), '')::uuid);
COMMIT;

BEGIN;
ALTER TABLE submissions ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant ON submissions;
CREATE POLICY tenant ON submissions TO dex_tenant
    USING (org_id = nullif(current_setting('app.org_id', true), '')::uuid)
    WITH CHECK (org_id = nullif(current_setting('app.org_id', true), '')::uuid);
COMMIT;

BEGIN;
ALTER TABLE pipeline_runs ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant ON pipeline_runs;
CREATE POLICY tenant ON pipeline_runs TO dex_tenant
    USING (org_id = nullif(current_setting('app.org_id', true), '')::uuid)
    WITH CHECK (org_id = nullif(current_setting('app.org_id', true), '')::uuid);
COMMIT;

BEGIN;
ALTER TABLE step_results ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant ON step_results;
CREATE POLICY tenant ON step_results TO dex_tenant
    USING (org_id = nullif(current_setting('app.org_id', true), '')::uuid)
    WITH CHECK (org_id = nullif(current_setting('app.org_id', true), '')::uuid);
COMMIT;

BEGIN;
ALTER TABLE step_persistence ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant ON step_persistence;
CREATE POLICY tenant ON step_persistence TO dex_tenant
    USING (org_id = nullif(current_setting('app.org_id', true), '')::uuid)
    WITH CHECK (org_id = nullif(current_setting('app.org_id', true), '')::uuid);
COMMIT;

BEGIN;
ALTER TABLE icp_job_titles ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant ON icp_job_titles;
CREATE POLICY tenant ON icp_job_titles TO dex_tenant
    USING (org_id = nullif(current_setting('app.org_id', true), '')::uuid)
    WITH CHECK (org_id = nullif(current_setting('app.org_id', true), '')::uuid);
COMMIT;

BEGIN;
ALTER TABLE company_intel_briefings ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant ON company_intel_briefings;
CREATE POLICY tenant ON company_intel_briefings TO dex_tenant
    USING (org_id = nullif(current_setting('app.org_id', true), '')::uuid)
    WITH CHECK (org_id = nullif(current_setting('app.org_id', true), '')::uuid);
COMMIT;

BEGIN;
ALTER TABLE person_intel_briefings ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant ON person_intel_briefings;
CREATE POLICY tenant ON person_intel_briefings TO dex_tenant
    USING (org_id = nullif(current_setting('app.org_id', true), '')::uuid)
    WITH CHECK (org_id = nullif(current_setting('app.org_id', true), '')::uuid);
COMMIT;
