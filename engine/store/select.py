"""One page of a table.

In: a Question. Out: rows as JSON text, and where the next page starts. It must not know HTTP or cursors' spelling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from engine.columns import documents
from engine.plan import Plan
from engine.rows.query_words import Question
from engine.sql import select
from engine.store.errors import wrap
from engine.store.tenant import ask
from engine.store.upsert import join


@dataclass(frozen=True, slots=True)
class Page:
    """Rows as JSON objects, newest first. `last` is (created_at, id) of the last row where more rows follow."""

    rows: tuple[bytes, ...]
    last: tuple[str, str] | None


async def fetch(connection: AsyncConnection[Any], plan: Plan, question: Question) -> Page:
    """Answer `question`. Raises StoreUnavailable, StoreRefused."""
    statement = select.page(plan, question)
    async with wrap():
        (found,) = await ask(connection, question.org_id, statement.text, [statement.parameters])
    names = documents(plan, question.columns)
    rows = [join(names, shown) for _, _, *shown in found[: question.limit]]
    if len(found) <= question.limit:
        return Page(tuple(rows), None)
    at, row_id, *_ = found[question.limit - 1]
    assert at is not None
    assert row_id is not None
    return Page(tuple(rows), (at.decode(), row_id.decode()))
