"""JSON that passes through: text in as a jsonb parameter, text out as bytes.

In and out: bytes. It must not know what the JSON says; Postgres checks it, Python neither decodes nor encodes it.
"""

from __future__ import annotations

from psycopg import AsyncConnection, AsyncCursor, postgres
from psycopg.abc import Buffer
from psycopg.adapt import Dumper, Loader
from psycopg.pq import Format

_JSONB = postgres.types["jsonb"].oid


class RawJson(bytes):
    """JSON text as bytes, sent to Postgres as it is."""


class _RawJsonDumper(Dumper):
    oid = _JSONB

    def dump(self, obj: RawJson) -> bytes:
        return bytes(obj)


class _BytesLoader(Loader):
    format = Format.TEXT

    def load(self, data: Buffer) -> bytes:
        return bytes(data)


def register(connection: AsyncConnection[object]) -> None:
    """Let `connection` send RawJson."""
    connection.adapters.register_dumper(RawJson, _RawJsonDumper)


def read_bytes(cursor: AsyncCursor[object]) -> None:
    """Let `cursor` return text columns as bytes."""
    cursor.adapters.register_loader("text", _BytesLoader)
