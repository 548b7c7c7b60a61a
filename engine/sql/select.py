"""Build the statement that selects one page of a table.

Ids are selected first, by an index in the order of the answer, and documents are joined for the page only: a sort or an
offset over rows with documents costs a hundred times as much.
"""

from __future__ import annotations

from typing import Any

from engine.plan import Plan
from engine.rows.query import Query
from engine.sql.identifiers import Statement, build_answer_columns, quote


def build_page_statement(plan: Plan, query: Query) -> Statement:
    """Select one page, newest first, then by `id`, and one row more than `limit`, which tells that a page follows.

    Columns: `at` and `id` (the position for the cursor), the scalars as one JSON text, then each document as text.
    """
    conditions, parameters = _build_conditions(plan, query)
    text = f"""
select to_char(shown.created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at, shown.id::text,
        {build_answer_columns(plan, query.columns, "shown")}
from (
    select id from {quote(plan.table)}
    where {conditions}
    order by created_at desc, id desc
    limit %(limit)s offset %(offset)s
) as page
join {quote(plan.table)} as shown using (id)
order by shown.created_at desc, shown.id desc
"""
    return Statement(text, {**parameters, "limit": query.limit + 1, "offset": query.offset})


def _build_conditions(plan: Plan, query: Query) -> tuple[str, dict[str, Any]]:
    conditions, parameters = ["true"], dict[str, Any]()
    if query.org_id is not None:
        conditions, parameters = ["org_id = %(org_id)s::uuid"], {"org_id": query.org_id}
    for name, value in query.filters.items():
        kind = plan.field(name).type.sql
        comparison = (
            f"= any(%(filter_{name})s::{kind}[])" if isinstance(value, list) else f"= %(filter_{name})s::{kind}"
        )
        conditions.append(f"{quote(name)} {comparison}")
        parameters[f"filter_{name}"] = value
    if query.after:
        conditions.append("(created_at, id) < (%(after_at)s::timestamptz, %(after_id)s::uuid)")
        parameters["after_at"], parameters["after_id"] = query.after
    return "\n    and ".join(conditions), parameters
