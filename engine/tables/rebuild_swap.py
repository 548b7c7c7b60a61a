"""The swap of a rebuilt table: what the new table takes over from the present one, and the exchange of names."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from psycopg import errors

from engine.backfill.lineage import Lineage
from engine.backfill.run import run_backfill
from engine.backfill.versions import is_queued
from engine.errors import EngineError
from engine.plan import Plan
from engine.provided_columns import PROVIDED_COLUMNS
from engine.rows.accounts import Account
from engine.rows.units import build_unit, list_all_locks
from engine.spec.enums import OnAbsent
from engine.sql import lineage, rebuild, table_parts, versions
from engine.sql.identifiers import quote, quote_table
from engine.sql.step_results import Scope, build_plan_parameters
from engine.store.connection import Connection, fetch_rows, fetch_value, keep_transaction_open
from engine.tables.catalog import Table
from engine.tables.ddl import shorten_identifier

T = TypeVar("T")

_BOUND_LOCKS_SQL: Final = "select set_config('lock_timeout', '1s', true), set_config('statement_timeout', '0', true)"
_MOST_ATTEMPTS: Final = 60
#: What is tried again. Time runs out where more arrives than is computed while others wait, or is still being written.
_RETRIED: Final = (errors.LockNotAvailable, errors.DeadlockDetected, errors.UniqueViolation, TimeoutError)
#: The tables whose keys others may violate: where a backfill of the present table records a step result between the
#: deletion of the ledger and its replacement. In any other table it is the rows that do not fit.
_RECORD_TABLES: Final = ("step_persistence", "row_lineage", "stale_rows", "spec_versions")
#: How long writers wait for the last backfill of the new table.
_FILL_SECONDS: Final = 5
#: The number of rows without a step result that are copied at a time.
_COPY_SIZE: Final = 1000
#: The most rows that an error names.
_MOST_NAMED: Final = 5


class RebuildRefused(EngineError):
    """The table cannot be rebuilt; it is as before."""


@dataclass(slots=True)
class RebuildReport:
    """What a rebuild did; `copied` and `left` count the rows without a step result that were taken over or dropped.

    `account` is that of the spec afterwards: every step result was recorded anew.
    """

    spec: str
    rows: int = 0
    copied: int = 0
    left: int = 0
    account: Account | None = None


@dataclass(slots=True)
class Rebuild:
    """One rebuild: its plan, and what has to happen to names and constraints at the swap."""

    plan: Plan
    connection: Connection
    dsn: str
    schema: str  # of the table: any schema in the search path
    table: Table
    renames: list[tuple[str, str]] = field(default_factory=list)  # indexes, and their names after the swap
    constraints: list[tuple[str, str]] = field(default_factory=list)  # indexes, and the constraints they become
    statistics: list[tuple[str, str]] = field(default_factory=list)  # extended ones, and their names after the swap

    @property
    def new_plan(self) -> Plan:
        """The plan of the new table."""
        return build_new_plan(self.plan, self.schema)

    @property
    def table_name(self) -> str:
        """The present table's name as written in SQL."""
        return quote_table(f"{self.schema}.{self.plan.table.rpartition('.')[2]}")

    @property
    def parameters(self) -> dict[str, str]:
        return {
            "spec": self.plan.name,
            "rebuilt": self.new_plan.name,
            "table": self.table_name.replace("%%", "%"),
            "new_table": quote_table(self.new_plan.table).replace("%%", "%"),
        }


def build_new_plan(plan: Plan, schema: str) -> Plan:
    """Return the plan of the new table of a spec, which is made in the schema of the present one.

    Its name has a capital, as that of no spec's table: what has this name is dropped and emptied as a rebuild's. Its
    temporary spec name keeps its ledger entries and lineage separate.
    """
    table = f"{schema}.{shorten_identifier(plan.table.rpartition('.')[2] + '_Rebuild')}"
    return replace(plan, name=rebuild.build_rebuilt_name(plan.name), table=table, rebuilds=plan.name)


async def bound_locks(connection: Connection) -> None:
    """Limit how long the current transaction waits for a table, and nothing else of it, whatever the server allows.

    Others wait behind it meanwhile. Foreign keys lock the tables that they refer to, when a table is created as when it
    is dropped. No statement takes too long, and no pause in which the new table is filled.
    """
    await keep_transaction_open(connection)
    await connection.execute(_BOUND_LOCKS_SQL)


async def execute_all(work: Rebuild, statements: Iterable[str]) -> None:
    """Execute statements that take the names of the spec and of its temporary one."""
    for sql in statements:
        await work.connection.execute(sql, work.parameters)


async def fill_new_table(work: Rebuild) -> Account:
    """Compute the rows of the step results that are pending for the new table; return the account of them."""
    return (await run_backfill(work.dsn, work.new_plan, Scope())).account


