"""One round trip: statements sent together, answered together, and one transaction.

In: a connection, statements and their values. Out: rows as the text Postgres wrote. It must not know what is asked.

psycopg's pipeline goes to the server and back for every statement it is given and for its end. Here everything is put
into libpq's buffer first and leaves as one message, which takes a third of the time of the client. No `begin` is sent:
outside of a transaction block, all that a pipeline sends up to its end (`sync`) is one transaction.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

from psycopg import AsyncConnection, errors
from psycopg.abc import PQGen
from psycopg.adapt import PyFormat, Transformer
from psycopg.generators import fetch_many, send
from psycopg.pq import ExecStatus, PipelineStatus
from psycopg.pq.abc import PGresult

#: A row as Postgres wrote it, in text.
Texts = tuple[bytes | None, ...]

_PLACE = re.compile(r"%\((\w+)\)s|%%")
_MOST_PREPARED = 100  # of a connection, as psycopg's own default


@dataclass(frozen=True, slots=True)
class Text:
    """A statement with `$1` for `%(name)s`. Its types are those the statement casts its values to."""

    sql: bytes
    names: tuple[str, ...]
    digest: bytes


@lru_cache(maxsize=1000)
def numbered(text: str) -> Text:
    """Return the statement as the server takes it."""
    names = tuple(dict.fromkeys(name for name in _PLACE.findall(text) if name))
    numbers = {name: f"${number}" for number, name in enumerate(names, start=1)}
    sql = _PLACE.sub(lambda place: numbers[place[1]] if place[1] else "%", text).encode()
    return Text(sql, names, hashlib.sha256(sql).hexdigest()[:24].encode())


async def exchange(
    connection: AsyncConnection[Any], calls: Sequence[tuple[str, Mapping[str, Any]]]
) -> list[list[Texts]]:
    """Run statements (text and values by name), all or none; return the rows of each.

    Raises psycopg's error of the first one that failed; the connection can be used again then.
    """
    assert connection.autocommit, "a pipeline is a transaction of its own only in autocommit mode"
    try:
        return await _exchange(connection, calls)
    except errors.InvalidSqlStatementName:
        _PREPARED[connection].forget()
        return await _exchange(connection, calls)


@dataclass(slots=True)
class Prepared:
    """What a connection has prepared: digests, the one made first in front.

    psycopg discards everything prepared after a rollback, ours included, and a pooler may do so at any time. Then names
    of a new generation are given: of the old ones nobody knows which are still there.
    """

    generation: int = 0
    digests: dict[bytes, None] = field(default_factory=dict)

    def handle(self, digest: bytes) -> bytes:
        return b"dex_%d_%b" % (self.generation, digest)

    def forget(self) -> None:
        self.generation += 1
        self.digests.clear()


_PREPARED: WeakKeyDictionary[AsyncConnection[Any], Prepared] = WeakKeyDictionary()


async def _exchange(
    connection: AsyncConnection[Any], calls: Sequence[tuple[str, Mapping[str, Any]]]
) -> list[list[Texts]]:
    texts = [numbered(text) for text, _ in calls]
    values = [_dump(connection, text, given) for text, (_, given) in zip(texts, calls, strict=True)]
    async with connection.lock:
        try:
            results = await connection.wait(_talk(connection, texts, values))
        finally:
            if connection.pgconn.pipeline_status != PipelineStatus.OFF:  # left in the middle: nobody can go on with it
                connection.pgconn.finish()
    for result in results:
        if result.status == ExecStatus.FATAL_ERROR:
            raise errors.error_from_result(result)
    return [_rows(result) for result in results[-len(texts) :]]


def _dump(connection: AsyncConnection[Any], text: Text, given: Mapping[str, Any]) -> Sequence[Any]:
    formats = [PyFormat.TEXT] * len(text.names)
    return Transformer(connection).dump_sequence([given[name] for name in text.names], formats)


def _talk(
    connection: AsyncConnection[Any], texts: Sequence[Text], values: Sequence[Sequence[Any]]
) -> PQGen[list[PGresult]]:
    """Fill the buffer, send it, read to the end of the pipeline. Returns a result per command, statements last."""
    pgconn = connection.pgconn
    prepared = _PREPARED.setdefault(connection, Prepared())
    pgconn.enter_pipeline_mode()
    new, old = _prepare(connection, prepared, texts)
    for text, row in zip(texts, values, strict=True):
        if connection.prepare_threshold is None:  # behind a pooler nothing can be prepared
            pgconn.send_query_params(text.sql, row)
        else:
            pgconn.send_query_prepared(prepared.handle(text.digest), row)
    pgconn.pipeline_sync()
    yield from send(pgconn)
    results: list[PGresult] = []
    for _ in range(len(new) + len(old) + len(texts)):
        results += yield from fetch_many(pgconn)
    yield from fetch_many(pgconn)  # the answer to the end
    pgconn.exit_pipeline_mode()
    done = [result.status == ExecStatus.COMMAND_OK for result in results]  # what comes after an error is not done
    prepared.digests.update((digest, None) for digest, well in zip(new, done, strict=False) if well)
    for digest, well in zip(old, done[len(new) :], strict=False):
        if well:
            prepared.digests.pop(digest)
    return results


def _prepare(
    connection: AsyncConnection[Any], prepared: Prepared, texts: Sequence[Text]
) -> tuple[list[bytes], list[bytes]]:
    """Ask for what is not prepared yet, and let go of what was made first. Returns the digests of both."""
    if connection.prepare_threshold is None:
        return [], []
    wanted = {text.digest: text for text in texts}
    new = [digest for digest in wanted if digest not in prepared.digests]
    for digest in new:
        connection.pgconn.send_prepare(prepared.handle(digest), wanted[digest].sql)
    surplus = max(len(prepared.digests) + len(new) - _MOST_PREPARED, 0)
    old = [digest for digest in prepared.digests if digest not in wanted][:surplus]
    for digest in old:
        connection.pgconn.send_query_params(b"deallocate " + prepared.handle(digest), None)
    return new, old


def _rows(result: PGresult) -> list[Texts]:
    columns = range(result.nfields)
    return [tuple(result.get_value(row, column) for column in columns) for row in range(result.ntuples)]
