"""Fetch one page of a table, or one row, as JSON text."""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec

from engine.columns import list_document_columns
from engine.plan import Plan
from engine.rows.query import Query
from engine.sql import select
from engine.sql.identifiers import quote_table
from engine.sql.search import SELECT_STORED_WORDS
from engine.store.connection import Connection, fetch_value
from engine.store.errors import wrap_errors
from engine.store.round_trip import TextRow
from engine.store.tenant import read_as_tenant, run_as_tenant
from engine.store.upsert import join_row_json


@dataclass(frozen=True, slots=True)
class Page:
    """Rows as JSON objects, in the query's order.

    `last` is the position of the last row (its values in the order's columns, its id) if more rows may follow, else
    None.
    """

    rows: tuple[bytes, ...]
    last: tuple[str | None, ...] | None
    count: int | None = None  # the number of matching rows on all pages, if the query has `count`


async def fetch_page(connection: Connection, plan: Plan, query: Query, max_bytes: int | None = None) -> Page:
    """Return the page of `plan`'s table that `query` selects.

    The page ends early at the row with which it has `max_bytes`, since each of a thousand rows may have a document of
    megabytes.
    """
    async with wrap_errors():
        query = await find_stored_words(connection, plan, query)
        statements = select.build_count_statements(plan, query) if query.count else []
        statements.append(select.build_page_statement(plan, query))
        (*counts, rows), cut = await read_as_tenant(connection, query.org_id, statements, max_bytes)
    width = len(query.order) + 1
    names = list_answer_names(plan, query)
    page = tuple(join_row_json(names, texts[width:]) for texts in rows[: query.limit])
    count = _read_count(*counts) if counts else None
    if len(rows) <= query.limit and not cut:  # the statement selects one row more than the page has
        return Page(page, None, count)
    last = rows[: query.limit][-1][:width]
    return Page(page, tuple(None if value is None else value.decode() for value in last), count)


async def fetch_row(connection: Connection, plan: Plan, query: Query, row_id: str) -> bytes | None:
    """Return one row of the query's organisation; None if it has no such row."""
    statement = select.build_row_statement(plan, query, row_id)
    async with wrap_errors():
        (rows,) = await run_as_tenant(connection, query.org_id, [statement])
    return join_row_json(list_answer_names(plan, query), rows[0]) if rows else None


async def find_stored_words(connection: Connection, plan: Plan, query: Query) -> Query:
    """Return the query with whether the table stores the words of exactly the columns that its `search` looks in."""
    if query.search is None:
        return query
    columns = await fetch_value(connection, SELECT_STORED_WORDS, {"table": quote_table(plan.table)})
    return replace(query, are_words_stored=columns == sorted(plan.search))


def list_answer_names(plan: Plan, query: Query) -> tuple[str, ...]:
    """Return the JSON keys of the values that follow the scalars in a row of an answer: documents, then paths."""
    return (*list_document_columns(plan, query.columns), *(path.text for path in query.paths))


def _read_count(counted: list[TextRow], estimated: list[TextRow] | None = None) -> int:
    """Return the counted rows; where there are more than an estimate counts, the planner's estimate."""
    ((text,),) = counted
    assert text is not None
    count = int(text)
    if estimated is None or count <= select.COUNTED_ROWS:
        return count
    ((plan,),) = estimated
    assert plan is not None
    return max(count, int(msgspec.json.decode(plan)[0]["Plan"]["Plan Rows"]))
