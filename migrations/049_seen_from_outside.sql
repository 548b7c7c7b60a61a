-- What is seen from outside: since when a step result waits for its rows, and in which trace a run was submitted.
--
-- queued_at: when it began to wait, not when it was recorded: a new version of a spec makes years of history pending.
-- traceparent: the W3C trace context of the request that made the run, for whoever executes it. NULL without tracing.

ALTER TABLE pending_results ADD COLUMN IF NOT EXISTS queued_at TIMESTAMPTZ NOT NULL DEFAULT now();
ALTER TABLE pipeline_runs ADD COLUMN IF NOT EXISTS traceparent TEXT;
