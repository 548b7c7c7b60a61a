"""Fetch one page of a table as JSON text."""

from __future__ import annotations

from dataclasses import dataclass

from engine.columns import list_document_columns
from engine.plan import Plan
from engine.rows.query import Query
from engine.sql import select
from engine.store.connection import Connection
from engine.store.errors import wrap_errors
from engine.store.tenant import run_as_tenant
from engine.store.upsert import join_row_json


@dataclass(frozen=True, slots=True)
class Page:
    """Rows as JSON objects, newest first. `last` is (created_at, id) of the last row where more rows follow."""

    rows: tuple[bytes, ...]
    last: tuple[str, str] | None


async def fetch_page(connection: Connection, plan: Plan, query: Query) -> Page:
    """Return the page of `plan`'s table that `query` selects. Raises StoreUnavailable, StoreRefused."""
    statement = select.build_page_statement(plan, query)
    async with wrap_errors():
        (rows,) = await run_as_tenant(connection, query.org_id, statement.text, [statement.parameters])
    names = list_document_columns(plan, query.columns)
    page = tuple(join_row_json(names, texts) for _, _, *texts in rows[: query.limit])
    if len(rows) <= query.limit:  # the statement selects one row more than the page holds
        return Page(page, None)
    created_at, row_id, *_ = rows[query.limit - 1]
    assert created_at is not None
    assert row_id is not None
    return Page(page, (created_at.decode(), row_id.decode()))
