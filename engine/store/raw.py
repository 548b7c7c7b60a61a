"""JSON that passes through: text in as a jsonb parameter.

In: bytes. It must not know what the JSON says; Postgres checks it, Python neither decodes nor encodes it.
"""

from __future__ import annotations

from psycopg import AsyncConnection, postgres
from psycopg.adapt import Dumper

_JSONB = postgres.types["jsonb"].oid


class RawJson(bytes):
    """JSON text as bytes, sent to Postgres as it is."""


class _RawJsonDumper(Dumper):
    oid = _JSONB

    def dump(self, obj: RawJson) -> bytes:
        return bytes(obj)


def register(connection: AsyncConnection[object]) -> None:
    """Let `connection` send RawJson."""
    connection.adapters.register_dumper(RawJson, _RawJsonDumper)
