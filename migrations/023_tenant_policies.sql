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
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO dex_tenant', current_schema());
END;
$$;

GRANT SELECT ON orgs, companies TO dex_tenant;
GRANT SELECT, INSERT, UPDATE, DELETE
    ON submissions, pipeline_runs, step_results, step_persistence,
       icp_job_titles, company_intel_briefings, person_intel_briefings
    TO dex_tenant;

ALTER TABLE orgs ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant ON orgs;
CREATE POLICY tenant ON orgs TO dex_tenant
    USING (id = nullif(current_setting('app.org_id', true), '')::uuid);

DO $$
DECLARE
    t TEXT;
BEGIN
    FOREACH t IN ARRAY ARRAY[
        'companies', 'submissions', 'pipeline_runs', 'step_results', 'step_persistence',
        'icp_job_titles', 'company_intel_briefings', 'person_intel_briefings'
    ] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('DROP POLICY IF EXISTS tenant ON %I', t);
        EXECUTE format(
            'CREATE POLICY tenant ON %I TO dex_tenant'
            ' USING (org_id = nullif(current_setting(''app.org_id'', true), '''')::uuid)'
            ' WITH CHECK (org_id = nullif(current_setting(''app.org_id'', true), '''')::uuid)', t);
    END LOOP;
END;
$$;
