-- Which step results wait to be turned into rows, so that a sweep costs what is pending, not what has been.
--
-- An entry is made when a step result becomes found, or its ledger entry goes (it was corrected, its table changed), and
-- goes when the ledger has an entry under the present version of the spec. All of it happens in triggers: whoever writes
-- step results or the ledger, by hand too, keeps it true.
--
-- is_queued: whether the history of a version was added. The registration of a version does that in transactions of their
-- own: the version becomes the present one, from now on new step results are added for it; those who were writing then
-- have ended (they hold the lock below in share mode); the others are added; those who recorded one of them meanwhile have
-- ended, and what they recorded is taken out. Until then the readers look for what is pending in the history itself.

ALTER TABLE spec_versions ADD COLUMN IF NOT EXISTS is_queued BOOLEAN NOT NULL DEFAULT FALSE;

CREATE TABLE IF NOT EXISTS pending_results (
    step_result_id UUID NOT NULL,
    spec TEXT NOT NULL,
    org_id UUID NOT NULL,
    PRIMARY KEY (step_result_id, spec)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
CREATE INDEX IF NOT EXISTS idx_pending_results_spec ON pending_results (spec, org_id, step_result_id);

ALTER TABLE pending_results ENABLE ROW LEVEL SECURITY;
GRANT SELECT ON pending_results TO dex_tenant;
DO $$
BEGIN
    DROP POLICY IF EXISTS tenant ON pending_results;
    CREATE POLICY tenant ON pending_results TO dex_tenant
        USING (org_id = nullif(current_setting('app.org_id', true), '')::uuid);
END;
$$;

-- The present version of each spec.
CREATE OR REPLACE VIEW present_versions AS
    SELECT DISTINCT ON (spec) spec, digest, operations, is_queued FROM spec_versions ORDER BY spec, number DESC;
REVOKE ALL ON present_versions FROM PUBLIC;

CREATE OR REPLACE FUNCTION queue_found_step() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    -- Held until the transaction ends: the registration of a version waits for that.
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('dex queue step results', 0));
    INSERT INTO pending_results (step_result_id, spec, org_id)
    SELECT NEW.id, spec, NEW.org_id FROM present_versions WHERE NEW.operation_id = ANY(operations)
    ON CONFLICT (step_result_id, spec) DO UPDATE SET org_id = excluded.org_id;
    RETURN NULL;
END;
$$;

-- What is no longer found is no longer pending.
CREATE OR REPLACE FUNCTION unqueue_step() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    DELETE FROM pending_results WHERE step_result_id = OLD.id;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE FUNCTION unqueue_recorded_steps() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('dex queue step results', 0));
    DELETE FROM pending_results AS pending
    USING recorded JOIN present_versions AS present
        ON present.spec = recorded.spec AND present.digest = recorded.spec_digest
    WHERE pending.step_result_id = recorded.step_result_id AND pending.spec = recorded.spec;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE FUNCTION queue_forgotten_steps() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO pending_results (step_result_id, spec, org_id)
    SELECT step.id, present.spec, step.org_id
    FROM forgotten
    JOIN present_versions AS present ON present.spec = forgotten.spec
    JOIN step_results AS step ON step.id = forgotten.step_result_id
    WHERE step.status = 'succeeded' AND step.result_status = 'found' AND step.operation_id = ANY(present.operations)
    ON CONFLICT (step_result_id, spec) DO UPDATE SET org_id = excluded.org_id;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE FUNCTION forget_queues() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    UPDATE spec_versions SET is_queued = FALSE;
    RETURN NULL;
END;
$$;

SELECT pin_search_path(f)
FROM unnest(ARRAY['queue_found_step()', 'unqueue_step()', 'unqueue_recorded_steps()', 'queue_forgotten_steps()',
                  'forget_queues()']::regprocedure[]) f;

DROP TRIGGER IF EXISTS queue_new_step ON step_results;
CREATE TRIGGER queue_new_step
    AFTER INSERT ON step_results
    FOR EACH ROW WHEN (NEW.status = 'succeeded' AND NEW.result_status = 'found')
    EXECUTE FUNCTION queue_found_step();

-- Behind forget_changed_step, by its name: the ledger entry is gone when this looks.
DROP TRIGGER IF EXISTS queue_changed_step ON step_results;
CREATE TRIGGER queue_changed_step
    AFTER UPDATE OF status, output_payload, org_id, pipeline_run_id ON step_results
    FOR EACH ROW
    WHEN (NEW.status = 'succeeded' AND NEW.result_status = 'found'
          AND (OLD.status IS DISTINCT FROM NEW.status OR OLD.result_status IS DISTINCT FROM NEW.result_status
               OR OLD.operation_id IS DISTINCT FROM NEW.operation_id OR OLD.org_id IS DISTINCT FROM NEW.org_id))
    EXECUTE FUNCTION queue_found_step();

DROP TRIGGER IF EXISTS unqueue_changed_step ON step_results;
CREATE TRIGGER unqueue_changed_step
    AFTER UPDATE OF status, output_payload ON step_results
    FOR EACH ROW
    WHEN (OLD.status = 'succeeded' AND OLD.result_status = 'found'
          AND (NEW.status <> 'succeeded' OR NEW.result_status IS DISTINCT FROM 'found'
               OR OLD.operation_id IS DISTINCT FROM NEW.operation_id))
    EXECUTE FUNCTION unqueue_step();

DROP TRIGGER IF EXISTS unqueue_deleted_step ON step_results;
CREATE TRIGGER unqueue_deleted_step
    AFTER DELETE ON step_results
    FOR EACH ROW EXECUTE FUNCTION unqueue_step();

DROP TRIGGER IF EXISTS unqueue_recorded_steps ON step_persistence;
CREATE TRIGGER unqueue_recorded_steps
    AFTER INSERT ON step_persistence
    REFERENCING NEW TABLE AS recorded
    FOR EACH STATEMENT EXECUTE FUNCTION unqueue_recorded_steps();

DROP TRIGGER IF EXISTS unqueue_recorded_again ON step_persistence;
CREATE TRIGGER unqueue_recorded_again
    AFTER UPDATE ON step_persistence
    REFERENCING NEW TABLE AS recorded
    FOR EACH STATEMENT EXECUTE FUNCTION unqueue_recorded_steps();

DROP TRIGGER IF EXISTS queue_forgotten_steps ON step_persistence;
CREATE TRIGGER queue_forgotten_steps
    AFTER DELETE ON step_persistence
    REFERENCING OLD TABLE AS forgotten
    FOR EACH STATEMENT EXECUTE FUNCTION queue_forgotten_steps();

DROP TRIGGER IF EXISTS forget_queues ON step_persistence;
CREATE TRIGGER forget_queues
    AFTER TRUNCATE ON step_persistence
    FOR EACH STATEMENT EXECUTE FUNCTION forget_queues();
