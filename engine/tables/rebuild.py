"""Rebuild the table of a spec whose key or types have changed, from the step results.

The steps of `rebuild_spec`:
  1. refuse what would be lost with the table: views, foreign keys of other tables, rules, partitions, publications
  2. make a table beside it with its columns, indexes, triggers, policies and grants, as the spec wants them now
  3. fill that from the step results, by a backfill under a name of its own; what arrives meanwhile is caught up with
  4. in one transaction: copy the rows of no step result, take over ids, drop the table and give its name to the new one
  5. backfill under the spec's own name, which finds every row as it should be and writes ledger and lineage
Killed before the swap it leaves a table that the next rebuild drops; killed after it, what is on record is pending.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from psycopg import errors

from engine.backfill.run import run_backfill
from engine.backfill.versions import register_versions
from engine.errors import EngineError
from engine.plan import Plan
from engine.provided_columns import PROVIDED_COLUMNS
from engine.rows.accounts import Account
from engine.sql import rebuild
from engine.sql.identifiers import quote, quote_table
from engine.sql.step_results import Scope
from engine.store.connection import Connection, connect
from engine.store.errors import wrap_errors
from engine.tables.catalog import Table
from engine.tables.compare import is_key_nullable, list_left_indexes, list_superfluous_indexes
from engine.tables.ddl import build_unique_index, shorten_identifier, spell_type
from engine.tables.inspect import read_table
from engine.tables.query_indexes import list_missing_indexes

#: How long the swap waits for the table: whoever wants it after that waits behind it.
_LOCK_TIMEOUT: Final = "3s"
_MOST_ATTEMPTS: Final = 20
#: Backfills of the table beside, each of what came during the one before.
_MOST_ROUNDS: Final = 5


class RebuildRefused(EngineError):
    """The table cannot be rebuilt; it is as it was."""


@dataclass(slots=True)
class RebuildReport:
    """What a rebuild did. `unsourced` counts the rows of no step result: copied, and left behind."""

    spec: str
    rows: int = 0
    copied: int = 0
    left: int = 0
    account: Account | None = None


@dataclass(slots=True)
class _Rebuild:
    """One rebuild: the plan, and the plan of the table beside it."""

    plan: Plan
    connection: Connection
    table: Table
    renames: list[tuple[str, str]] = field(default_factory=list)  # index of the new table -> its name after the swap
    constraints: list[tuple[str, str]] = field(default_factory=list)  # index -> how it becomes a constraint

    @property
    def shadow(self) -> Plan:
        """The plan of the table beside: what is on record of it stands under a name of its own."""
        schema, dot, name = self.plan.table.rpartition(".")
        table = f"{schema}{dot}{shorten_identifier(f'{name}_rebuild')}"
        return replace(self.plan, name=f"{self.plan.name} (rebuild)", table=table)

    @property
    def parameters(self) -> dict[str, str]:
        return {
            "table": quote_table(self.plan.table).replace("%%", "%"),
            "shadow": quote_table(self.shadow.table).replace("%%", "%"),
        }


async def rebuild_spec(
    dsn: str, plan: Plan, *, drop_unsourced: bool = False, report: Callable[[str], None] = lambda line: None
) -> RebuildReport:
    """Rebuild the table of `plan`. `report` gets a line per step.

    With `drop_unsourced` rows of no step result that do not fit are left behind; otherwise they are a reason to refuse.
    Raises RebuildRefused, StoreRefused, StoreUnavailable; the table is then as it was, unless the swap was made.
    """
    async with wrap_errors(), await connect(dsn) as connection, await connect(dsn) as holder, holder.transaction():
        await _lock_spec(holder, plan)
        table = await read_table(connection, plan.table)
        if table is None:
            hint = f"dex draft-migration {plan.name}, then dex migrate"
            raise RebuildRefused(f"table `{plan.table}` does not exist", hint=hint)
        work = _Rebuild(plan, connection, table)
        await _check_dependents(work)
        await _remove_shadow(work)
        await _create_shadow(work)
        report(f"{plan.name}: table `{work.shadow.table}` made; filling it from the step results")
        for _ in range(_MOST_ROUNDS):
            account = (await run_backfill(dsn, work.shadow, Scope())).account
            report(f"{plan.name}: {account.recorded} of {account.found} step results folded")
            if not account.found and not account.stale_rows:
                break
        result = await _swap_with_retry(work, drop_unsourced)
        report(f"{plan.name}: swapped, {result.rows} rows; writing ledger and lineage")
        await register_versions(connection, [plan])
    result.account = (await run_backfill(dsn, plan, Scope())).account
    return result


async def count_unsourced(dsn: str, plan: Plan) -> int:
    """Return how many rows of the table no step result gives. Raises StoreRefused, StoreUnavailable."""
    async with wrap_errors(), await connect(dsn) as connection:
        return int((await _fetch_rows(connection, rebuild.build_count_unsourced_sql(plan.table)))[0][0])


async def _lock_spec(connection: Connection, plan: Plan) -> None:
    ((is_free,),) = await _fetch_rows(connection, rebuild.TRY_LOCK_SQL, {"spec": plan.name})
    if not is_free:
        raise RebuildRefused(f"another rebuild of `{plan.name}` is at work", hint="wait until it has ended")


async def _check_dependents(work: _Rebuild) -> None:
    found = await _fetch_rows(work.connection, rebuild.SELECT_DEPENDENTS_SQL, work.parameters)
    if found:
        names = ", ".join(f"{kind} `{name}`" for kind, name in found)
        message = f"`{work.plan.table}` cannot be swapped, since something depends on it: {names}"
        raise RebuildRefused(message, hint="drop what depends on it, rebuild, and make it again")


async def _remove_shadow(work: _Rebuild) -> None:
    """Remove what a rebuild that was killed has left."""
    await work.connection.execute(f"drop table if exists {quote_table(work.shadow.table)}")
    await _forget_specs(work.connection, [work.shadow.name], work.shadow.name)


async def _forget_specs(connection: Connection, specs: Sequence[str], shadow: str) -> None:
    for sql in rebuild.FORGET_SPEC_SQL:
        await connection.execute(sql, {"specs": list(specs), "shadows": [shadow]})


# --- the table beside -----------------------------------------------------------------------------------------------


async def _create_shadow(work: _Rebuild) -> None:
    connection = work.connection
    async with connection.transaction():
        await connection.execute(rebuild.build_shadow_sql(work.plan.table, work.shadow.table))
        for change in _list_column_changes(work):
            await connection.execute(f"alter table {quote_table(work.shadow.table)} {change}")
        await _create_indexes(work)
        for (text,) in await _fetch_rows(connection, rebuild.SELECT_CARRIED_SQL, work.parameters):
            await connection.execute(text)


def _list_column_changes(work: _Rebuild) -> Iterable[str]:
    """Yield the changes that make the columns those of the spec; the table is empty, so no value is in the way."""
    wanted = {column.name: column for column in work.plan.fields}
    for name, row in work.table.columns.items():
        column = wanted.get(name)
        if column is not None and row.generated:
            yield f"alter column {quote(name)} drop expression"
        if column is not None and row.type != work.table.types[column.type.name]:
            yield f"alter column {quote(name)} drop default"
            yield f"alter column {quote(name)} type {column.type.sql} using null::{column.type.sql}"
        is_unfed = column is None and name not in PROVIDED_COLUMNS and not row.has_default and not row.generated
        if row.not_null and (is_unfed or (column is not None and not column.required)):
            yield f"alter column {quote(name)} drop not null"
    for name, column in wanted.items():
        if name not in work.table.columns:
            yield f"add column {quote(name)} {spell_type(column)}"
        if column.required:
            yield f"alter column {quote(name)} set not null"
    for name, provided in PROVIDED_COLUMNS.items():
        if name not in work.table.columns:
            yield f"add column {quote(name)} {provided.type} {provided.constraint}"


async def _create_indexes(work: _Rebuild) -> None:
    """Make the indexes of the table that the changed spec leaves of use, and those it wants besides."""
    connection, shadow = work.connection, quote_table(work.shadow.table)
    left = {index.name for index in list_left_indexes(work.plan, work.table)}
    left |= {index.name for index, _ in list_superfluous_indexes(work.table)}
    rows = await _fetch_rows(connection, rebuild.SELECT_INDEX_TEXTS_SQL, work.parameters)
    for number, (name, is_primary, is_unique, is_constraint, deferrable, deferred, text) in enumerate(rows):
        if name in left:
            continue
        own = shorten_identifier(f"{work.shadow.table.rpartition('.')[2]}_{number}")
        unique = "unique " if is_unique else ""
        await connection.execute(f"create {unique}index {quote(own)} on {shadow}{text}")
        if is_constraint:
            delay = (" deferrable" if deferrable else "") + (" initially deferred" if deferred else "")
            kind = "primary key" if is_primary else "unique"
            work.constraints.append((own, f"add constraint {quote(name)} {kind} using index {quote(own)}{delay}"))
        else:
            work.renames.append((own, name))
    made = await read_table(connection, work.shadow.table)
    assert made is not None
    nulls_equal = is_key_nullable(work.shadow, made)
    if not any(_serves_key(index, work.plan, nulls_equal) for index in made.indexes):
        await connection.execute(
            build_unique_index(work.shadow.table, work.plan.conflict, nulls_equal=nulls_equal, suffix="dedup")
        )
    for wanted in list_missing_indexes(work.shadow, made):
        await connection.execute(wanted.build_sql(work.shadow.table))
    made = await read_table(connection, work.shadow.table)
    assert made is not None
    known = {own for own, _ in (*work.renames, *work.constraints)}
    before, after = (f"idx_{plan.table.rpartition('.')[2]}_" for plan in (work.shadow, work.plan))
    taken = {name for _, name in work.renames}
    for index in made.indexes:
        name = shorten_identifier(after + index.name.removeprefix(before))
        if index.name not in known and index.name.startswith(before) and name not in taken:
            work.renames.append((index.name, name))


def _serves_key(index: Any, plan: Plan, nulls_equal: bool) -> bool:
    is_same = index.unique and sorted(index.columns) == sorted(plan.conflict)
    return is_same and not index.partial and not index.has_expressions and (index.nulls_equal or not nulls_equal)


# --- the swap -------------------------------------------------------------------------------------------------------


async def _swap_with_retry(work: _Rebuild, drop_unsourced: bool) -> RebuildReport:
    for attempt in range(_MOST_ATTEMPTS):
        try:
            return await _swap_tables(work, drop_unsourced)
        except (errors.LockNotAvailable, errors.DeadlockDetected):
            await asyncio.sleep(min(attempt + 1, 5))
    message = f"`{work.plan.table}` was in use each of {_MOST_ATTEMPTS} times that it was to be swapped"
    raise RebuildRefused(message, hint="end the long transactions that use it, then rebuild again")


async def _swap_tables(work: _Rebuild, drop_unsourced: bool) -> RebuildReport:
    connection, plan, shadow = work.connection, work.plan, work.shadow
    result = RebuildReport(plan.name)
    async with connection.transaction():
        await connection.execute(f"set local lock_timeout = '{_LOCK_TIMEOUT}'")
        await connection.execute(f"lock table {quote_table(plan.table)} in access exclusive mode")
        await _copy_unsourced(work, result, drop_unsourced)
        identities = await _read_identities(work)
        if set(plan.conflict) <= work.table.columns.keys():
            carried = [name for name in _list_extra_columns(work) if not identities.get(name)]
            await connection.execute(rebuild.build_take_over_sql(plan, shadow.table, carried))
        for name in identities:
            parameters = {"shadow": work.parameters["shadow"], "column": name}
            await connection.execute(rebuild.build_set_sequence_sql(shadow.table, name), parameters)
        note = {"name": plan.table}
        for sql in (rebuild.NOTE_REMOVED_SQL, rebuild.NOTE_WRITTEN_SQL):
            await connection.execute(sql.format(shadow=quote_table(shadow.table)), note)
        for sequence, column in await _fetch_rows(connection, rebuild.SELECT_SEQUENCES_SQL, work.parameters):
            if column not in identities:
                owner = f"{quote_table(shadow.table)}.{quote(column)}"
                await connection.execute(f"alter sequence {sequence} owned by {owner}")
        await connection.execute(f"drop table {quote_table(plan.table)}")
        new_name = plan.table.rpartition(".")[2]
        await connection.execute(f"alter table {quote_table(shadow.table)} rename to {quote(new_name)}")
        schema = plan.table.rpartition(".")[0]
        for own, name in work.renames:
            index = quote_table(f"{schema}.{own}" if schema else own)
            await connection.execute(f"alter index {index} rename to {quote(name)}")
        for _, change in work.constraints:
            await connection.execute(f"alter table {quote_table(plan.table)} {change}")
        await connection.execute("select follow_changes(%(name)s)", note)
        await _forget_specs(connection, [plan.name, shadow.name], shadow.name)
    ((result.rows,),) = await _fetch_rows(connection, f"select count(*) from {quote_table(plan.table)}")
    return result


async def _copy_unsourced(work: _Rebuild, result: RebuildReport, drop_unsourced: bool) -> None:
    """Copy the rows that no step result gives, all or none. Raises RebuildRefused when one does not fit."""
    connection, plan = work.connection, work.plan
    ((count,),) = await _fetch_rows(connection, rebuild.build_count_unsourced_sql(plan.table))
    if not count:
        return
    types = {column.name: work.table.types[column.type.name] for column in plan.fields}
    shared = [name for name, row in work.table.columns.items() if not row.generated]
    cast = [name for name in shared if name in types and work.table.columns[name].type != types[name]]
    try:
        async with connection.transaction():
            cursor = await connection.execute(rebuild.build_copy_unsourced_sql(plan, work.shadow.table, shared, cast))
            result.copied, result.left = cursor.rowcount, count - cursor.rowcount
    except (errors.DataError, errors.IntegrityError) as error:
        if not drop_unsourced:
            message = f"{count} row(s) of `{plan.table}` come from no step result, and not all of them fit: "
            hint = "mend or delete them, or leave them behind with `--drop-unsourced`"
            raise RebuildRefused(message + (error.diag.message_primary or str(error)), hint=hint) from error
        result.left = count


def _list_extra_columns(work: _Rebuild) -> list[str]:
    """Return the columns of the table that are neither the spec's nor the engine's, and not computed from others."""
    own = {*PROVIDED_COLUMNS, *(column.name for column in work.plan.fields)}
    return [name for name, row in work.table.columns.items() if name not in own and not row.generated]


async def _read_identities(work: _Rebuild) -> dict[str, bool]:
    """Return the identity columns of the table, and whether their values are always generated."""
    rows = await _fetch_rows(work.connection, rebuild.SELECT_IDENTITIES_SQL, work.parameters)
    return dict(rows)


async def _fetch_rows(connection: Connection, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    return await (await connection.execute(sql, parameters)).fetchall()
