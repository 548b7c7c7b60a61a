-- dex: no transaction
--
-- Orders: one record per purchase at a provider of research, made before the provider is asked.
--
-- An order outlives its step, run and runner, so nothing here has a foreign key to them: the ids say who asked. A step
-- names its order (`step_results.order_id`); several steps that ask the same question name the same one.
--
-- question: a digest of operation, provider, processor, normalized inputs, prompt and the schema of the answer.
-- status:   requested (noted before the provider is asked), open (accepted, `provider_run_id` is known), completed,
--           failed, not_accepted (certainly), unknown (nobody can say whether it was accepted).
-- price:    what is reserved, in USD; NULL where the processor has no price. cost: what it cost, once it has ended.
-- output:   the keys of the operation's output beside the answer, so that an answer can become the result of the step
--           that bought it when nobody executes its run any more.
-- answer:   the provider's answer, until a step result holds it.
-- held_by, held_until: who orders, or asks for the answer; the others wait.

CREATE TABLE IF NOT EXISTS research_orders (
    org_id UUID NOT NULL REFERENCES orgs(id) ON DELETE CASCADE,
    id UUID NOT NULL DEFAULT gen_random_uuid(),
    operation TEXT NOT NULL,
    provider TEXT NOT NULL,
    processor TEXT NOT NULL,
    question TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'requested'
        CHECK (status IN ('requested', 'open', 'completed', 'failed', 'not_accepted', 'unknown')),
    price NUMERIC CHECK (price >= 0),
    cost NUMERIC CHECK (cost >= 0),
    provider_run_id TEXT,
    requested_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    ended_at TIMESTAMPTZ,
    requested_by TEXT,
    company_id UUID,
    submission_id UUID,
    pipeline_run_id UUID,
    step_result_id UUID,
    output JSONB,
    answer JSONB,
    error_code TEXT,
    error_message TEXT,
    held_by TEXT,
    held_until TIMESTAMPTZ,
    PRIMARY KEY (org_id, id),
    CHECK (status NOT IN ('open', 'completed') OR provider_run_id IS NOT NULL)
);

-- One unfinished order per question: the net under the advisory lock that is taken before one is made.
CREATE UNIQUE INDEX IF NOT EXISTS idx_research_orders_unfinished
    ON research_orders (org_id, question) WHERE status IN ('requested', 'open', 'unknown');
CREATE INDEX IF NOT EXISTS idx_research_orders_completed
    ON research_orders (org_id, question, ended_at) WHERE status = 'completed';
-- Sums of a month, and lists by time.
CREATE INDEX IF NOT EXISTS idx_research_orders_requested
    ON research_orders (org_id, requested_at, id) INCLUDE (operation, status, price, cost);
-- One research of a provider belongs to one order.
CREATE UNIQUE INDEX IF NOT EXISTS idx_research_orders_provider_run
    ON research_orders (org_id, provider, provider_run_id) WHERE provider_run_id IS NOT NULL;
-- What a sweep collects: few, whatever was ordered before.
CREATE INDEX IF NOT EXISTS idx_research_orders_collectable
    ON research_orders (requested_at) WHERE status = 'open' OR answer IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_research_orders_id ON research_orders (id);

ALTER TABLE step_results ADD COLUMN IF NOT EXISTS order_id UUID;
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_step_results_order
    ON step_results (order_id) WHERE order_id IS NOT NULL;

-- The purchases on record so far, two columns of a step, become orders, some hundred at a time.
DO $$
DECLARE
    step_ids UUID[];
    part UUID[];
