"""Where measuring happens: a server of its own, thrown away afterwards.

In: which server. Out: databases with all migrations, filled by COPY. It must not know what is measured.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import psycopg

from engine import project
from engine.embedded_postgres import running, system_binaries
from engine.embedded_postgres.binaries import choose
from engine.tables.migrate import migrate
from scripts.bench.text import Author, payload

ORGS = 4
_ENTITIES = (
    "insert into orgs (id, name, slug) select %(org)s, 'Bench ' || %(n)s, 'bench-' || %(n)s",
    "insert into submissions (id, org_id, input_payload, status) select %(submission)s, %(org)s, '{}', 'completed'",
)
_RUNS = """
insert into pipeline_runs (id, org_id, submission_id, status)
select run, org, submission, 'succeeded' from unnest(%s::uuid[], %s::uuid[], %s::uuid[]) as r (run, org, submission)
"""
_STEPS = """
copy step_results (id, org_id, submission_id, pipeline_run_id, step_position, status, finished_at, output_payload)
from stdin
"""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server, as its superuser."""

    dsn: str
    programs: Path
    lz4: bool
    version: str

    @property
    def name(self) -> str:
        return f"PostgreSQL {self.version}, {'lz4' if self.lz4 else 'pglz'}"

    @contextmanager
    def database(self, name: str) -> Iterator[str]:
        """Make a database with all migrations applied, for the length of a `with` block."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(f"create database {name} template template0")
            dsn = urlunsplit(urlsplit(self.dsn)._replace(path=f"/{name}"))
            asyncio.run(migrate(dsn, project.find().migrations))
            yield dsn
            connection.execute(f"drop database {name} with (force)")


@contextmanager
def serve(binaries: Path | None) -> Iterator[Server]:
    """Start a durable server with Postgres's own defaults; everything in it is removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="dex-bench-"))
    folder.chmod(0o755)  # open to the unprivileged user under which root runs a server
    with running(folder, binaries=binaries, temporary=True) as dsn, psycopg.connect(dsn) as connection:
        version = connection.execute("show server_version").fetchone()
        known = connection.execute(
            "select 'lz4' = any(enumvals) from pg_settings where name = 'default_toast_compression'"
        ).fetchone()
        connection.close()
        assert version and known
        yield Server(dsn, choose(binaries), known[0], version[0].split()[0])


def with_lz4() -> Path | None:
    """A server of this machine that was built with lz4, if there is one."""
    return next(filter(None, map(system_binaries, range(30, 14, -1))), None)


def people(connection: psycopg.Connection[Any], runs: range) -> list[tuple[UUID, UUID, UUID]]:
    """Make organisations, a submission for each, and runs of these numbers; return (run, org, submission) of each."""
    for org in range(ORGS):
        for statement in _ENTITIES:
            connection.execute(statement, {"org": ident(1, org), "n": org, "submission": ident(2, org)})
    made = [(ident(3, number), ident(1, number % ORGS), ident(2, number % ORGS)) for number in runs]
    connection.execute(_RUNS, list(map(list, zip(*made, strict=True))))
    return made


def fill(dsn: str, rows: int, size: int) -> int:
    """Add `rows` found step results of about `size` bytes each, one per run; return the bytes."""
    author, written = Author.of(1), 0
    with psycopg.connect(dsn) as connection:
        runs = people(connection, range(rows))
        with connection.cursor().copy(_STEPS) as copy:
            for number, (run, org, submission) in enumerate(runs):
                document = payload(author, number, _key(number, rows), size)
                written += len(document)
                when = f"2026-01-01 {_clock(number)}+00"
                copy.write_row((ident(4, number), org, submission, run, 0, "succeeded", when, document.decode()))
    settle(dsn)
    return written


def settle(dsn: str) -> None:
    """Do what autovacuum would have done by tomorrow."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("vacuum analyze")


def _key(number: int, rows: int) -> int:
    """A key drawn by lot, always the same one: about 16 % of the rows repeat one of their organisation."""
    return Random(number).randrange(rows * 8 // 3 // ORGS)


def _clock(number: int) -> str:
    return f"{number // 36000 % 24:02}:{number // 600 % 60:02}:{number // 10 % 60:02}.{number % 10}"


def ident(kind: int, number: int) -> UUID:
    """An id that can be told again: made of what it names, scattered as random ones are."""
    return UUID(int=(kind << 96 | number) * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128, version=4)
