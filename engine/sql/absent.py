"""Plan -> the statements of `on_absent: delete`.

In: a Plan. Out: SQL text. It must not know which step results there are.

The rows of one parent key (the conflict columns that do not come from `item`) are replaced as a whole: a result removes
what older results left there. So writers of one parent take turns, by an advisory lock each takes before its first row.
"""

from __future__ import annotations

from engine.plan import Plan
from engine.sql.text import match_parent, quote

#: Take the turn of every parent in `parents`, in one order for every writer, until the transaction ends.
LOCK = """
select pg_advisory_xact_lock(hashtextextended(parent, 0))
from (select distinct parent from unnest(%(parents)s::text[]) as parent order by parent) as ordered
"""


def delete(plan: Plan) -> str:
    """Delete what older results left under each parent.

    Parameters: `orgs`, `times`, a list per field of the parent key by its name; entry n of each is one step result.
    Answers (number from 1, rows deleted, whether a newer result has rows there).
    """
    keys = [(item.name, item.type.sql) for item in plan.parent_key]
    arrays = ["%(orgs)s::uuid[]", "%(times)s::timestamptz[]", *(f"%({name})s::{kind}[]" for name, kind in keys)]
    names = ", ".join(["org_id", "source_recorded_at", *(quote(name) for name, _ in keys), "number"])
    table = quote(plan.table)
    return f"""
with parent as (
    select * from unnest({", ".join(arrays)}) with ordinality as parent ({names})
), deleted as (
    delete from {table} as stored using parent
    where {match_parent(plan, "stored", "parent")}
    and (stored.source_recorded_at is null or stored.source_recorded_at < parent.source_recorded_at)
    returning parent.number
)
select parent.number, (select count(*) from deleted where deleted.number = parent.number), exists (
    select from {table} as newer
    where {match_parent(plan, "newer", "parent")} and newer.source_recorded_at > parent.source_recorded_at
)
from parent
"""
