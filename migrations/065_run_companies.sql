-- A path may begin with `run.company_id`, so a run that is given to another company makes its step results pending, as
-- one that is given to another organisation does (021). They are updated as well, without a change: a backfill that has
-- read one with the company of before sees that it is another version now, and leaves it pending. The rows of a step that
-- is being executed stay: they are computed once it is recorded.

CREATE OR REPLACE FUNCTION forget_steps_of_run() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    UPDATE step_results SET company_id = company_id WHERE pipeline_run_id = NEW.id;
    PERFORM queue_rows_of_step(id, TRUE) FROM step_results WHERE pipeline_run_id = NEW.id AND status = 'succeeded';
    DELETE FROM step_persistence
    WHERE step_result_id IN (SELECT id FROM step_results WHERE pipeline_run_id = NEW.id);
    RETURN NULL;
END;
$$;
SELECT pin_search_path('forget_steps_of_run()');

CREATE OR REPLACE TRIGGER forget_steps_of_run
    AFTER UPDATE OF company_id ON pipeline_runs
    FOR EACH ROW WHEN (OLD.company_id IS DISTINCT FROM NEW.company_id)
    EXECUTE FUNCTION forget_steps_of_run();
