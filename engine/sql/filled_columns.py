"""Build the statement that counts, for each column, in how many of a table's newest rows it has a value."""

from __future__ import annotations

from engine.plan import Plan
from engine.sql.identifiers import Statement, quote, quote_table


def build_filled_columns_statement(plan: Plan, org_id: str, newest: int) -> Statement:
    """Count the `newest` rows of an organisation, and for each field how many of them have a value.

    Documents are not read: a row has a bitmap of its nulls.
    """
    names = [quote(column.name) for column in plan.fields]
    text = f"""
select count(*)::text, {", ".join(f"count({name})::text" for name in names)}
from (
    select {", ".join(names)} from {quote_table(plan.table)}
    where org_id = %(org_id)s::uuid order by created_at desc, id desc limit %(newest)s
) as newest
"""
    return Statement(text, {"org_id": org_id, "newest": newest})
