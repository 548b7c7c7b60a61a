"""Plan + a question -> the page that answers it.

In: a Plan, filters, a position. Out: a Statement. It must not know callers or HTTP.

Ids are chosen first, by an index that ends in the order of the answer, and documents are fetched for the page only: a
sort or an offset that carried them would cost a hundred times as much.
"""

from __future__ import annotations

from typing import Any

from engine.plan import Plan
from engine.rows.query_words import Question
from engine.sql.identifiers import Statement, quote, shown


def page(plan: Plan, question: Question) -> Statement:
    """One page, newest first, `id` as tie-break; one row more than `limit` is asked for, to know whether more follow.

    Each row answers `at` and `id` (the cursor's position), the scalars as one JSON text, and each document as text.
    """
    conditions, parameters = _conditions(plan, question)
    text = f"""
select to_char(shown.created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at, shown.id::text,
        {shown(plan, question.columns, "shown")}
from (
    select id from {quote(plan.table)}
    where {conditions}
    order by created_at desc, id desc
    limit %(limit)s offset %(offset)s
) as page
join {quote(plan.table)} as shown using (id)
order by shown.created_at desc, shown.id desc
"""
    return Statement(text, {**parameters, "limit": question.limit + 1, "offset": question.offset})


def _conditions(plan: Plan, question: Question) -> tuple[str, dict[str, Any]]:
    conditions, parameters = ["true"], dict[str, Any]()
    if question.org_id is not None:
        conditions, parameters = ["org_id = %(org_id)s::uuid"], {"org_id": question.org_id}
    for name, value in question.filters.items():
        kind = plan.field(name).type.sql
        test = f"= any(%(filter_{name})s::{kind}[])" if isinstance(value, list) else f"= %(filter_{name})s::{kind}"
        conditions.append(f"{quote(name)} {test}")
        parameters[f"filter_{name}"] = value
    if question.after:
        conditions.append("(created_at, id) < (%(after_at)s::timestamptz, %(after_id)s::uuid)")
        parameters["after_at"], parameters["after_id"] = question.after
    return "\n    and ".join(conditions), parameters
