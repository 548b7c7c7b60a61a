"""Send several statements in one message, as one transaction, and read their rows in Postgres's text format.

psycopg's pipeline mode sends each statement by itself and cannot read rows one at a time. Here everything is first put
into libpq's buffer and then sent as one message, using what psycopg documents for that: `Connection.pgconn` and
`psycopg.pq`, which is libpq (docs/decisions/080). No `begin` is needed: outside of a transaction block, everything that
a pipeline sends up to its end (`sync`) is one transaction.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from psycopg import errors
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import ExecStatus, PipelineStatus
from psycopg.pq.abc import PGconn, PGresult

from engine.store.connection import Connection
from engine.store.libpq import fetch_result, fetch_results, send_buffer

#: The values of a row in Postgres's text format.
TextRow = tuple[bytes | None, ...]
#: A statement's SQL and its parameters by name.
Call = tuple[str, Mapping[str, Any]]

_PLACEHOLDER = re.compile(r"%\((\w+)\)s|%%")
_MOST_PREPARED = 100  # prepared statements per connection: psycopg's default
_MOST_ATTEMPTS = 6  # to send statements: a swap may end them with a deadlock at each of the tables that it locks
_TURN_BYTES = 512 * 1024  # of an answer to read before other tasks get their turn
_CANCEL_TIMEOUT = 5.0  # seconds to wait for a cancelled statement's end; then the connection is closed


@dataclass(frozen=True, slots=True)
class NumberedStatement:
    """A statement with `$1` instead of `%(name)s`, and the names in that order.

    Its SQL casts each parameter to its type.
    """

    sql: bytes
    names: tuple[str, ...]
    digest: bytes


@lru_cache(maxsize=1000)
def number_placeholders(sql: str) -> NumberedStatement:
    """Convert `%(name)s` placeholders to `$1, $2, ...`; return the SQL and the order of its parameters."""
    names = tuple(dict.fromkeys(name for name in _PLACEHOLDER.findall(sql) if name))
    numbers = {name: f"${number}" for number, name in enumerate(names, start=1)}
    numbered = _PLACEHOLDER.sub(lambda match: numbers[match[1]] if match[1] else "%", sql).encode()
    return NumberedStatement(numbered, names, hashlib.sha256(numbered).hexdigest()[:24].encode())


async def send_statements(connection: Connection, calls: Sequence[Call]) -> list[list[TextRow]]:
    """Run statements (SQL and parameters by name), all or none; return the rows of each.

    Raises psycopg's error of the first statement that failed; the connection stays usable.
    """
    results, _ = await send_bounded_statements(connection, calls, None)
    return results


async def send_bounded_statements(
    connection: Connection, calls: Sequence[Call], max_bytes: int | None
) -> tuple[list[list[TextRow]], bool]:
    """Run statements as `send_statements` does, but stop reading the rows of the last one once they have `max_bytes`.

    Returns the rows of each statement, and whether the last ones were cut off. At most `max_bytes` and one row are in
    memory. Stopping cancels the last statement, which rolls the transaction back, so the statements must only read.
    """
    assert connection.autocommit, "a pipeline is a transaction of its own only in autocommit mode"
    for _ in range(_MOST_ATTEMPTS - 1):
        try:
            return await _send_statements(connection, calls, max_bytes)
        except errors.InvalidSqlStatementName:
            _PREPARED[connection].forget_all()
        except errors.DuplicatePreparedStatement:  # by another client: there is a pooler that was not detected
            connection.prepare_threshold = None
        except errors.DeadlockDetected:  # all was rolled back: a swap of the table (`dex rebuild`) went before
            pass
    return await _send_statements(connection, calls, max_bytes)


@dataclass(slots=True)
class PreparedStatements:
    """The statements prepared on one connection: their digests, oldest first.

    psycopg discards all prepared statements after a rollback, these too, and a pooler may do so at any time. As it is
    unknown then which still exist, `forget_all` starts a new generation of names.
    """

    generation: int = 0
    digests: dict[bytes, None] = field(default_factory=dict)

    def build_name(self, digest: bytes) -> bytes:
        return b"dex_%d_%b" % (self.generation, digest)

    def forget_all(self) -> None:
        self.generation += 1
        self.digests.clear()


_PREPARED: WeakKeyDictionary[Connection, PreparedStatements] = WeakKeyDictionary()


async def _send_statements(
    connection: Connection, calls: Sequence[Call], max_bytes: int | None
) -> tuple[list[list[TextRow]], bool]:
    statements = [number_placeholders(sql) for sql, _ in calls]
    values = [
        _dump_parameters(connection, statement, parameters)
        for statement, (_, parameters) in zip(statements, calls, strict=True)
    ]
    reading = _BoundedReading(max_bytes)
    async with connection.lock:
        try:
            results = await _run_pipeline(connection, statements, values, reading)
            if reading.cut:
                await _cancel_pipeline(connection)
        except asyncio.CancelledError:
            with suppress(TimeoutError, psycopg.Error):
                await _cancel_pipeline(connection)
            raise
        finally:
            if connection.pgconn.pipeline_status != PipelineStatus.OFF:  # interrupted: the connection is unusable
                connection.pgconn.finish()
    for result in results:
        if result.status == ExecStatus.FATAL_ERROR:
            raise errors.error_from_result(result)
    answers = [_read_rows(result) for result in results[-len(statements) :]]
    if max_bytes is not None:
        answers[-1] = reading.rows
    return answers, reading.cut


@dataclass(slots=True)
class _BoundedReading:
    """Collects the rows of a statement one at a time until they have `max_bytes`; all at once if that is None."""

    max_bytes: int | None
    rows: list[TextRow] = field(default_factory=list)
    size: int = 0
    cut: bool = False

    def add_row(self, result: PGresult) -> None:
        assert self.max_bytes is not None
        row = tuple(result.get_value(0, column) for column in range(result.nfields))
        self.rows.append(row)
        self.size += sum(len(value) for value in row if value is not None)
        self.cut = self.size >= self.max_bytes


def _dump_parameters(
    connection: Connection, statement: NumberedStatement, parameters: Mapping[str, Any]
) -> Sequence[Any]:
    formats = [PyFormat.TEXT] * len(statement.names)
    return Transformer(connection).dump_sequence([parameters[name] for name in statement.names], formats)


async def _run_pipeline(
    connection: Connection,
    statements: Sequence[NumberedStatement],
    values: Sequence[Sequence[Any]],
    reading: _BoundedReading,
) -> list[PGresult]:
    """Send the statements as one pipeline; read everything, or stop once the last statement's rows have enough bytes.

    Returns one result per command, in the order sent: prepare, deallocate, then the statements; and the error of the
    commit, if it failed.
    """
    pgconn = connection.pgconn
    prepared = _PREPARED.setdefault(connection, PreparedStatements())
    pgconn.enter_pipeline_mode()
    new, evicted = _send_prepare(connection, prepared, statements)
    for statement, row in zip(statements, values, strict=True):
        if connection.prepare_threshold is None:  # behind a pooler, where nothing can be prepared
            pgconn.send_query_params(statement.sql, row)
        else:
            pgconn.send_query_prepared(prepared.build_name(statement.digest), row)
    pgconn.pipeline_sync()
    await send_buffer(pgconn)
    results: list[PGresult] = []
    for _ in range(len(new) + len(evicted) + len(statements) - 1):
        results += await fetch_results(pgconn)
    results += await (fetch_results(pgconn) if reading.max_bytes is None else _read_up_to(pgconn, reading))
    _record_prepared(prepared, new, evicted, results)
    if not reading.cut:
        end = await fetch_results(pgconn)  # the result of the sync
        if end and end[-1].status != ExecStatus.PIPELINE_SYNC:  # it commits, which a deferred constraint may refuse
            results += end
            await fetch_results(pgconn)
        pgconn.exit_pipeline_mode()
    return results


async def _read_up_to(pgconn: PGconn, reading: _BoundedReading) -> list[PGresult]:
    """Read a statement's rows one at a time up to the bound; return the result after the last row, or the last row's.

    Rows that have arrived are read without a wait, which would cost more than a row. But now and then it does wait, to
    let other tasks of the process run.
    """
    if pgconn.pipeline_status == PipelineStatus.ABORTED:  # an earlier statement failed, so this one was not run
        return await fetch_results(pgconn)
    pgconn.set_single_row_mode()
    ends: list[PGresult] = []
    turn_end = _TURN_BYTES
    while True:
        if reading.size >= turn_end:
            turn_end = reading.size + _TURN_BYTES
        elif pgconn.is_busy():
            pgconn.consume_input()
        result = await fetch_result(pgconn)
        if result is None:
            return ends
        if result.status != ExecStatus.SINGLE_TUPLE:
            ends.append(result)
            continue
        reading.add_row(result)
        if reading.cut:
            return [result]


async def _cancel_pipeline(connection: Connection) -> None:
    """Cancel the running statement and discard the remaining results; the connection stays usable."""
    async with asyncio.timeout(_CANCEL_TIMEOUT):
        await connection.cancel_safe(timeout=_CANCEL_TIMEOUT)
        await send_buffer(connection.pgconn)
        while not any(result.status == ExecStatus.PIPELINE_SYNC for result in await fetch_results(connection.pgconn)):
            pass
        connection.pgconn.exit_pipeline_mode()


def _send_prepare(
    connection: Connection, prepared: PreparedStatements, statements: Sequence[NumberedStatement]
) -> tuple[list[bytes], list[bytes]]:
    """Prepare the statements that are not prepared yet, and deallocate the oldest ones beyond the limit.

    Returns the digests of the prepared and of the deallocated statements.
    """
    if connection.prepare_threshold is None:
        return [], []
    wanted = {statement.digest: statement for statement in statements}
    new = [digest for digest in wanted if digest not in prepared.digests]
    for digest in new:
        connection.pgconn.send_prepare(prepared.build_name(digest), wanted[digest].sql)
    surplus = max(len(prepared.digests) + len(new) - _MOST_PREPARED, 0)
    evicted = [digest for digest in prepared.digests if digest not in wanted][:surplus]
    for digest in evicted:
        connection.pgconn.send_query_params(b"deallocate " + prepared.build_name(digest), None)
    return new, evicted


def _record_prepared(
    prepared: PreparedStatements, new: Sequence[bytes], evicted: Sequence[bytes], results: Sequence[PGresult]
) -> None:
    """Record which statements were prepared and deallocated, according to the results of these commands."""
    succeeded = [result.status == ExecStatus.COMMAND_OK for result in results]
    prepared.digests.update((digest, None) for digest, well in zip(new, succeeded, strict=False) if well)
    for digest, well in zip(evicted, succeeded[len(new) :], strict=False):
        if well:
            prepared.digests.pop(digest)


def _read_rows(result: PGresult) -> list[TextRow]:
    columns = range(result.nfields)
    return [tuple(result.get_value(row, column) for column in columns) for row in range(result.ntuples)]
