"""Send several statements in one message, as one transaction, and read their rows in Postgres' text format.

psycopg's pipeline mode makes a round trip for every statement and one for the end. Here everything is put into libpq's
buffer first and leaves as one message, which takes a third of the client's time. No `begin` is sent: outside of a
transaction block, all that a pipeline sends up to its end (`sync`) is one transaction.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

from psycopg import errors
from psycopg.abc import PQGen
from psycopg.adapt import PyFormat, Transformer
from psycopg.generators import fetch_many, send
from psycopg.pq import ExecStatus, PipelineStatus
from psycopg.pq.abc import PGresult

from engine.store.connection import Connection

#: The values of a row in Postgres' text format.
TextRow = tuple[bytes | None, ...]

_PLACEHOLDER = re.compile(r"%\((\w+)\)s|%%")
_MOST_PREPARED = 100  # statements of one connection, which is psycopg's default


@dataclass(frozen=True, slots=True)
class NumberedStatement:
    """A statement with `$1` for `%(name)s`. Parameters have the types that the statement casts them to."""

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


async def send_statements(
    connection: Connection, calls: Sequence[tuple[str, Mapping[str, Any]]]
) -> list[list[TextRow]]:
    """Run statements (SQL and parameters by name), all or none; return the rows of each.

    Raises psycopg's error of the first statement that failed; the connection stays usable.
    """
    assert connection.autocommit, "a pipeline is a transaction of its own only in autocommit mode"
    try:
        return await _send_statements(connection, calls)
    except errors.InvalidSqlStatementName:
        _PREPARED[connection].forget_all()
    except errors.DuplicatePreparedStatement:  # another client's: a pooler that showed in nothing else
        connection.prepare_threshold = None
    return await _send_statements(connection, calls)


@dataclass(slots=True)
class PreparedStatements:
    """The statements prepared on one connection: their digests, oldest first.

    psycopg discards everything prepared after a rollback, these statements included, and a pooler may do so at any
    time. Which of them still exist is unknown then, so `forget_all` starts a new generation of names.
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
    connection: Connection, calls: Sequence[tuple[str, Mapping[str, Any]]]
) -> list[list[TextRow]]:
    statements = [number_placeholders(sql) for sql, _ in calls]
    values = [
        _dump_parameters(connection, statement, parameters)
        for statement, (_, parameters) in zip(statements, calls, strict=True)
    ]
    async with connection.lock:
        try:
            results = await connection.wait(_run_pipeline(connection, statements, values))
        finally:
            if connection.pgconn.pipeline_status != PipelineStatus.OFF:  # interrupted: the connection is unusable
                connection.pgconn.finish()
    for result in results:
        if result.status == ExecStatus.FATAL_ERROR:
            raise errors.error_from_result(result)
    return [_read_rows(result) for result in results[-len(statements) :]]


def _dump_parameters(
    connection: Connection, statement: NumberedStatement, parameters: Mapping[str, Any]
) -> Sequence[Any]:
    formats = [PyFormat.TEXT] * len(statement.names)
    return Transformer(connection).dump_sequence([parameters[name] for name in statement.names], formats)


def _run_pipeline(
    connection: Connection, statements: Sequence[NumberedStatement], values: Sequence[Sequence[Any]]
) -> PQGen[list[PGresult]]:
    """Fill the buffer, send it, and read to the end of the pipeline.

    Returns one result per command, in the order sent: prepare, deallocate, then the statements.
    """
    pgconn = connection.pgconn
    prepared = _PREPARED.setdefault(connection, PreparedStatements())
    pgconn.enter_pipeline_mode()
    new, evicted = _send_prepare(connection, prepared, statements)
    for statement, row in zip(statements, values, strict=True):
        if connection.prepare_threshold is None:  # behind a pooler nothing can be prepared
            pgconn.send_query_params(statement.sql, row)
        else:
            pgconn.send_query_prepared(prepared.build_name(statement.digest), row)
    pgconn.pipeline_sync()
    yield from send(pgconn)
    results: list[PGresult] = []
    for _ in range(len(new) + len(evicted) + len(statements)):
        results += yield from fetch_many(pgconn)
    yield from fetch_many(pgconn)  # the result of the sync
    pgconn.exit_pipeline_mode()
    _record_prepared(prepared, new, evicted, results)
    return results


def _send_prepare(
    connection: Connection, prepared: PreparedStatements, statements: Sequence[NumberedStatement]
) -> tuple[list[bytes], list[bytes]]:
    """Prepare the statements that are not prepared yet, and deallocate the oldest ones beyond the limit.

    Returns the digests of both.
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
    """Note which statements were prepared and deallocated: none of those after an error were."""
    succeeded = [result.status == ExecStatus.COMMAND_OK for result in results]
    prepared.digests.update((digest, None) for digest, well in zip(new, succeeded, strict=False) if well)
    for digest, well in zip(evicted, succeeded[len(new) :], strict=False):
        if well:
            prepared.digests.pop(digest)


def _read_rows(result: PGresult) -> list[TextRow]:
    columns = range(result.nfields)
    return [tuple(result.get_value(row, column) for column in columns) for row in range(result.ntuples)]
