"""Build the statements that count step results for the accounts: found, pending, and by recorded outcome."""

from __future__ import annotations

from collections.abc import Sequence

from engine.plan import Plan
from engine.sql.identifiers import Statement
from engine.sql.lineage import COUNT_STALE_SQL
from engine.sql.step_results import FOUND, RECORDED_AT, build_outcome_condition, build_plan_parameters

#: Disable index scans for the transaction as long as the tables were not vacuumed, for counts over all organisations.
#: Between a load and the first vacuum, an index-only scan visits the table for every entry, which takes several times
#: as long as a sequential scan; the planner does not expect that.
SET_INDEX_SCANS_SQL = """
select set_config(name, vacuumed::text, true)
from unnest(array['enable_indexscan', 'enable_bitmapscan', 'enable_indexonlyscan']) as name, (
    select sum(relallvisible) >= 0.8 * sum(pg_relation_size(oid)) / current_setting('block_size')::int as vacuumed
    from pg_class where oid in ('step_results'::regclass, 'step_persistence'::regclass)
) as tables
"""


def build_found_counts_statement(plans: Sequence[Plan], org_ids: Sequence[str] | None) -> Statement:
    """Count found step results of all plans by (operation, org_id), in one pass over an index."""
    text = f"""
select found.operation_id, found.org_id, count(*) from step_results as found
where {FOUND} and {_restrict_to_orgs(org_ids, "found.")}
group by found.operation_id, found.org_id
"""
    operations = sorted({operation for plan in plans for operation in plan.operations})
    return Statement(text, {"operations": operations, "org_ids": org_ids})


def build_pending_counts_statement(plans: Sequence[Plan], org_ids: Sequence[str] | None) -> Statement:
    """Count the entries of `pending_results` by (spec, org_id)."""
    text = f"""
select spec, org_id, count(*) from pending_results
where spec = any(%(specs)s::text[]) and {_restrict_to_orgs(org_ids)}
group by spec, org_id
"""
    return Statement(text, {"specs": [plan.name for plan in plans], "org_ids": org_ids})


def build_outcome_counts_statement(plans: Sequence[Plan], org_ids: Sequence[str] | None) -> Statement:
    """Count ledger entries with the plans' present digests by (spec, org_id, outcome).

    Columns: these three, the count, then the sums of elements, rows, duplicates and refused elements. Each spec reads
    its part of an index in order, which gives the groups without a hash table: half the time of all specs at once.
    """
    parts, parameters = [], {"org_ids": org_ids}
    for number, plan in enumerate(plans):
        parameters |= {f"spec_{number}": plan.name, f"digest_{number}": plan.digest}
        parts.append(f"""
select %(spec_{number})s::text, org_id, outcome, count(*),
    sum(element_count), sum(row_count), sum(duplicate_count), sum(refused_count)
from step_persistence
where spec = %(spec_{number})s and spec_digest = %(digest_{number})s and {_restrict_to_orgs(org_ids)}
group by org_id, outcome
""")
    return Statement("union all".join(parts), parameters)


def build_reason_counts_statement(plan: Plan, org_ids: Sequence[str] | None) -> Statement:
    """Count the reasons in the ledger of a plan's present digest by (code, field)."""
    text = f"""
select reason ->> 'code', reason ->> 'field', count(*)
from step_persistence, jsonb_array_elements(reasons) as reason
where spec = %(spec)s and spec_digest = %(digest)s and reasons <> '[]' and {_restrict_to_orgs(org_ids)}
group by 1, 2
"""
    return Statement(text, {**build_plan_parameters(plan), "org_ids": org_ids})


def _restrict_to_orgs(org_ids: Sequence[str] | None, source: str = "") -> str:
    return "true" if org_ids is None else f"{source}org_id = any(%(org_ids)s::uuid[])"


def build_stale_counts_statement(plans: Sequence[Plan], org_ids: Sequence[str] | None) -> Statement:
    """Count the entries of `stale_rows` by (spec, org_id)."""
    return Statement(COUNT_STALE_SQL, {"specs": [plan.name for plan in plans], "orgs": list(org_ids or ())})


def build_results_by_outcome_statement(
    plan: Plan, outcome: str, org_id: str | None, limit: int, *, queued: bool
) -> Statement:
    """Select the step results behind one count (an outcome, `found`, `pending` or `refused`), newest first.

    `queued` as for `build_outcome_condition`.
    Columns: id, org_id, pipeline_run_id, recorded_at, outcome, reasons.
    """
    ledger = "ledger.spec = %(spec)s and ledger.spec_digest = %(digest)s"
    text = f"""
select found.id, found.org_id, found.pipeline_run_id, {RECORDED_AT},
    coalesce(ledger.outcome, 'pending'), coalesce(ledger.reasons, '[]')
from step_results as found
left join step_persistence as ledger on ledger.step_result_id = found.id and {ledger}
where {FOUND}
    and {build_outcome_condition(outcome, queued=queued)}
    and (%(org_id)s::uuid is null or found.org_id = %(org_id)s::uuid)
order by found.recorded_at desc, found.id desc
limit %(limit)s
"""
    return Statement(text, {**build_plan_parameters(plan), "outcome": outcome, "org_id": org_id, "limit": limit})
