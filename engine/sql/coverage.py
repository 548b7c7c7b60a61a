"""The accounting identity in SQL.

In: Plans. Out: Statements counting what was found and what became of it, by organisation. It must not know psycopg.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.plan import Plan
from engine.sql.identifiers import Statement
from engine.sql.step_results import FOUND, RECORDED_AT

#: After a load and before the first vacuum an index-only scan visits the table for every entry, and takes several times
#: as long as reading the table once. The planner does not see that coming, so it is told. For one transaction.
SCANS = """
select set_config(name, vacuumed::text, true)
from unnest(array['enable_indexscan', 'enable_bitmapscan', 'enable_indexonlyscan']) as name, (
    select sum(relallvisible) >= 0.8 * sum(pg_relation_size(oid)) / current_setting('block_size')::int as vacuumed
    from pg_class where oid in ('step_results'::regclass, 'step_persistence'::regclass)
) as tables
"""


def found(plans: Sequence[Plan]) -> Statement:
    """(operation, org_id, count) of found step results, for all plans in one pass over an index."""
    text = f"""
select found.operation_id, found.org_id, count(*) from step_results as found
where {FOUND}
group by found.operation_id, found.org_id
"""
    return Statement(text, {"operations": [operation for plan in plans for operation in plan.operations]})


def outcomes(plans: Sequence[Plan]) -> Statement:
    """(spec, org_id, outcome, count) of the ledger under the plans' present digests, in one pass over an index."""
    text = """
select spec, org_id, outcome, count(*) from step_persistence
where (spec, spec_digest) in (select * from unnest(%(specs)s::text[], %(digests)s::text[]))
group by spec, org_id, outcome
"""
    return Statement(text, {"specs": [plan.name for plan in plans], "digests": [plan.digest for plan in plans]})


def explain(plan: Plan, outcome: str, org_id: str | None, limit: int) -> Statement:
    """The step results behind one number of the identity, `found` included, newest first.

    Columns: id, org_id, pipeline_run_id, recorded_at, outcome, reasons.
    """
    ledger = "ledger.spec = %(spec)s and ledger.spec_digest = %(digest)s"
    which = {"found": "true", "pending": "ledger.step_result_id is null"}.get(outcome, "ledger.outcome = %(outcome)s")
    text = f"""
select found.id, found.org_id, found.pipeline_run_id, {RECORDED_AT},
    coalesce(ledger.outcome, 'pending'), coalesce(ledger.reasons, '[]')
from step_results as found
left join step_persistence as ledger on ledger.step_result_id = found.id and {ledger}
where {FOUND}
    and {which} and (%(org_id)s::uuid is null or found.org_id = %(org_id)s::uuid)
order by found.recorded_at desc, found.id desc
limit %(limit)s
"""
    parameters = {"operations": list(plan.operations), "spec": plan.name, "digest": plan.digest}
    return Statement(text, {**parameters, "outcome": outcome, "org_id": org_id, "limit": limit})
