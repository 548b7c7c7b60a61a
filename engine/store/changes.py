"""Fetch the changes of a plan's rows as JSON text, in the order of their numbers."""

from __future__ import annotations

from dataclasses import dataclass

from engine.plan import Plan
from engine.rows.query import Query
from engine.sql import changes
from engine.store.connection import Connection
from engine.store.errors import READ_ONLY, StoreRefused, wrap_errors
from engine.store.round_trip import TextRow
from engine.store.select import list_answer_names
from engine.store.tenant import read_as_tenant, run_as_tenant
from engine.store.upsert import join_row_json


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes as JSON objects `{"number", "kind", "id", "row"}`, and the number to continue after."""

    entries: tuple[bytes, ...]
    next: int


async def fetch_changes(
    connection: Connection, plan: Plan, query: Query, *, after: int, limit: int, max_bytes: int
) -> Changes:
    """Return the changes of the query's organisation after number `after`: up to `limit` or about `max_bytes`.

    All committed changes are numbered first. A read-only server cannot do that, so it returns only numbered ones.
    """
    org_id = query.tenant
    read = changes.build_changes_statement(plan, query, after, limit)
    statements = [changes.build_waiting_statement(plan, org_id), read]
    async with wrap_errors():
        (waiting, rows), _ = await read_as_tenant(connection, org_id, statements, max_bytes)
    if waiting and len(rows) < limit and await _give_numbers(connection, plan, org_id):
        async with wrap_errors():
            (rows,), _ = await read_as_tenant(connection, org_id, [read], max_bytes)
    names = list_answer_names(plan, query)
    entries = tuple(_build_entry(names, row) for row in rows)
    return Changes(entries, int(rows[-1][0] or after) if rows else after)


async def _give_numbers(connection: Connection, plan: Plan, org_id: str) -> bool:
    """Number the committed changes; return False if the server is read-only."""
    try:
        async with wrap_errors():
            await run_as_tenant(connection, org_id, changes.build_numbering_statements(plan, org_id))
    except StoreRefused as error:
        if error.sqlstate == READ_ONLY:
            return False
        raise
    return True


def _build_entry(names: tuple[str, ...], row: TextRow) -> bytes:
    number, row_id, present, *texts = row
    assert number is not None
    assert row_id is not None
    kind, content = (b"written", join_row_json(names, texts)) if present == b"true" else (b"removed", b"null")
    return b'{"number":%b,"kind":"%b","id":"%b","row":%b}' % (number, kind, row_id, content)
