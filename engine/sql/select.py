"""Build the statements that read a table: one page, one row, and the number of matching rows.

Ids are selected first, by an index in the query's order, and documents are joined for the page only: a sort or an
offset over rows with documents costs a hundred times as much.
"""

from __future__ import annotations

from typing import Any, Final

from engine.plan import Plan
from engine.rows.ordering import OrderColumn
from engine.rows.query import Count, Query
from engine.sql.conditions import build_conditions, spell_comparable
from engine.sql.identifiers import Statement, build_answer_columns, quote, quote_names, quote_table

#: The most rows that an estimate counts; of more, it is the planner's.
COUNTED_ROWS: Final = 10_000


def build_page_statement(plan: Plan, query: Query) -> Statement:
    """Select one page in the query's order, plus one row, which tells that another page follows.

    Columns: the position for the cursor (the order's columns and `id`, as text), then the columns of
    `build_row_columns`.
    """
    conditions, parameters = build_conditions(plan, query)
    columns, more = build_row_columns(plan, query)
    position = ", ".join(f"shown.{quote(column.name)}::text" for column in query.order)
    text = f"""
select {position}, shown.id::text,
        {columns}
from (
    {_build_first_ids(plan, query.order, conditions)}
    limit %(limit)s offset %(offset)s
) as page
join {quote_table(plan.table)} as shown using (id)
order by {build_order(query.order, "shown.")}
"""
    return Statement(text, {**parameters, **more, "limit": query.limit + 1, "offset": query.offset})


def build_row_statement(plan: Plan, query: Query, row_id: str) -> Statement:
    """Select the row with the id `row_id` of the query's organisation, with the columns of `build_row_columns`."""
    columns, parameters = build_row_columns(plan, query)
    text = f"""
select {columns}
from {quote_table(plan.table)} as shown
where shown.org_id = %(org_id)s::uuid and shown.id = %(id)s::uuid
"""
    return Statement(text, {**parameters, "org_id": query.tenant, "id": row_id})


def build_count_statements(plan: Plan, query: Query) -> list[Statement]:
    """Count the matching rows of all pages.

    For `estimated`, count at most one more than COUNTED_ROWS, and select the planner's estimate as a JSON plan. The
    planner knows how often a value is there in the rows of all organisations, so its estimate of few rows would show
    an organisation that others have a value.
    """
    conditions, parameters = build_conditions(plan, query, paged=False)
    matching = f"from {quote_table(plan.table)}\nwhere {conditions}"
    if query.count is Count.EXACT:
        return [Statement(f"select count(*)::text {matching}", parameters)]
    first = _build_first_ids(plan, query.order, conditions)
    counted = f"select count(*)::text from (\n    {first}\n    limit {COUNTED_ROWS + 1}\n) as counted"
    return [Statement(counted, parameters), Statement(f"explain (format json) select id {matching}", parameters)]


def build_row_columns(plan: Plan, query: Query) -> tuple[str, dict[str, Any]]:
    """Return the select list of the row `shown` in an answer, and its parameters.

    The columns: scalars as one JSON text, documents, paths. Documents and paths are `jsonb`, which callers read in
    Postgres's text format.
    """
    paths, parameters = build_path_values(query)
    return ",\n        ".join((build_answer_columns(plan, query.columns, "shown", cast=False), *paths)), parameters


def build_path_values(query: Query) -> tuple[list[str], dict[str, Any]]:
    """Return the values at the query's paths into documents of the row `shown`, and their parameters."""
    values = [f"shown.{quote(path.column)} #> %(path_{number})s::text[]" for number, path in enumerate(query.paths)]
    return values, {f"path_{number}": list(path.keys) for number, path in enumerate(query.paths)}


def build_order(order: tuple[OrderColumn, ...], source: str = "") -> str:
    """Return the ORDER BY list. The place of nulls is left to Postgres, as in the indexes."""
    directions = [
        f"{spell_comparable(column.column, source)}{' desc' if column.descending else ''}" for column in order
    ]
    return ", ".join((*directions, f"{source}id{' desc' if order[-1].descending else ''}"))


def _build_first_ids(plan: Plan, order: tuple[OrderColumn, ...], conditions: str) -> str:
    """Return the selection of the ids that meet `conditions`, in order, to be limited."""
    return f"select id from {_build_matching(plan, order, conditions)}\n    order by {build_order(order)}"


def _build_matching(plan: Plan, order: tuple[OrderColumn, ...], conditions: str) -> str:
    """Return what follows FROM for the rows that meet `conditions`, to be sorted and limited.

    Only an index over all organisations is in the order of an id. If the planner read that, it would pass over the rows
    of all others until a page of a small organisation is full, so `offset 0` makes it select the organisation's first.
    """
    matching = f"{quote_table(plan.table)}\n    where {conditions}"
    first = order[0].column
    if first.field is not None or first.type.name != "uuid":
        return matching
    names = quote_names(dict.fromkeys([*(column.name for column in order), "id"]))
    return f"(\n    select {names} from {matching}\n    offset 0\n    ) as matching"
