-- dex: no transaction
--
-- The organisation of a step result is that of its run, whatever the writer said: research written under another
-- tenant's name goes to the tenant who asked for it, instead of being refused or shown to the wrong one. Nothing that
-- reads step results has to look at the run to know whose they are. And a tenant cannot add to a run of another: the
-- row takes the other's organisation, and the tenant policy refuses it.
--
-- SECURITY DEFINER, since the run of another tenant has to be seen to be told apart. The search_path is pinned to the
-- schema of the tables, so that no search_path of the caller bends what the functions look up.

CREATE OR REPLACE FUNCTION take_org_of_run() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    owner UUID;
BEGIN
    SELECT r.org_id INTO owner FROM pipeline_runs r WHERE r.id = NEW.pipeline_run_id;
    IF owner IS NOT NULL THEN
        NEW.org_id = owner;
    END IF;
    RETURN NEW;
END;
$$;

CREATE OR REPLACE FUNCTION give_org_to_steps() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    UPDATE step_results SET org_id = NEW.org_id WHERE pipeline_run_id = NEW.id;
    RETURN NULL;
END;
$$;

SELECT pin_search_path('take_org_of_run()'), pin_search_path('give_org_to_steps()');

CREATE OR REPLACE TRIGGER take_org_of_run
    BEFORE INSERT OR UPDATE OF org_id, pipeline_run_id ON step_results
    FOR EACH ROW EXECUTE FUNCTION take_org_of_run();

CREATE OR REPLACE TRIGGER give_org_to_steps
    AFTER UPDATE OF org_id ON pipeline_runs
    FOR EACH ROW WHEN (OLD.org_id IS DISTINCT FROM NEW.org_id)
    EXECUTE FUNCTION give_org_to_steps();

-- Those from before, some runs at a time.
DO $$
DECLARE
    after UUID := '00000000-0000-0000-0000-000000000000';
    run_ids UUID[];
    told TIMESTAMPTZ := clock_timestamp();
BEGIN
    LOOP
        SELECT array_agg(id), max(id::text)::uuid INTO run_ids, after
        FROM (SELECT id FROM pipeline_runs WHERE id > after ORDER BY id LIMIT 1000) AS part;
        EXIT WHEN run_ids IS NULL;
        PERFORM set_config('lock_timeout', '200ms', true);
        UPDATE step_results AS s SET org_id = r.org_id
        FROM pipeline_runs AS r
        WHERE r.id = s.pipeline_run_id AND s.org_id <> r.org_id AND s.pipeline_run_id = ANY(run_ids);
        COMMIT;
        IF clock_timestamp() > told + interval '5 seconds' THEN
            told := clock_timestamp();
            RAISE INFO 'step_results: organisations compared up to run %', after;
        END IF;
    END LOOP;
END;
$$;
