"""Plan -> the statements of `on_absent: delete`.

In: a Plan. Out: SQL text. It must not know which step results there are.

The rows of one parent key (the conflict columns that do not come from `item`) are replaced as a whole: a result removes
what older results left there. So writers of one parent take turns, by an advisory lock each takes before its first row.
"""

from __future__ import annotations

from engine.plan import Plan
from engine.sql.identifiers import match_parent, quote


def turn(plan: Plan, row: str) -> str:
    """The number of the lock that writers of the parent of `row` take."""
    key = ", ".join(f"{row}.{quote(item.name)}" for item in plan.parent_key)
    return f"hashtextextended(jsonb_build_array('{plan.table}', {row}.org_id, {key})::text, 0)"


def lock(plan: Plan) -> str:
    """Take the turn of every parent, in one order for every writer, for the transaction. Parameters: as of `delete`."""
    return f"""
with parent as (
{_parents(plan, "array[]::jsonb[]")}
)
select pg_advisory_xact_lock(turn)
from (select distinct {turn(plan, "parent")} as turn from parent order by turn) as ordered
"""


def overtaken(plan: Plan) -> str:
    """Tell which of the step results came too late: a newer one has rows under its parent, or said that there are none.

    Parameters: as of `delete`, and `spec`, `digest`, `reasons`: what the ledger says of an empty result of that parent.
    Answers their numbers, from 1.
    """
    return f"""
with parent as (
{_parents(plan, "%(reasons)s::jsonb[]")}
)
select parent."Number" from parent
where exists (
    select from {quote(plan.table)} as newer
    where {match_parent(plan, "newer", "parent")} and newer.source_recorded_at > parent.source_recorded_at
) or exists (
    select from step_persistence as ledger join step_results as newer on newer.id = ledger.step_result_id
    where ledger.spec = %(spec)s and ledger.spec_digest = %(digest)s and ledger.org_id = parent.org_id
    and ledger.element_count = 0 and ledger.reasons @> parent."Reasons"
    and newer.recorded_at > parent.source_recorded_at
)
"""


def delete(plan: Plan) -> str:
    """Delete what older results left under each parent.

    Parameters: `orgs`, `times`, a list per field of the parent key by its name; entry n of each is one step result.
    Answers (number from 1, rows deleted).
    """
    return f"""
with parent as (
{_parents(plan, "array[]::jsonb[]")}
), deleted as (
    delete from {quote(plan.table)} as stored using parent
    where {match_parent(plan, "stored", "parent")}
    and (stored.source_recorded_at is null or stored.source_recorded_at < parent.source_recorded_at)
    returning parent."Number"
)
select "Number", count(*) from deleted group by "Number"
"""


def _parents(plan: Plan, reasons: str) -> str:
    """The parents as rows. Names of our own have a capital letter, which no column of a spec has."""
    keys = [(item.name, item.type.sql) for item in plan.parent_key]
    arrays = [
        "%(orgs)s::uuid[]",
        "%(times)s::timestamptz[]",
        *(f"%({name})s::{kind}[]" for name, kind in keys),
        reasons,
    ]
    names = ["org_id", "source_recorded_at", *(quote(name) for name, _ in keys), '"Reasons"', '"Number"']
    return f"    select * from unnest({', '.join(arrays)}) with ordinality as parent ({', '.join(names)})"
