"""Stream all rows of a query out of Postgres, in blocks, as `COPY` writes them.

Rows stay bytes: no value becomes a Python object, and only one block is in memory, however many rows there are. A slow
reader slows Postgres down.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

from psycopg import AsyncClientCursor, errors
from psycopg.abc import PQGen
from psycopg.generators import fetch, fetch_many, send
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn
from psycopg.waiting import Wait

from engine.plan import Plan
from engine.rows.export_formats import ExportFormat
from engine.rows.query import Query
from engine.sql.export import build_copy_statement
from engine.store.connection import Connection
from engine.store.errors import wrap_errors
from engine.store.tenant import build_settings

#: The size of a block in bytes: the row that reaches it is the block's last.
BLOCK_BYTES: Final = 256 * 1024
#: An export takes as long as its reader; the timeout is for a reader that has stopped.
_SET_TIMEOUT: Final = "select set_config('statement_timeout', '6h', true)"

Block = list[bytes]  # complete rows, each with its line end


async def stream_rows(connection: Connection, plan: Plan, query: Query, format_: ExportFormat) -> AsyncGenerator[Block]:
    """Yield every row that matches, in the query's order and from one snapshot, in blocks.

    Raises StoreUnavailable, StoreRefused. If the caller stops early, the connection is closed, which stops the
    statement.
    """
    statement = build_copy_statement(plan, query, format_)
    text = AsyncClientCursor(connection).mogrify(statement.text.encode(), statement.parameters)  # COPY has none
    settings, parameters = build_settings(query.org_id)
    async with wrap_errors(), connection.transaction():
        await connection.execute(_SET_TIMEOUT)
        await connection.execute(settings.encode(), parameters)
        finished = False
        try:
            await connection.wait(_start_copy(connection.pgconn, text.encode()))
            while not finished:
                block, finished = await connection.wait(_read_block(connection.pgconn))
                if block:
                    yield block
        finally:
            if not finished:
                connection.pgconn.finish()


def _start_copy(pgconn: PGconn, text: bytes) -> PQGen[None]:
    pgconn.send_query(text)
    yield from send(pgconn)
    result = yield from fetch(pgconn)
    assert result is not None
    if result.status != ExecStatus.COPY_OUT:
        yield from fetch_many(pgconn)
        raise errors.error_from_result(result)


def _read_block(pgconn: PGconn) -> PQGen[tuple[Block, bool]]:
    """Read rows until they fill a block; return the rows, and whether they were the last."""
    block, size = Block(), 0
    while size < BLOCK_BYTES:
        length, data = pgconn.get_copy_data(1)
        if length > 0:
            block.append(bytes(data))
            size += length
        elif length == 0:
            while not (yield Wait.R):
                pass  # nothing has arrived yet
            pgconn.consume_input()
        else:
            for result in (yield from fetch_many(pgconn)):
                if result.status == ExecStatus.FATAL_ERROR:
                    raise errors.error_from_result(result)
            return block, True
    return block, False
