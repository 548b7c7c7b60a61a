-- Under `on_absent: delete` a result may say that there are no elements. It leaves no row by which a later look could
-- tell that it came; its ledger entry does, and an older result that arrives after it adds nothing. Such entries are
-- few, and this index holds only them.

CREATE INDEX IF NOT EXISTS idx_step_persistence_empty
    ON step_persistence (spec, org_id) WHERE element_count = 0;
