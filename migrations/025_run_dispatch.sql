-- dex: no transaction
--
-- Who is to execute a run. With TRIGGER_SECRET_KEY set the API writes 'trigger' in the transaction that makes the run,
-- before Trigger.dev hears of it: a local runner that asks for queued runs in that moment, or after a trigger call whose
-- answer was lost, must not take what Trigger.dev may already be executing. Research would be bought twice.

ALTER TABLE pipeline_runs ADD COLUMN IF NOT EXISTS runner TEXT NOT NULL DEFAULT 'local';
ALTER TABLE pipeline_runs
    DROP CONSTRAINT IF EXISTS pipeline_runs_runner_check,
    ADD CONSTRAINT pipeline_runs_runner_check CHECK (runner IN ('local', 'trigger')) NOT VALID;
ALTER TABLE pipeline_runs VALIDATE CONSTRAINT pipeline_runs_runner_check;
