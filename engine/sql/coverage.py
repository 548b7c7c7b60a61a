"""The accounting identity in SQL.

In: a Plan. Out: Statements counting what was found and what became of it, by organisation. It must not know psycopg.
"""

from __future__ import annotations

from engine.plan import Plan
from engine.sql.text import Statement


def found(plan: Plan) -> Statement:
    """(org_id, count) of found step results, from an index alone."""
    text = """
select org_id, count(*) from step_results
where status = 'succeeded' and result_status = 'found' and operation_id = any(%(operations)s)
group by org_id
"""
    return Statement(text, {"operations": list(plan.operations)})


def outcomes(plan: Plan) -> Statement:
    """(org_id, outcome, count) of the ledger under the plan's present digest."""
    text = """
select org_id, outcome, count(*) from step_persistence
where spec = %(spec)s and spec_digest = %(digest)s
group by org_id, outcome
"""
    return Statement(text, {"spec": plan.name, "digest": plan.digest})


def explain(plan: Plan, outcome: str, org_id: str | None, limit: int) -> Statement:
    """The step results behind one number: (id, org_id, pipeline_run_id, recorded_at, reasons), newest first."""
    ledger = "ledger.spec = %(spec)s and ledger.spec_digest = %(digest)s"
    which = "ledger.step_result_id is null" if outcome == "pending" else "ledger.outcome = %(outcome)s"
    text = f"""
select found.id, found.org_id, found.pipeline_run_id, found.recorded_at, coalesce(ledger.reasons, '[]')
from step_results as found
left join step_persistence as ledger on ledger.step_result_id = found.id and {ledger}
where found.status = 'succeeded' and found.result_status = 'found' and found.operation_id = any(%(operations)s)
    and {which} and (%(org_id)s::uuid is null or found.org_id = %(org_id)s::uuid)
order by found.recorded_at desc, found.id desc
limit %(limit)s
"""
    parameters = {"operations": list(plan.operations), "spec": plan.name, "digest": plan.digest}
    return Statement(text, {**parameters, "outcome": outcome, "org_id": org_id, "limit": limit})
