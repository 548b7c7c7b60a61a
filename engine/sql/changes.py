"""Build the statements that number the changes of a plan's rows and read a page of them.

The triggers of migration 035 record each changed row without a number. A reader gives the numbers while it holds a
lock on the row of `change_numbers`, and only to committed entries that no transaction has locked. So a reader that
sees a number has seen all lower ones.
"""

from __future__ import annotations

from typing import Any, Final

from engine.plan import Plan
from engine.rows.query import Query
from engine.sql.identifiers import Statement, quote_table
from engine.sql.select import build_row_columns

#: The most entries that are numbered at once.
_NUMBERED_AT_ONCE: Final = 10_000
_OWN: Final = "org_id = %(org_id)s::uuid and table_name = %(table)s::text"


def build_waiting_statement(plan: Plan, org_id: str) -> Statement:
    """Select one row if some change has no number yet, else none."""
    return Statement(
        f"select 1 from row_changes where {_OWN} and number is null limit 1", _build_own_parameters(plan, org_id)
    )


def build_numbering_statements(plan: Plan, org_id: str) -> list[Statement]:
    """Build the statements that number the oldest unnumbered changes of an organisation's rows: at most 10,000.

    Run the statements in one transaction, in order: insert the counter, lock it, number the changes. They are separate,
    since a statement sees only what was committed when it began: the last begins after the lock, so it sees the numbers
    that its previous holder gave.
    """
    start = (
        "insert into change_numbers (org_id, table_name) values (%(org_id)s::uuid, %(table)s::text)"
        " on conflict do nothing"
    )
    lock = f"select last from change_numbers where {_OWN} for update"
    number = f"""
with fresh as materialized (
    select row_id, changed_at from row_changes
    where {_OWN} and number is null
    order by changed_at, row_id limit {_NUMBERED_AT_ONCE}
    for no key update skip locked
), placed as (
    select row_id, row_number() over (order by changed_at, row_id) as place from fresh
), given as (
    update row_changes as entry set number = counter.last + placed.place
    from placed, change_numbers as counter
    where entry.org_id = %(org_id)s::uuid and entry.table_name = %(table)s::text and entry.row_id = placed.row_id
      and counter.org_id = %(org_id)s::uuid and counter.table_name = %(table)s::text
    returning entry.number
)
update change_numbers set last = (select max(number) from given) where {_OWN} and exists (select from given)
"""
    return [Statement(text, _build_own_parameters(plan, org_id)) for text in (start, lock, number)]


def build_changes_statement(plan: Plan, query: Query, after: int, limit: int) -> Statement:
    """Select the changes with numbers above `after`: number, id, whether the row still exists, and its columns."""
    columns, parameters = build_row_columns(plan, query)
    text = f"""
select entry.number::text, entry.row_id::text, (shown.id is not null)::text,
        {columns}
from (
    select row_id, number, removed from row_changes
    where {_OWN} and number > %(after)s::bigint
    order by number limit %(limit)s
) as entry
left join {quote_table(plan.table)} as shown
    on shown.id = entry.row_id and shown.org_id = %(org_id)s::uuid and not entry.removed
order by entry.number
"""
    return Statement(text, {**parameters, **_build_own_parameters(plan, query.tenant), "after": after, "limit": limit})


def _build_own_parameters(plan: Plan, org_id: str) -> dict[str, Any]:
    return {"org_id": org_id, "table": plan.table}
