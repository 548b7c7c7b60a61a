"""The databases of the benchmarks: on a separate server, migrated, filled by COPY, and removed at the end."""

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
from engine.embedded_postgres import find_system_binaries, run_server
from engine.embedded_postgres.binaries import choose_binaries
from engine.tables.migrate import migrate
from scripts.bench.text import Author, build_payload

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
    """A running Postgres: `dsn` connects as its superuser; `programs` is the folder of its binaries.

    `lz4` tells whether it can compress with lz4.
    """

    dsn: str
    programs: Path
    lz4: bool
    version: str

    @property
    def name(self) -> str:
        return f"PostgreSQL {self.version}, {'lz4' if self.lz4 else 'pglz'}"

    @contextmanager
    def create_database(self, name: str) -> Iterator[str]:
        """Create a database with all migrations applied; it exists during the `with` block."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(f"create database {name} template template0")
            dsn = urlunsplit(urlsplit(self.dsn)._replace(path=f"/{name}"))
            asyncio.run(migrate(dsn, project.find_project().migrations))
            yield dsn
            connection.execute(f"drop database {name} with (force)")


@contextmanager
def start_server(binaries: Path | None) -> Iterator[Server]:
    """Start a server with Postgres's default settings, so with fsync; remove its data at the end of the block."""
    folder = Path(tempfile.mkdtemp(prefix="dex-bench-"))
    folder.chmod(0o755)  # readable by the unprivileged user who runs Postgres for root
    with run_server(folder, binaries=binaries, temporary=True) as dsn, psycopg.connect(dsn) as connection:
        version = connection.execute("show server_version").fetchone()
        known = connection.execute(
            "select 'lz4' = any(enumvals) from pg_settings where name = 'default_toast_compression'"
        ).fetchone()
        connection.close()
        assert version and known
        yield Server(dsn, choose_binaries(binaries), known[0], version[0].split()[0])


def find_lz4_binaries() -> Path | None:
    """Return the binaries of the newest installed Postgres, since the embedded one lacks lz4; None without one."""
    return next(filter(None, map(find_system_binaries, range(30, 14, -1))), None)


def insert_runs(connection: psycopg.Connection[Any], runs: range) -> list[tuple[UUID, UUID, UUID]]:
    """Insert organisations, one submission each, and the numbered runs; return (run, org, submission) ids per run."""
    for org in range(ORGS):
        for statement in _ENTITIES:
            connection.execute(statement, {"org": build_id(1, org), "n": org, "submission": build_id(2, org)})
    ids = [(build_id(3, number), build_id(1, number % ORGS), build_id(2, number % ORGS)) for number in runs]
    connection.execute(_RUNS, list(map(list, zip(*ids, strict=True))))
    return ids


def fill_step_results(dsn: str, rows: int, size: int) -> int:
    """Insert `rows` found step results of about `size` bytes, one per run; return their total bytes."""
    author, written = Author.from_seed(1), 0
    with psycopg.connect(dsn) as connection:
        runs = insert_runs(connection, range(rows))
        with connection.cursor().copy(_STEPS) as copy:
            for number, (run, org, submission) in enumerate(runs):
                document = build_payload(author, number, _draw_key(number, rows), size)
                written += len(document)
                when = f"2026-01-01 {_format_time(number)}+00"
                copy.write_row((build_id(4, number), org, submission, run, 0, "succeeded", when, document.decode()))
    vacuum_database(dsn)
    return written


def vacuum_database(dsn: str) -> None:
    """Vacuum and analyze the database, as autovacuum does some time after as many writes."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("vacuum analyze")


def _draw_key(number: int, rows: int) -> int:
    """Return the key of a row, drawn with a fixed seed; about 16 % of the rows repeat a key of their organisation."""
    return Random(number).randrange(rows * 8 // 3 // ORGS)


def _format_time(number: int) -> str:
    """Format the `number`th time as text; successive numbers are a tenth of a second apart."""
    return f"{number // 36000 % 24:02}:{number // 600 % 60:02}:{number // 10 % 60:02}.{number % 10}"


def build_id(kind: int, number: int) -> UUID:
    """Build the id of a kind's `number`th record: reproducible, and distributed like random UUIDs."""
    return UUID(int=(kind << 96 | number) * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128, version=4)
