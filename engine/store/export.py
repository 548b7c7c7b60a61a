"""Stream all rows of a query out of Postgres, in blocks, as `COPY` writes them.

Rows stay bytes: no value becomes a Python object, and only one block is in memory, however many rows there are. A slow
reader slows Postgres down.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

from psycopg import AsyncClientCursor, errors
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn

from engine.plan import Plan
from engine.rows.export_formats import ExportFormat
from engine.rows.query import Query
from engine.sql.export import build_copy_statement
from engine.store.connection import Connection
from engine.store.errors import wrap_errors
from engine.store.libpq import fetch_result, fetch_results, send_buffer, wait_for_socket
from engine.store.select import find_stored_words
from engine.store.tenant import build_settings

#: The size of a block in bytes: the row that reaches it is the block's last.
BLOCK_BYTES: Final = 256 * 1024
#: An export takes as long as its reader; the timeout is for a reader that has stopped.
_SET_TIMEOUT: Final = "select set_config('statement_timeout', '6h', true)"

Block = list[bytes]  # complete rows, each with its line end


async def stream_rows(connection: Connection, plan: Plan, query: Query, format_: ExportFormat) -> AsyncGenerator[Block]:
    """Yield every row that matches, in the query's order and from one snapshot, in blocks.

    If the caller stops early, the connection is closed, which stops the statement.
    """
    async with wrap_errors():
        query = await find_stored_words(connection, plan, query)
    statement = build_copy_statement(plan, query, format_)
    text = AsyncClientCursor(connection).mogrify(statement.text.encode(), statement.parameters)  # COPY has none
    settings, parameters = build_settings(query.org_id)
    async with wrap_errors(), connection.transaction():
        await connection.execute(_SET_TIMEOUT)
        await connection.execute(settings.encode(), parameters)
        finished = False
        try:
            await _start_copy(connection.pgconn, text.encode())
            while not finished:
                block, finished = await _read_block(connection.pgconn)
                if block:
                    yield block
        finally:
            if not finished:
                connection.pgconn.finish()


async def _start_copy(pgconn: PGconn, text: bytes) -> None:
    pgconn.send_query(text)
    await send_buffer(pgconn)
    result = await fetch_result(pgconn)
    assert result is not None
    if result.status != ExecStatus.COPY_OUT:
        await fetch_results(pgconn)
        raise errors.error_from_result(result)


async def _read_block(pgconn: PGconn) -> tuple[Block, bool]:
    """Read rows until they fill a block; return the rows, and whether they were the last."""
    block, size = Block(), 0
    while size < BLOCK_BYTES:
        length, data = pgconn.get_copy_data(1)
        if length > 0:
            block.append(bytes(data))
            size += length
        elif length == 0:
            await wait_for_socket(pgconn)
            pgconn.consume_input()
        else:
            for result in await fetch_results(pgconn):
                if result.status == ExecStatus.FATAL_ERROR:
                    raise errors.error_from_result(result)
            return block, True
    return block, False
