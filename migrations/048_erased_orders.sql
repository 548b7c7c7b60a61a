-- When the question and the answer of an order were erased (`dex erase`). The order stays on the books; an answer that
-- arrives later is not kept.

ALTER TABLE research_orders ADD COLUMN IF NOT EXISTS erased_at TIMESTAMPTZ;
