-- What is no longer found is no longer pending (028), also while a version of its spec is registered: that may still have
-- seen it found, and be adding it, which this deletion cannot see yet. It takes the lock of those who write, so that the
-- registration waits for it to end, and takes out what has gone.

CREATE OR REPLACE FUNCTION unqueue_step() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('dex queue step results', 0));
    DELETE FROM pending_results WHERE step_result_id = OLD.id;
    RETURN NULL;
END;
$$;

SELECT pin_search_path('unqueue_step()');
