"""Run one migration while other processes work with its tables.

A step that waits for a lock on a table makes all later ones wait behind it. So it waits no longer than LOCK_TIMEOUT,
gives up, and is tried again until `patience` is over. What runs in no transaction (indexes built concurrently, fills
in parts) needs no such lock, and takes as long as it takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import psycopg
from psycopg import errors

from engine.sql.identifiers import quote
from engine.store.connection import Connection, fetch_rows, fetch_value
from engine.tables.migration_files import Migration, MigrationError
from engine.tables.migration_steps import Step, split_steps

Report = Callable[[str], None]

LOCK_TIMEOUT: Final = "200ms"
#: Seconds for which a migration is tried while others hold the locks it needs.
PATIENCE: Final = 600.0
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 3.0
#: Seconds between two lines which report that a migration waits.
_REPORT_EVERY: Final = 10.0

#: Postgres ends an autovacuum that blocks a lock after waiting for `deadlock_timeout`. If the role may not shorten
#: that, every fourth attempt waits longer.
_SET_BOUNDS: Final = """
select set_config('statement_timeout', '0', true),
    case when has_parameter_privilege('deadlock_timeout', 'set') then set_config('deadlock_timeout', '50ms', true) end,
    set_config('lock_timeout', case when %(is_long)s and not has_parameter_privilege('deadlock_timeout', 'set')
        then '1200ms' else %(timeout)s end, true)
"""
#: Migration 023 makes the role, and a hosting provider may let no customer make any.
_HINT_RIGHTS: Final = (
    "the login lacks that right. Who may create roles runs `dex db roles`, which makes a login that has it; or"
    " CREATE ROLE dex_tenant NOLOGIN and GRANT dex_tenant TO this login; then migrate again"
)
_RECORD: Final = "insert into dex_migrations (number, name, checksum, baseline) values (%s, %s, %s, %s)"
_DROP_INVALID: Final = """
select c.oid::regclass::text from pg_index as i join pg_class as c on c.oid = i.indexrelid
where c.oid = to_regclass(%s) and not i.indisvalid
"""
_OLDEST_TRANSACTION: Final = """
select format('process %s of `%s` has been in a transaction for %s: %s', pid, usename,
    date_trunc('second', clock_timestamp() - xact_start), left(regexp_replace(query, '\\s+', ' ', 'g'), 100))
from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and xact_start < clock_timestamp() - interval '1 second'
    and backend_type = 'client backend' and query not like '%dex migrate%'
order by xact_start limit 1
"""


async def run_migration(connection: Connection, file: Migration, report: Report, patience: float) -> None:
    """Run a file and record it. Raises MigrationError when it fails, or gets no lock for `patience` seconds."""

    def report_progress(diagnostic: Any) -> None:
        if diagnostic.severity_nonlocalized == "INFO":
            report(f"{file.name}: {diagnostic.message_primary}")

    connection.add_notice_handler(report_progress)
    try:
        for step in split_steps(file):
            await _run_step(connection, file, step, report, patience, is_record=file.is_one_transaction)
        if not file.is_one_transaction:
            await record_migration(connection, file, baseline=False)
    finally:
        connection.remove_notice_handler(report_progress)


async def record_migration(connection: Connection, file: Migration, *, baseline: bool) -> None:
    """Record a file as applied; the primary key refuses a second process that does the same at once."""
    await connection.execute(_RECORD, [file.number, file.name, file.checksum, baseline])


async def _run_step(
    connection: Connection,
    file: Migration,
    step: Step,
    report: Report,
    patience: float,
    *,
    is_record: bool,
) -> None:
    clock = asyncio.get_running_loop().time
    begun, reported_at, attempt = clock(), clock(), 0
    while True:
        attempt += 1
        try:
            if step.is_transaction:
                await _run_in_transaction(connection, file, step, is_long=attempt % 4 == 0, is_record=is_record)
            else:
                await _run_alone(connection, step)
            return
        except (errors.LockNotAvailable, errors.DeadlockDetected) as error:
            if clock() - begun > patience:
                raise await _build_refusal(connection, file, patience) from error
        except psycopg.Error as error:
            if connection.closed:
                raise
            raise _build_failure(file, step, error) from error
        if clock() - reported_at > _REPORT_EVERY:
            reported_at = clock()
            report(f"{file.name}: waits for a table that is in use; tried {attempt} times")
        await asyncio.sleep(min(_FIRST_PAUSE * attempt, _LONGEST_PAUSE))


async def _run_in_transaction(
    connection: Connection, file: Migration, step: Step, *, is_long: bool, is_record: bool
) -> None:
    async with connection.transaction():
        await connection.execute(_SET_BOUNDS, {"timeout": LOCK_TIMEOUT, "is_long": is_long})
        if is_record:
            await record_migration(connection, file, baseline=False)
        # Without parameters psycopg sends the text as it is, with any number of statements.
        await connection.execute(step.text.encode())


async def _run_alone(connection: Connection, step: Step) -> None:
    """Run a step outside of a transaction; first drop an index of its name whose build was interrupted."""
    timeout = await fetch_value(connection, "show statement_timeout")
    if timeout != "0":
        await connection.execute("set statement_timeout = 0")
    try:
        if step.index is not None:
            for (name,) in await fetch_rows(connection, _DROP_INVALID, [quote(step.index)]):
                await connection.execute(f"drop index concurrently {name}".encode())
        await connection.execute(step.text.encode())
    finally:
        if timeout != "0" and not connection.closed:
            await connection.execute("select set_config('statement_timeout', %s, false)", [timeout])


async def _build_refusal(connection: Connection, file: Migration, patience: float) -> MigrationError:
    rows = await fetch_rows(connection, _OLDEST_TRANSACTION)
    message = f"{file.name}: a table it changes was in use for {patience:g} seconds, at every attempt"
    hint = "end the transaction that holds it, then migrate again"
    return MigrationError("\n".join([message, *(row[0] for row in rows)]), hint=hint)


def _build_failure(file: Migration, step: Step, error: psycopg.Error) -> MigrationError:
    """Return the error for a failed file: with its line (if the server names one), the SQLSTATE, and all details."""
    diagnostic = error.diag
    place = file.name
    if diagnostic.statement_position:
        position = step.offset + int(diagnostic.statement_position) - 1
        place += f":{file.text.count(chr(10), 0, position) + 1}"
    first = f"{place}: {error.sqlstate}: {diagnostic.message_primary or error}"
    lines = [first, diagnostic.message_detail, diagnostic.context]
    kept = "nothing of it was applied"
    if not file.is_one_transaction:
        kept = "what stands before stays applied, and may be run again"
    hint = diagnostic.message_hint or f"correct the file; {kept}"
    if isinstance(error, errors.InsufficientPrivilege) and not diagnostic.message_hint:
        hint = _HINT_RIGHTS
    return MigrationError("\n".join(line for line in lines if line), hint=hint)
