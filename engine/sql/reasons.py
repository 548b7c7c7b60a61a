"""Build the statements that list and count why step results of an organisation gave no row, or fewer than elements."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from engine.plan import Plan
from engine.sql.identifiers import Statement
from engine.sql.step_results import (
    FOUND,
    RECORDED_AT,
    build_digest_parameters,
    build_outcome_condition,
    build_plan_parameters,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFilter:
    """Which step results to list: those with an outcome, or with a reason."""

    org_id: str
    outcome: str | None = None  # an outcome or `pending`; None for any
    code: str | None = None
    field: str | None = None
    limit: int = 50
    offset: int = 0


def build_reason_counts_statement(plans: Sequence[Plan], org_id: str, limit: int) -> Statement:
    """Count the reasons in the ledger by (spec, outcome, code, field), most frequent first.

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
    return Statement(text, {**build_digest_parameters(plans), "org_id": org_id, "limit": limit})


def build_steps_statement(plan: Plan, wanted: StepFilter, *, queued: bool) -> Statement:
    """Select step results, newest first, with their outcomes and reasons as JSON texts.

    `queued` as for `build_outcome_condition`.
    """
    has_outcome = "true" if wanted.outcome is None else build_outcome_condition(wanted.outcome, queued=queued)
    reason = {"code": wanted.code, **({} if wanted.field is None else {"field": wanted.field})}
    text = f"""
select json_build_object(
    'step_result_id', found.id, 'spec', %(spec)s::text, 'operation_id', found.operation_id,
    'submission_id', found.submission_id, 'pipeline_run_id', found.pipeline_run_id,
    'recorded_at', {RECORDED_AT}, 'outcome', coalesce(ledger.outcome, 'pending'),
    'rows', ledger.row_count, 'refused', ledger.refused_count, 'reasons', coalesce(ledger.reasons, '[]')
)::text
from step_results as found
left join step_persistence as ledger
    on ledger.step_result_id = found.id and ledger.spec = %(spec)s and ledger.spec_digest = %(digest)s
where {FOUND} and found.org_id = %(org_id)s::uuid
    and {has_outcome}
    and {"true" if wanted.code is None else "ledger.reasons @> %(reason)s::jsonb"}
order by found.recorded_at desc, found.id desc
limit %(limit)s offset %(offset)s
"""
    page = {"limit": wanted.limit, "offset": wanted.offset}
    asked = {"org_id": wanted.org_id, "outcome": wanted.outcome, "reason": json.dumps([reason])}
    return Statement(text, {**build_plan_parameters(plan), **page, **asked})


def build_pending_statement(plan: Plan, org_id: str, *, queued: bool) -> Statement:
    """Count the pending step results of a plan, and select when the oldest of them was recorded.

    `queued` as for `build_outcome_condition`.
    """
    text = f"""
select count(*)::text, to_json(min({RECORDED_AT})) #>> '{{}}'
from step_results as found
where {FOUND} and found.org_id = %(org_id)s::uuid
    and {build_outcome_condition("pending", queued=queued)}
"""
    return Statement(text, {**build_plan_parameters(plan), "org_id": org_id})