async def swap_with_retry(work: Rebuild, drop_unsourced: bool) -> RebuildReport:
    """Take over what the present table has, and replace it by the new one.

    Raises RebuildRefused when the table stays in use, or has rows without a step result that do not fit the spec.
    """

    async def swap() -> RebuildReport:
        await fill_new_table(work)
        if not await is_queued(work.connection, work.new_plan):
            # The backfill in the swap would wait for them, and everybody else for the swap.
            raise TimeoutError("transactions that write step results have not ended")
        async with work.connection.transaction():
            await bound_locks(work.connection)
            await _release_ids(work)
            await _take_over_ids(work)  # most of them now, while nobody waits
        return await _swap_tables(work, drop_unsourced)

    return await retry_locked(work.plan, swap)


async def retry_locked(plan: Plan, attempt: Callable[[], Awaitable[T]]) -> T:
    """Return the result of `attempt`, tried again while others are in its way. Raises RebuildRefused if they stay."""
    is_late = False
    for number in range(_MOST_ATTEMPTS):
        try:
            return await attempt()
        except _RETRIED as error:
            if isinstance(error, errors.UniqueViolation) and error.diag.table_name not in _RECORD_TABLES:
                raise
            is_late = isinstance(error, TimeoutError)
            await asyncio.sleep(min(number + 1, 5))
    if is_late:
        message = (
            f"step results for `{plan.table}` were being written each of {_MOST_ATTEMPTS} times that it was swapped"
        )
        hint = "end the long transactions that write step results, or wait until fewer arrive; then rebuild again"
        raise RebuildRefused(message, hint=hint)
    message = f"`{plan.table}`, or a table it refers to, was in use each of {_MOST_ATTEMPTS} times that it was needed"
    raise RebuildRefused(message, hint="end the long transactions that use it, then rebuild again")


async def _take_over_ids(work: Rebuild) -> None:
    """Give the rows of the new table the ids that the present rows with the same keys have."""
    if not _has_key(work):
        return
    await execute_all(work, rebuild.build_take_over(work.plan, work.new_plan.table, _list_extra_columns(work)))


async def _release_ids(work: Rebuild) -> None:
    """Give up ids that were taken over before a present row got another key: its own row is to have them."""
    if _has_key(work):
        await execute_all(work, rebuild.build_release_ids(work.plan, work.new_plan.table))


def _has_key(work: Rebuild) -> bool:
    """Return whether the present table has all columns of the key."""
    return set(work.plan.conflict) <= work.table.columns.keys()


async def _swap_tables(work: Rebuild, drop_unsourced: bool) -> RebuildReport:
    """Swap the tables in one transaction. Writers wait from its beginning, readers only while the names change."""
    connection, plan, new_plan = work.connection, work.plan, work.new_plan
    result = RebuildReport(plan.name)
    async with connection.transaction():
        await bound_locks(connection)
        await connection.execute(rebuild.LOCK_SWAP_SQL, work.parameters)
        locks = ",".join(map(str, list_all_locks(plan.name)))
        await connection.execute(lineage.LOCK_UNITS_SQL, {"locks": locks})
        await connection.execute(f"lock table {work.table_name} in share row exclusive mode")
        async with asyncio.timeout(_FILL_SECONDS):
            await fill_new_table(work)  # so that no row is older than in the present table
        await _release_ids(work)
        await execute_all(work, [rebuild.DELETE_STALE_SQL])
        unsourced = await _copy_unsourced(work, result, drop_unsourced)
        await _take_over_ids(work)
        parameters = {"name": plan.table}
        for sql in (rebuild.NOTE_REMOVED_SQL, rebuild.NOTE_WRITTEN_SQL):
            await connection.execute(sql.format(new_table=quote_table(new_plan.table)), parameters)
        await connection.execute(versions.REGISTER_SQL, build_plan_parameters(plan))
        await execute_all(work, rebuild.CARRY_RECORD_SQL)
        if plan.on_absent is OnAbsent.DELETE:  # behind the lineage, which a correction locks first
            await _queue_parents(work, unsourced)
        await execute_all(work, rebuild.UNQUEUE_SPEC_SQL)
        await connection.execute(f"lock table {work.table_name} in access exclusive mode")
        await _exchange_names(work)
        await connection.execute("select note_changes_of(%(name)s)", parameters)
    result.rows = await fetch_value(connection, f"select count(*) from {quote_table(plan.table)}")
    return result