BEGIN
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'step_results'::regclass
                   AND attname = 'provider_requested_at' AND NOT attisdropped) THEN
        RETURN;
    END IF;
    SELECT array_agg(id ORDER BY created_at, id) INTO step_ids FROM step_results
    WHERE (provider_requested_at IS NOT NULL OR provider_run_id IS NOT NULL) AND order_id IS NULL;
    FOR place IN 1 .. coalesce(cardinality(step_ids), 0) BY 500 LOOP
        part := step_ids[place : place + 499];
        PERFORM set_config('lock_timeout', '200ms', true);
        INSERT INTO research_orders (
            org_id, operation, provider, processor, question, status, provider_run_id, requested_at, ended_at,
            company_id, submission_id, pipeline_run_id, step_result_id, error_code, error_message
        )
        SELECT DISTINCT ON (s.org_id, coalesce(s.provider_run_id, s.id::text))
            s.org_id, coalesce(s.operation_id, step ->> 'operation_id', 'unknown'), 'parallel',
            coalesce(s.output_payload #>> '{operation_result,output,processor}', step #>> '{step_config,processor}',
                     'unknown'),
            'before orders were kept: ' || s.id, state.status, s.provider_run_id,
            coalesce(s.provider_requested_at, s.started_at, s.created_at),
            CASE WHEN state.status IN ('completed', 'failed') THEN coalesce(s.finished_at, s.updated_at) END,
            s.company_id, s.submission_id, s.pipeline_run_id, s.id,
            CASE WHEN state.status = 'failed' THEN s.error_details ->> 'code' END,
            CASE WHEN state.status = 'failed' THEN s.error_message END
        FROM step_results AS s
        JOIN pipeline_runs AS r ON r.id = s.pipeline_run_id
        LEFT JOIN LATERAL (
            SELECT value AS step
            FROM jsonb_array_elements(CASE WHEN jsonb_typeof(r.blueprint_snapshot -> 'steps') = 'array'
                                           THEN r.blueprint_snapshot -> 'steps' ELSE '[]' END)
            WHERE value ->> 'position' = s.step_position::text LIMIT 1
        ) AS blueprint ON TRUE
        CROSS JOIN LATERAL (SELECT CASE
            WHEN s.provider_run_id IS NULL THEN 'unknown'
            WHEN s.status::text = 'succeeded' THEN 'completed'
            WHEN s.error_details ->> 'code' IN ('provider_failed', 'provider_cancelled', 'provider_cancelling',
                                                'provider_action_required', 'provider_unknown') THEN 'failed'
            ELSE 'open'
        END AS status) AS state
        WHERE s.id = ANY(part)
        ORDER BY s.org_id, coalesce(s.provider_run_id, s.id::text), s.created_at, s.id
        ON CONFLICT (org_id, provider, provider_run_id) WHERE provider_run_id IS NOT NULL DO NOTHING;

        UPDATE step_results AS s SET order_id = o.id
        FROM research_orders AS o
        WHERE s.id = ANY(part) AND o.org_id = s.org_id AND o.provider = 'parallel'
          AND o.provider_run_id = s.provider_run_id;
        UPDATE step_results AS s SET order_id = o.id
        FROM research_orders AS o
        WHERE s.id = ANY(part) AND s.provider_run_id IS NULL AND o.org_id = s.org_id
          AND o.question = 'before orders were kept: ' || s.id AND o.status = 'unknown';
        COMMIT;
    END LOOP;
END;
$$;

ALTER TABLE step_results DROP COLUMN IF EXISTS provider_run_id, DROP COLUMN IF EXISTS provider_requested_at;

-- Who asked for the work, copied to the orders it leads to. What a client sent as `Idempotency-Key`, and a digest of
-- what it sent with it: the same key and digest get the first submission again.
ALTER TABLE submissions
    ADD COLUMN IF NOT EXISTS requested_by TEXT,
    ADD COLUMN IF NOT EXISTS idempotency_key TEXT,
    ADD COLUMN IF NOT EXISTS request_digest TEXT;
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS idx_submissions_idempotency_key
    ON submissions (org_id, idempotency_key) WHERE idempotency_key IS NOT NULL;

-- What an organisation may spend in a calendar month (UTC), in USD. operation '' is all operations together.
CREATE TABLE IF NOT EXISTS budgets (
    org_id UUID NOT NULL REFERENCES orgs(id) ON DELETE CASCADE,
    operation TEXT NOT NULL DEFAULT '',
    usd NUMERIC NOT NULL CHECK (usd >= 0),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    PRIMARY KEY (org_id, operation)
);

DO $$
DECLARE
    t TEXT;
BEGIN
    FOREACH t IN ARRAY ARRAY['research_orders', 'budgets'] LOOP
        EXECUTE format('GRANT SELECT ON %I TO dex_tenant', t);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('DROP POLICY IF EXISTS tenant ON %I', t);
        EXECUTE format(
            'CREATE POLICY tenant ON %I TO dex_tenant'
            ' USING (org_id = nullif(current_setting(''app.org_id'', true), '''')::uuid)'
            ' WITH CHECK (org_id = nullif(current_setting(''app.org_id'', true), '''')::uuid)', t);
    END LOOP;
END;
$$;
