"""Send and receive through libpq without blocking, waiting on the event loop."""

from __future__ import annotations

import asyncio

from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult


async def fetch_results(pgconn: PGconn) -> list[PGresult]:
    """Return all results of the next statement, or the result of the pipeline's end (`sync`)."""
    results = []
    while (result := await fetch_result(pgconn)) is not None:
        results.append(result)
        if result.status == ExecStatus.PIPELINE_SYNC:
            break
    return results


async def fetch_result(pgconn: PGconn) -> PGresult | None:
    """Return the next result of a statement as soon as it arrives; None once the statement has no more."""
    while pgconn.is_busy():
        await wait_for_socket(pgconn)
        pgconn.consume_input()
    return pgconn.get_result()


async def send_buffer(pgconn: PGconn) -> None:
    """Send what libpq has buffered, and read meanwhile: a server that cannot send its results reads no statements."""
    while pgconn.flush():
        await wait_for_socket(pgconn, writing=True)
        pgconn.consume_input()


async def wait_for_socket(pgconn: PGconn, *, writing: bool = False) -> None:
    """Wait until the connection's socket has input or, with `writing`, can be written to."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(pgconn.socket, wake)
    try:
        if writing:
            loop.add_writer(pgconn.socket, wake)
        await ready
    finally:
        loop.remove_reader(pgconn.socket)
        if writing:
            loop.remove_writer(pgconn.socket)
