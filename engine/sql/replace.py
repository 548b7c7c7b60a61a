"""Build the statements of `on_absent: delete`: a step result replaces all rows of its parent key.

The parent key is the conflict columns that do not come from `item`. A result deletes the rows that older results left
under it, so each writer takes an advisory lock on the parent key before its first row.
"""

from __future__ import annotations

from engine.plan import Plan
from engine.sql.identifiers import build_parent_match, quote


def build_parent_lock_key(plan: Plan, row: str) -> str:
    """Build the advisory lock key of the parent of `row`."""
    key = ", ".join(f"{row}.{quote(column.name)}" for column in plan.parent_key)
    return f"hashtextextended(jsonb_build_array('{plan.table}', {row}.org_id, {key})::text, 0)"


def build_parent_lock_sql(plan: Plan) -> str:
    """Build the statement that locks every parent until the end of the transaction, in one order for every writer.

    Parameters: those of `build_delete_sql`.
    """
    return f"""
with parent as (
{_build_parents_select(plan, "array[]::jsonb[]")}
)
select pg_advisory_xact_lock(lock_key)
from (select distinct {build_parent_lock_key(plan, "parent")} as lock_key from parent order by lock_key) as ordered
"""


def build_stale_results_sql(plan: Plan) -> str:
    """Build the query for stale step results: a newer one wrote rows for the parent key, or recorded an empty list.

    Parameters: those of `build_delete_sql`, and `spec`, `digest` and `reasons`, the reasons that the ledger has for an
    empty result of the parent key. Returns the numbers of the stale step results, from 1.
    """
    return f"""
with parent as (
{_build_parents_select(plan, "%(reasons)s::jsonb[]")}
)
select parent."Number" from parent
where exists (
    select from {quote(plan.table)} as newer
    where {build_parent_match(plan, "newer", "parent")} and newer.source_recorded_at > parent.source_recorded_at
) or exists (
    select from step_persistence as ledger join step_results as newer on newer.id = ledger.step_result_id
    where ledger.spec = %(spec)s and ledger.spec_digest = %(digest)s and ledger.org_id = parent.org_id
    and ledger.element_count = 0 and ledger.reasons @> parent."Reasons"
    and newer.recorded_at > parent.source_recorded_at
)
"""


def build_delete_sql(plan: Plan) -> str:
    """Build the statement that deletes the rows older results left under each parent.

    Parameters: `orgs`, `times`, and a list per field of the parent key under its name; entry n of each list is one step
    result. Returns (number of the step result from 1, rows deleted).
    """
    return f"""
with parent as (
{_build_parents_select(plan, "array[]::jsonb[]")}
), deleted as (
    delete from {quote(plan.table)} as stored using parent
    where {build_parent_match(plan, "stored", "parent")}
    and (stored.source_recorded_at is null or stored.source_recorded_at < parent.source_recorded_at)
    returning parent."Number"
)
select "Number", count(*) from deleted group by "Number"
"""


def _build_parents_select(plan: Plan, reasons: str) -> str:
    """Select the parents as rows. Names that are no columns have a capital letter, which no column of a spec has."""
    keys = [(column.name, column.type.sql) for column in plan.parent_key]
    arrays = [
        "%(orgs)s::uuid[]",
        "%(times)s::timestamptz[]",
        *(f"%({name})s::{kind}[]" for name, kind in keys),
        reasons,
    ]
    names = ["org_id", "source_recorded_at", *(quote(name) for name, _ in keys), '"Reasons"', '"Number"']
    return f"    select * from unnest({', '.join(arrays)}) with ordinality as parent ({', '.join(names)})"
