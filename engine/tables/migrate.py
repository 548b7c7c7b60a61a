"""Apply the migrations of the project to a database, and report which are applied.

Each file is one transaction. It takes an advisory lock and then reads the history, so that concurrent migrators apply
each file once, and a killed one leaves no half of a file. The lock ends with its transaction, so no pooler can keep it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import class_row

from engine.store.connection import connect
from engine.store.errors import wrap_errors
from engine.tables import migration_files
from engine.tables.migration_files import AppliedMigration, History, Migration, MigrationError

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


class State(StrEnum):
    """Whether a migration is in the database."""

    APPLIED = "applied"
    BASELINE = "baseline"  # applied by hand, and only recorded
    PENDING = "pending"


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationState:
    """The state of one migration."""

    number: int
    name: str
    state: State
    applied_at: str | None

    def as_dict(self) -> dict[str, Any]:
        """Return the state as `dex migrate --status --json` prints it."""
        return {"number": self.number, "name": self.name, "state": self.state.value, "applied_at": self.applied_at}


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationReport:
    """Names of the files that were, or in a dry run would be, recorded as applied by hand (`baselined`) and applied."""

    baselined: tuple[str, ...]
    applied: tuple[str, ...]
    dry_run: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the report as `dex migrate --json` prints it."""
        return {"baselined": list(self.baselined), "applied": list(self.applied), "dry_run": self.dry_run}


async def migrate(
    dsn: str, migrations_dir: Path, *, baseline: int | None = None, dry_run: bool = False
) -> MigrationReport:
    """Apply the pending migrations in order; with `baseline`, first record the files up to it as applied by hand.

    Raises MigrationError when the folder or an applied file has changed, or when a file fails: the files before it stay
    applied, its own transaction is rolled back, with a baseline recorded in it. Raises StoreUnavailable.
    """
    files = migration_files.load_migrations(migrations_dir)
    if baseline is not None:
        migration_files.check_baseline(files, baseline)
    async with await connect(dsn) as connection:
        if dry_run:
            return await _preview_migrations(connection, files, baseline)
        return await _apply_migrations(connection, files, baseline)


async def read_status(dsn: str, migrations_dir: Path) -> list[MigrationState]:
    """Return the state of each migration, in order. Raises MigrationError as `migrate` does, and StoreUnavailable."""
    files = migration_files.load_migrations(migrations_dir)
    async with await connect(dsn) as connection:
        history = await _read_history(connection)
    migration_files.check_history(files, history)
    return [_build_state(file, history.get(file.number)) for file in files]


async def list_pending(connection: AsyncConnection[Any], migrations_dir: Path) -> list[str]:
    """Return one sentence for each reason why the database is behind the migrations.

    A database ahead of the folder is not behind: the next release migrates before the last process of this one ends.
    """
    try:
        files = migration_files.load_migrations(migrations_dir)
        numbers = [file.number for file in files]
        history = await _read_history(connection)
        history = {
            number: applied
            for number, applied in history.items()
            if number <= migration_files.find_last_number(numbers, number)
        }
        migration_files.check_history(files, history)
    except MigrationError as error:
        return [error.message]
    return [f"migration `{file.name}` is pending" for file in migration_files.list_pending(files, history)]


async def _preview_migrations(
    connection: AsyncConnection[Any], files: tuple[Migration, ...], baseline: int | None
) -> MigrationReport:
    history = await _read_history(connection)
    migration_files.check_history(files, history)
    baselined, left = _split_by_baseline(migration_files.list_pending(files, history), baseline)
    return _build_report(baselined, left, dry_run=True)


async def _apply_migrations(
    connection: AsyncConnection[Any], files: tuple[Migration, ...], baseline: int | None
) -> MigrationReport:
    baselined: list[Migration] = []
    applied: list[Migration] = []
    while True:
        async with wrap_errors(), connection.transaction():
            history = await _lock_history(connection)
            migration_files.check_history(files, history)
            marked, left = _split_by_baseline(migration_files.list_pending(files, history), baseline)
            for file in marked:
                await _record_file(connection, file, baseline=True)
            for file in left[:1]:
                await _apply_file(connection, file)
        baselined += marked
        applied += left[:1]
        if not left:
            return _build_report(baselined, applied, dry_run=False)


async def _apply_file(connection: AsyncConnection[Any], file: Migration) -> None:
    try:
        # Without parameters the file is sent as it is, with any number of statements.
        await connection.execute(file.text.encode())
    except psycopg.Error as error:
        if connection.closed:
            raise
        raise _build_failure(file, error) from error
    await _record_file(connection, file, baseline=False)


async def _record_file(connection: AsyncConnection[Any], file: Migration, *, baseline: bool) -> None:
    await connection.execute(_RECORD, [file.number, file.name, file.checksum, baseline])


async def _lock_history(connection: AsyncConnection[Any]) -> History:
    # A migration may rewrite a large table, which the statement_timeout of a role is not meant for.
    await connection.execute("set local statement_timeout = 0")
    await connection.execute(_LOCK)
    await connection.execute(_CREATE)
    return await _read_history(connection)


async def _read_history(connection: AsyncConnection[Any]) -> History:
    async with wrap_errors():
        present = await (await connection.execute(_PRESENT)).fetchone()
        if not (present and present[0]):
            return {}
        async with connection.cursor(row_factory=class_row(AppliedMigration)) as cursor:
            rows = await (await cursor.execute(_READ)).fetchall()
            return {row.number: row for row in rows}


def _build_failure(file: Migration, error: psycopg.Error) -> MigrationError:
    """Return the error of a failed file: with its line if the server names one, the SQLSTATE, and all details."""
    diagnostic = error.diag
    place = file.name
    if diagnostic.statement_position:
        place += f":{file.text.count(chr(10), 0, int(diagnostic.statement_position) - 1) + 1}"
    first = f"{place}: {error.sqlstate}: {diagnostic.message_primary or error}"
    lines = [first, diagnostic.message_detail, diagnostic.context]
    hint = diagnostic.message_hint or "mend the file; nothing of it was applied"
    return MigrationError("\n".join(line for line in lines if line), hint=hint)


def _split_by_baseline(files: list[Migration], baseline: int | None) -> tuple[list[Migration], list[Migration]]:
    """Return the files to be recorded as applied by hand, and those to be applied."""
    last = baseline or 0
    return [file for file in files if file.number <= last], [file for file in files if file.number > last]


def _build_state(file: Migration, applied: AppliedMigration | None) -> MigrationState:
    state = State.PENDING if applied is None else State.BASELINE if applied.baseline else State.APPLIED
    return MigrationState(
        number=file.number, name=file.name, state=state, applied_at=applied.applied_at if applied else None
    )


def _build_report(baselined: list[Migration], applied: list[Migration], *, dry_run: bool) -> MigrationReport:
    return MigrationReport(
        baselined=tuple(file.name for file in baselined), applied=tuple(file.name for file in applied), dry_run=dry_run
    )
