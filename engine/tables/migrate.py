"""Bring a database up to the migrations.

In: a connection URL and the folder of migrations. Out: what was applied, what is pending. It must not know what a
migration says.

One transaction per file, each under the same advisory lock and each reading afresh what is applied: two migrators at
once take turns, and a killed one leaves whole files. The lock ends with its transaction, so no pooler can keep it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import class_row

from engine.store.connection import connect
from engine.store.errors import wrap
from engine.tables import migration_files
from engine.tables.migration_files import Applied, History, Migration, MigrationError

_LOCK: Final = "select pg_advisory_xact_lock(hashtextextended('dex migrate', 0))"
_PRESENT: Final = "select to_regclass('dex_migrations') is not null"
_CREATE: Final = """
create table if not exists dex_migrations (
    number integer primary key,
    name text not null,
    checksum text not null,
    applied_at timestamptz not null default now(),
    baseline boolean not null default false
)"""
_READ: Final = "select number, name, checksum, applied_at::text, baseline from dex_migrations order by number"
_RECORD: Final = "insert into dex_migrations (number, name, checksum, baseline) values (%s, %s, %s, %s)"


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationState:
    """One migration and where it stands: `applied`, `baseline` (by hand, and only marked) or `pending`."""

    number: int
    name: str
    state: str
    applied_at: str | None

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON shape of it."""
        return {"number": self.number, "name": self.name, "state": self.state, "applied_at": self.applied_at}


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationReport:
    """Names of the files that were (or, in a dry run, would be) marked as applied by hand, and applied."""

    baselined: tuple[str, ...]
    applied: tuple[str, ...]
    dry_run: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON shape of it."""
        return {"baselined": list(self.baselined), "applied": list(self.applied), "dry_run": self.dry_run}


async def migrate(
    dsn: str, migrations_dir: Path, *, baseline: int | None = None, dry_run: bool = False
) -> MigrationReport:
    """Apply what is pending, in order; with `baseline`, first mark all files numbered up to it as applied by hand.

    Raises MigrationError when the folder or an applied file has changed, or when a file fails: those before it stay
    applied, and of itself nothing is kept, a baseline marked for it included. Raises StoreUnavailable.
    """
    files = migration_files.load(migrations_dir)
    if baseline is not None:
        migration_files.check_baseline(files, baseline)
    async with await connect(dsn) as connection:
        if dry_run:
            return await _foresee(connection, files, baseline)
        return await _apply_all(connection, files, baseline)


async def status(dsn: str, migrations_dir: Path) -> list[MigrationState]:
    """Return where each migration stands, in order. Raises MigrationError as `migrate` does, and StoreUnavailable."""
    files = migration_files.load(migrations_dir)
    async with await connect(dsn) as connection:
        history = await _history(connection)
    migration_files.check(files, history)
    return [_state(file, history.get(file.number)) for file in files]


async def pending(connection: AsyncConnection[Any], migrations_dir: Path) -> list[str]:
    """Return one sentence for each reason why the database is behind the migrations; none when it is not.

    A database that is ahead of the folder is none: the next release migrates before the last one has left.
    """
    try:
        files = migration_files.load(migrations_dir)
        last = max((file.number for file in files), default=0)
        history = {number: one for number, one in (await _history(connection)).items() if number <= last}
        migration_files.check(files, history)
    except MigrationError as error:
        return [error.message]
    return [f"migration `{file.name}` is pending" for file in migration_files.pending(files, history)]


async def _foresee(
    connection: AsyncConnection[Any], files: tuple[Migration, ...], baseline: int | None
) -> MigrationReport:
    history = await _history(connection)
    migration_files.check(files, history)
    adopted, left = _split(migration_files.pending(files, history), baseline)
    return _report(adopted, left, dry_run=True)


async def _apply_all(
    connection: AsyncConnection[Any], files: tuple[Migration, ...], baseline: int | None
) -> MigrationReport:
    adopted: list[Migration] = []
    applied: list[Migration] = []
    while True:
        async with wrap(), connection.transaction():
            history = await _locked_history(connection)
            migration_files.check(files, history)
            marked, left = _split(migration_files.pending(files, history), baseline)
            for file in marked:
                await _record(connection, file, baseline=True)
            for file in left[:1]:
                await _apply(connection, file)
        adopted += marked
        applied += left[:1]
        if not left:
            return _report(adopted, applied, dry_run=False)


async def _apply(connection: AsyncConnection[Any], file: Migration) -> None:
    try:
        # Without parameters the whole file goes as it stands, however many statements it holds.
        await connection.execute(file.text.encode())
    except psycopg.Error as error:
        if connection.closed:
            raise
        raise _failed(file, error) from error
    await _record(connection, file, baseline=False)


async def _record(connection: AsyncConnection[Any], file: Migration, *, baseline: bool) -> None:
    await connection.execute(_RECORD, [file.number, file.name, file.checksum, baseline])


async def _locked_history(connection: AsyncConnection[Any]) -> History:
    # A migration may rewrite a large table; a statement_timeout of the role is meant for something else.
    await connection.execute("set local statement_timeout = 0")
    await connection.execute(_LOCK)
    await connection.execute(_CREATE)
    return await _history(connection)


async def _history(connection: AsyncConnection[Any]) -> History:
    async with wrap():
        present = await (await connection.execute(_PRESENT)).fetchone()
        if not (present and present[0]):
            return {}
        async with connection.cursor(row_factory=class_row(Applied)) as cursor:
            return {one.number: one for one in await (await cursor.execute(_READ)).fetchall()}


def _failed(file: Migration, error: psycopg.Error) -> MigrationError:
    """Name the file, the line where the server gave a position, the SQLSTATE, and all it said."""
    said = error.diag
    place = file.name
    if said.statement_position:
        place += f":{file.text.count(chr(10), 0, int(said.statement_position) - 1) + 1}"
    lines = [f"{place}: {error.sqlstate}: {said.message_primary or error}", said.message_detail, said.context]
    hint = said.message_hint or "mend the file; nothing of it was applied"
    return MigrationError("\n".join(line for line in lines if line), hint=hint)


def _split(files: list[Migration], baseline: int | None) -> tuple[list[Migration], list[Migration]]:
    """Those only to be marked, and those to be applied."""
    last = baseline or 0
    return [file for file in files if file.number <= last], [file for file in files if file.number > last]


def _state(file: Migration, applied: Applied | None) -> MigrationState:
    state = "pending" if applied is None else "baseline" if applied.baseline else "applied"
    return MigrationState(
        number=file.number, name=file.name, state=state, applied_at=applied.applied_at if applied else None
    )


def _report(adopted: list[Migration], applied: list[Migration], *, dry_run: bool) -> MigrationReport:
    return MigrationReport(
        baselined=tuple(file.name for file in adopted), applied=tuple(file.name for file in applied), dry_run=dry_run
    )
