"""Build the statement that counts why an organisation's step results gave no row, or less than they hold."""

from __future__ import annotations

from collections.abc import Sequence

from engine.plan import Plan
from engine.sql.identifiers import Statement


def build_reason_counts_statement(plans: Sequence[Plan], org_id: str, limit: int) -> Statement:
    """Count the reasons on record by (spec, outcome, code, field), the most frequent first.

    Columns: those four, the count, and message and step result of one example.
    """
    text = """
select spec, outcome, reason ->> 'code', reason ->> 'field', count(*)::text,
       (array_agg(reason ->> 'message' order by recorded_at desc))[1],
       (array_agg(step_result_id order by recorded_at desc))[1]::text
from step_persistence, jsonb_array_elements(reasons) as reason
where (spec, spec_digest) in (select * from unnest(%(specs)s::text[], %(digests)s::text[]))
    and org_id = %(org_id)s::uuid and reasons <> '[]'
group by spec, outcome, reason ->> 'code', reason ->> 'field'
order by count(*) desc, 1, 2, 3, 4
limit %(limit)s::int
"""
    parameters = {"specs": [plan.name for plan in plans], "digests": [plan.digest for plan in plans]}
    return Statement(text, {**parameters, "org_id": org_id, "limit": limit})
