"""`python -m scripts.bench.psycopg_front serve`: `dex` with psycopg's documented interface instead of round_trip.py.

A tenant's statements go through `pipeline()`, and the rows of a page through `stream()`, which stops at the page's
limit of bytes as round_trip.py does. `stream()` cannot be part of a pipeline, so a page takes two messages and a
rollback.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg.adapt import Buffer, Loader
from psycopg.pq import PipelineStatus
from psycopg.pq.abc import PGresult

from engine.store import tenant
from engine.store.connection import Connection
from engine.store.round_trip import TextRow
from scripts import dex


class _TextLoader(Loader):
    """Leaves a value in Postgres's text format, as round_trip.py returns it."""

    def load(self, data: Buffer) -> bytes:
        return bytes(data)


async def send_statements(
    connection: Connection, calls: Sequence[tuple[str, Mapping[str, Any]]]
) -> list[list[TextRow]]:
    """Run statements as `round_trip.send_statements` does.

    There is no transaction block, which would take two more statements. If the client fails, what was sent before is
    rolled back explicitly, since the end of a pipeline commits.
    """
    async with connection.pipeline() as pipeline:
        try:
            cursors = [await connection.execute(sql, parameters) for sql, parameters in calls]
        except BaseException:
            if pipeline.status != PipelineStatus.ABORTED:
                await connection.execute("rollback")
            raise
    return [_read_rows(cursor.pgresult) for cursor in cursors]


async def send_bounded_statements(
    connection: Connection, calls: Sequence[tuple[str, Mapping[str, Any]]], max_bytes: int | None
) -> tuple[list[list[TextRow]], bool]:
    """Run statements as `round_trip.send_bounded_statements` does."""
    if max_bytes is None:
        return await send_statements(connection, calls), False
    *before, (sql, parameters) = calls
    async with connection.pipeline():
        await connection.execute("begin read only")
        cursors = [await connection.execute(text, values) for text, values in before]
    try:
        rows, is_cut = await _stream_rows(connection, sql, parameters, max_bytes)
    finally:
        await connection.rollback()
    return [*(_read_rows(cursor.pgresult) for cursor in cursors), rows], is_cut


async def _stream_rows(
    connection: Connection, sql: str, parameters: Mapping[str, Any], max_bytes: int
) -> tuple[list[TextRow], bool]:
    rows: list[TextRow] = []
    size = 0
    cursor = connection.cursor()
    for name in ("json", "jsonb", "text"):
        cursor.adapters.register_loader(name, _TextLoader)
    async for row in cursor.stream(sql, parameters):
        rows.append(row)
        size += sum(len(value) for value in row if value is not None)
        if size >= max_bytes:
            return rows, True
    return rows, False


def _read_rows(result: PGresult | None) -> list[TextRow]:
    assert result is not None
    columns = range(result.nfields)
    return [tuple(result.get_value(row, column) for column in columns) for row in range(result.ntuples)]


if __name__ == "__main__":
    tenant.send_statements = send_statements  # type: ignore[attr-defined]
    tenant.send_bounded_statements = send_bounded_statements  # type: ignore[attr-defined]
    dex.main()