async def _exchange_names(work: Rebuild) -> None:
    connection, new_table = work.connection, quote_table(work.new_plan.table)
    identities = await read_identities(work)
    for name, is_always in identities.items():
        parameters = {"new_table": work.parameters["new_table"], "column": name}
        await connection.execute(rebuild.build_set_sequence_sql(work.new_plan.table, name), parameters)
        if is_always:
            await connection.execute(f"alter table {new_table} alter column {quote(name)} set generated always")
    for sequence, column in await fetch_rows(connection, table_parts.SELECT_SEQUENCES_SQL, work.parameters):
        if column not in identities:
            await connection.execute(f"alter sequence {sequence} owned by {new_table}.{quote(column)}")
    own_names = await fetch_rows(connection, table_parts.SELECT_MADE_NAMES_SQL, work.parameters)
    name = work.plan.table.rpartition(".")[2]
    await connection.execute(f"drop table {work.table_name}")
    await connection.execute(f"alter table {new_table} rename to {quote(name)}")
    for own, wanted in work.renames:
        await connection.execute(f"alter index {quote_table(f'{work.schema}.{own}')} rename to {quote(wanted)}")
    for own, wanted in work.statistics:
        await connection.execute(f"alter statistics {quote_table(f'{work.schema}.{own}')} rename to {quote(wanted)}")
    for _, change in work.constraints:
        await connection.execute(f"alter table {work.table_name} {change}")
    for kind, own in own_names:
        wanted = shorten_identifier(name + own.removeprefix(work.new_plan.table.rpartition(".")[2]))
        if kind == "sequence":
            await connection.execute(f"alter sequence {quote_table(f'{work.schema}.{own}')} rename to {quote(wanted)}")
        else:
            await connection.execute(f"alter table {work.table_name} rename constraint {quote(own)} to {quote(wanted)}")


async def _copy_unsourced(work: Rebuild, result: RebuildReport, drop_unsourced: bool) -> list[str]:
    """Copy the rows that no step result gives; return the ids of all of them.

    Raises RebuildRefused if some do not fit, unless they may be dropped.
    """
    connection, plan = work.connection, work.plan
    types = {column.name: column.type.name for column in plan.fields}
    shared = [name for name, row in work.table.columns.items() if not row.generated]
    cast = [name for name in shared if name in types and work.table.columns[name].type != work.table.types[types[name]]]
    sql = rebuild.build_copy_rows_sql(plan, work.new_plan.table, shared, cast)
    rows = await fetch_rows(connection, rebuild.build_select_unsourced_sql(plan.table))
    ids = [row_id for (row_id,) in rows]  # newest first: of rows that get the same key, the newest stays
    parts = deque(ids[first : first + _COPY_SIZE] for first in range(0, len(ids), _COPY_SIZE))
    misfits: list[str] = []
    while parts and (drop_unsourced or len(misfits) < _MOST_NAMED):
        part = parts.popleft()
        try:
            async with connection.transaction():
                result.copied += (await connection.execute(sql, {"ids": part})).rowcount
        except (errors.DataError, errors.IntegrityError) as error:
            if len(part) > 1:
                parts.extendleft((part[len(part) // 2 :], part[: len(part) // 2]))
            else:
                misfits.append(f"{part[0]} ({error.diag.message_primary or error})")
    result.left = len(ids) - result.copied
    if not drop_unsourced and misfits:
        raise _build_unsourced_error(plan, len(ids), "not all of them fit", misfits)
    if not drop_unsourced and result.left:
        statement = rebuild.build_select_displaced_sql(plan, work.new_plan.table, shared, cast)
        displaced = [row_id for (row_id,) in await fetch_rows(connection, statement, {"ids": ids})]
        if displaced:
            reason = f"{len(displaced)} of them have the same key as another one under the changed spec"
            raise _build_unsourced_error(plan, len(ids), reason, displaced)
    return ids


async def _queue_parents(work: Rebuild, ids: Sequence[str]) -> None:
    """Queue the parent keys of copied rows: with `on_absent: delete` a newer list that lacks such a row deletes it."""
    names = [column.name for column in work.plan.parent_key]
    sql = rebuild.build_select_parents_sql(work.plan, work.new_plan.table)
    rows = await fetch_rows(work.connection, sql, {"ids": ids})
    units = [build_unit(work.plan, org_id, dict(zip(names, values, strict=True))) for org_id, *values in rows]
    await Lineage(work.plan, work.connection).queue_stale([(unit, "") for unit in units])


def _build_unsourced_error(plan: Plan, count: int, reason: str, rows: Sequence[str]) -> RebuildRefused:
    """Return the error about rows without a step result that cannot all be copied; `rows` describes some of them."""
    named = ", ".join(rows[:_MOST_NAMED]) + (", ..." if len(rows) > _MOST_NAMED else "")
    return RebuildRefused(
        f"{count} row(s) of `{plan.table}` come from no step result, and {reason}: {named}",
        hint=f"correct or delete them by SQL (`select * from {plan.table} where id = '...'`), or leave behind what does"
        " not fit with `--drop-unsourced`; of rows with the same key the newest is then kept",
    )


def _list_extra_columns(work: Rebuild) -> list[str]:
    """Return the columns of the table that are neither the spec's nor the engine's nor generated."""
    own = {*PROVIDED_COLUMNS, *(column.name for column in work.plan.fields)}
    return [name for name, row in work.table.columns.items() if name not in own and not row.generated]


async def read_identities(work: Rebuild) -> dict[str, bool]:
    """Return, by name of an identity column, whether its values are always generated."""
    rows = await fetch_rows(work.connection, table_parts.SELECT_IDENTITIES_SQL, work.parameters)
    return dict(rows)
