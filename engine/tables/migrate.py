"""Apply the migrations of the project to a database, and report which are applied.

Only one process migrates at a time: it holds an advisory lock in a transaction of a second connection. That
transaction reads nothing, so that indexes can be built meanwhile, and it ends with the process, so that no pooler can
keep the lock. Other processes try the lock at intervals instead of waiting for it: a waiting transaction has a
snapshot, and building an index would have to wait for that.

A file is one transaction, unless it says otherwise; then it is run in steps (engine/tables/migration_steps.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from engine.store.connection import Connection, connect, fetch_records, fetch_value, keep_transaction_open
from engine.store.errors import wrap_errors
from engine.tables import migration_files
from engine.tables.baseline import check_tables
from engine.tables.migration_files import AppliedMigration, History, Migration, MigrationError
from engine.tables.migration_run import PATIENCE, Report, record_migration, run_migration
from engine.tables.migration_steps import split_steps

_TRY_LOCK: Final = "select pg_try_advisory_xact_lock(hashtextextended('dex migrate', 0))"
_PAUSE: Final = 0.2
_PRESENT: Final = "select to_regclass('dex_migrations') is not null"
_CREATE: Final = """
create table if not exists dex_migrations (
    number integer primary key,
    name text not null,
    checksum text not null,
    applied_at timestamptz not null default now(),
    baseline boolean not null default false
)"""
_READ: Final = """
select number, name, checksum, to_jsonb(applied_at) #>> '{}' as applied_at, baseline from dex_migrations order by number
"""


class State(StrEnum):
    """Whether a migration is applied to the database."""

    APPLIED = "applied"
    BASELINE = "baseline"  # applied by hand and only recorded
    PENDING = "pending"
    CHANGED = "changed"  # applied, and the file is not what was applied
    MISSING = "missing"  # applied, and there is no such file

    @property
    def is_refused(self) -> bool:
        """Whether `migrate` refuses the folder because of this migration."""
        return self in (State.CHANGED, State.MISSING)


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
    """The files that were applied, and those recorded as applied by hand (`baselined`); in a dry run, that would be."""

    baselined: tuple[str, ...]
    applied: tuple[str, ...]
    dry_run: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the report as `dex migrate --json` prints it."""
        return {"baselined": list(self.baselined), "applied": list(self.applied), "dry_run": self.dry_run}


async def migrate(
    dsn: str,
    migrations_dir: Path,
    *,
    baseline: int | None = None,
    dry_run: bool = False,
    report: Report = lambda line: None,
    patience: float = PATIENCE,
) -> MigrationReport:
    """Apply the pending migrations in order; with `baseline`, first record the files up to it as applied by hand.

    `report` gets a line now and then while something takes long. `patience` is how many seconds to wait for tables that
    others hold. Raises MigrationError when the folder or an applied file has changed, when the database is not as the
    baseline says (then nothing was changed), or when a file fails (the files before it stay applied); and
    StoreUnavailable.
    """
    files = migration_files.load_migrations(migrations_dir)
    for file in files:
        split_steps(file)  # so that a mistake in any file stops everything
    if baseline is not None:
        migration_files.check_baseline(files, baseline)
    async with await connect(dsn) as connection:
        if dry_run:
            baselined, left = await _plan_migrations(connection, files, baseline, report)
            return _build_report(baselined, left, dry_run=True)
        async with wrap_errors(), _hold_lock(dsn, report):
            baselined, left = await _plan_migrations(connection, files, baseline, report)
            await connection.execute(_CREATE)
            async with connection.transaction():
                for file in baselined:
                    await record_migration(connection, file, baseline=True)
            for file in left:
                await run_migration(connection, file, report, patience)
            return _build_report(baselined, left, dry_run=False)


async def read_status(dsn: str, migrations_dir: Path) -> list[MigrationState]:
    """Return the state of each migration, in order. Raises MigrationError when the folder cannot be read."""
    files = {file.number: file for file in migration_files.load_migrations(migrations_dir)}
    async with await connect(dsn) as connection:
        history = await _read_history(connection)
    return [_build_state(files.get(number), history.get(number)) for number in sorted({*files, *history})]


async def list_pending(connection: Connection, migrations_dir: Path) -> list[str]:
    """Return why the database is behind the migrations, in one sentence; an empty list if it is not.

    A database that is ahead of the folder is not behind: a new release migrates while processes of the old one still
    run.
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
    names = [file.name for file in migration_files.list_pending(files, history)]
    if len(names) > 1:
        return [f"{len(names)} migrations are pending, from `{names[0]}` to `{names[-1]}`"]
    return [f"migration `{name}` is pending" for name in names]


async def _plan_migrations(
    connection: Connection, files: tuple[Migration, ...], baseline: int | None, report: Report
) -> tuple[list[Migration], list[Migration]]:
    """Return the files to record as applied by hand, and the files to apply; check that both is possible.

    `report` gets a line when the baseline has nothing to record.
    """
    history = await _read_history(connection)
    migration_files.check_history(files, history)
    pending = migration_files.list_pending(files, history)
    last = baseline or 0
    baselined = [file for file in pending if file.number <= last]
    left = [file for file in pending if file.number > last]
    await check_tables(connection, baselined, left)
    if baseline is not None and not baselined:
        last_known = history[baseline]
        how = "recorded as applied by hand" if last_known.baseline else "applied"
        report(f"nothing to adopt: `{last_known.name}` was {how} at {last_known.applied_at}, and so were those before")
    return baselined, left


@asynccontextmanager
async def _hold_lock(dsn: str, report: Report) -> AsyncIterator[None]:
    """Hold the lock of migrations during the `with` block; first wait until no other process has it."""
    async with await connect(dsn) as holder:
        is_told = False
        while True:
            async with holder.transaction():
                await keep_transaction_open(holder)
                if await fetch_value(holder, _TRY_LOCK):
                    yield
                    return
            if not is_told:
                is_told = True
                report("another migration is at work; waiting for it")
            await asyncio.sleep(_PAUSE)


async def _read_history(connection: Connection) -> History:
    async with wrap_errors():
        if not await fetch_value(connection, _PRESENT):
            return {}
        return {row.number: row for row in await fetch_records(connection, AppliedMigration, _READ)}


def _build_state(file: Migration | None, applied: AppliedMigration | None) -> MigrationState:
    """Build the state of a migration of which there is a file, a record in the database, or both."""
    known = file or applied
    assert known is not None
    return MigrationState(
        number=known.number,
        name=known.name,
        state=_find_state(file, applied),
        applied_at=applied.applied_at if applied else None,
    )


def _find_state(file: Migration | None, applied: AppliedMigration | None) -> State:
    if applied is None:
        return State.PENDING
    if file is None:
        return State.MISSING
    if not migration_files.is_unchanged(applied, file):
        return State.CHANGED
    return State.BASELINE if applied.baseline else State.APPLIED


def _build_report(baselined: list[Migration], applied: list[Migration], *, dry_run: bool) -> MigrationReport:
    return MigrationReport(
        baselined=tuple(file.name for file in baselined), applied=tuple(file.name for file in applied), dry_run=dry_run
    )
