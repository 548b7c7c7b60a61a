"""Rebuild the table of a spec whose key or types have changed, from the step results.

The steps of `rebuild_spec`:
  1. refuse if something would be lost with the table: views, foreign keys to it, rules, partitions, publications
  2. create a new table with the columns, indexes, triggers, policies and grants of the present one, as the spec wants
     them now
  3. fill it from the step results, by a backfill under a temporary spec name; repeat that for what arrives meanwhile
  4. in one transaction: fill in the last ones, copy the rows without a step result, take over ids, give the spec the
     ledger and the lineage of the temporary one, drop the table and rename the new one
  5. backfill what was recorded or changed during the swap
Killed before the swap, it leaves a table that the next rebuild drops; after it, nothing is left to do but a backfill.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import chain, count
from typing import Final

from engine.backfill.coverage import fetch_account
from engine.backfill.run import run_backfill
from engine.backfill.versions import queue_history
from engine.plan import Plan
from engine.provided_columns import PROVIDED_COLUMNS, SEARCH_COLUMN
from engine.sql import rebuild, table_parts
from engine.sql.identifiers import quote, quote_table
from engine.sql.step_results import Scope
from engine.store.connection import (
    Connection,
    connect,
    fetch_records,
    fetch_rows,
    fetch_value,
    keep_transaction_open,
)
from engine.store.errors import wrap_errors
from engine.tables.compare_indexes import is_key_nullable, list_key_indexes, list_left_indexes, list_superfluous_indexes
from engine.tables.ddl import (
    build_index_name,
    build_stored_words_definition,
    build_unique_index,
    shorten_identifier,
    spell_type,
)
from engine.tables.inspect import read_table
from engine.tables.query_indexes import list_missing_indexes
from engine.tables.rebuild_swap import (
    Rebuild,
    RebuildRefused,
    RebuildReport,
    bound_locks,
    execute_all,
    fill_new_table,
    read_identities,
    retry_locked,
    swap_with_retry,
)

#: How many backfills fill the new table, each for what arrived during the one before.
_MOST_ROUNDS: Final = 5
#: The session is idle while the new table is filled, and the planner's statistics of a large table take their time.
_UNBOUND_SESSION_SQL: Final = (
    "select set_config('idle_session_timeout', '0', false), set_config('statement_timeout', '0', false)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Index:
    """An index of the present table."""

    name: str
    is_primary: bool
    is_unique: bool
    is_constraint: bool
    deferrable: bool | None
    deferred: bool | None
    identifies_rows: bool  # for replication
    is_clustered: bool  # whether CLUSTER puts the rows into its order
    exclusion: str | None  # the definition of an exclusion constraint
    text: str  # what follows the table's name in its definition
    comment: str | None  # as SQL spells it


async def rebuild_spec(
    dsn: str, plan: Plan, *, drop_unsourced: bool = False, report: Callable[[str], None] = lambda line: None
) -> RebuildReport:
    """Rebuild the table of `plan`. `report` gets a line per step.

    With `drop_unsourced`, rows without a step result that do not fit the spec are dropped; without it they are a reason
    to refuse. Raises RebuildRefused, StoreRefused, StoreUnavailable; the table is then as before, unless the swap was
    made.
    """
    async with wrap_errors(), await connect(dsn) as connection, await connect(dsn) as holder, holder.transaction():
        await _lock_spec(holder, plan)
        if not connection.behind_pooler:  # where others use the session as well
            await connection.execute(_UNBOUND_SESSION_SQL)
        table = await read_table(connection, plan.table)
        if table is None:
            hint = f"dex draft-migration {plan.name}, then dex migrate"
            raise RebuildRefused(f"table `{plan.table}` does not exist", hint=hint)
        schema = await fetch_value(connection, table_parts.SELECT_SCHEMA_SQL, {"table": quote_table(plan.table)})
        work = Rebuild(plan, connection, dsn, schema, table)
        await _check_dependents(work)
        await retry_locked(plan, partial(_remove_new_table, work))
        await retry_locked(plan, partial(_create_new_table, work))
        report(f"{plan.name}: table `{work.new_plan.table}` made; filling it from the step results")
        for _ in range(_MOST_ROUNDS):
            account = await fill_new_table(work)
            report(f"{plan.name}: {account.recorded} of {account.found} step results folded")
            if not account.found and not account.stale_rows:
                break
        await connection.execute(f"analyze {quote_table(work.new_plan.table)}")  # its readers get good plans at once
        result = await swap_with_retry(work, drop_unsourced)
        report(f"{plan.name}: swapped, {result.rows} rows")
        await queue_history(connection, plan)  # waits for transactions that wrote step results during the swap
        await execute_all(work, rebuild.UNQUEUE_SPEC_SQL)  # they may have queued some for the temporary spec
    await run_backfill(dsn, plan, Scope())
    async with wrap_errors(), await connect(dsn) as connection:
        result.account = await fetch_account(connection, plan)
    return result


async def _lock_spec(connection: Connection, plan: Plan) -> None:
    """Lock the spec until the transaction of `connection` ends, which is idle for as long as the rebuild takes."""
    await keep_transaction_open(connection)
    if not await fetch_value(connection, rebuild.TRY_LOCK_SQL, {"spec": plan.name}):
        raise RebuildRefused(f"another rebuild of `{plan.name}` is running", hint="wait until it has ended")


async def _check_dependents(work: Rebuild) -> None:
    dependents = await fetch_rows(work.connection, table_parts.SELECT_DEPENDENTS_SQL, work.parameters)
    if dependents:
        names = ", ".join(f"{kind} `{name}`" for kind, name in dependents)
        message = f"`{work.plan.table}` cannot be swapped, since something depends on it: {names}"
        raise RebuildRefused(message, hint="drop what depends on it, rebuild, and create that again")


async def _remove_new_table(work: Rebuild) -> None:
    """Remove what a rebuild that was killed has left behind, the table last: an erasure looks for it."""
    await execute_all(work, rebuild.FORGET_SPEC_SQL)
    async with work.connection.transaction():
        await bound_locks(work.connection)
        await work.connection.execute(f"drop table if exists {quote_table(work.new_plan.table)}")


# --- the new table --------------------------------------------------------------------------------------------------


async def _create_new_table(work: Rebuild) -> None:
    connection = work.connection
    work.renames.clear()
    work.constraints.clear()
    async with connection.transaction():
        await bound_locks(connection)
        await connection.execute(rebuild.build_new_table_sql(work.plan.table, work.new_plan.table))
        work.statistics = await _list_statistics(work)  # before a changed type makes some of them anew
        for name, is_always in (await read_identities(work)).items():
            if is_always:  # until the swap, so that the values of the present rows can be taken over
                change = f"alter column {quote(name)} set generated by default"
                await connection.execute(f"alter table {quote_table(work.new_plan.table)} {change}")
        for change in _list_column_changes(work):
            await connection.execute(f"alter table {quote_table(work.new_plan.table)} {change}")
        await _create_indexes(work)
        for (text,) in await fetch_rows(connection, table_parts.SELECT_CARRIED_SQL, work.parameters):
            await connection.execute(text)


async def _list_statistics(work: Rebuild) -> list[tuple[str, str]]:
    """Return the names of the new table's extended statistics, each with the one that it is a copy of."""
    names = [
        [name for (name,) in await fetch_rows(work.connection, table_parts.SELECT_STATISTICS_SQL, {"table": table})]
        for table in (work.parameters["new_table"], work.parameters["table"])
    ]
    return list(zip(*names, strict=True))


def _list_column_changes(work: Rebuild) -> Iterable[str]:
    """Yield the statements that give the new, empty table the columns of the changed spec."""
    wanted = {column.name: column for column in work.plan.fields}
    words = work.table.columns.get(SEARCH_COLUMN)
    if words is not None and words.generated:  # no column may change while another one is computed from it
        yield f"drop column {SEARCH_COLUMN}"
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
    if work.plan.search and (words is None or words.generated):
        yield f"add column {SEARCH_COLUMN} {build_stored_words_definition(work.plan)}"


async def _create_indexes(work: Rebuild) -> None:
    """Create the indexes of the present table that the changed spec allows, and those that it needs besides."""
    connection, new_table_name = work.connection, work.new_plan.table.rpartition(".")[2]
    left = {index.name for index in list_left_indexes(work.plan, work.table)}
    left |= {index.name for index, _ in list_superfluous_indexes(work.table)}
    indexes = await fetch_records(connection, _Index, table_parts.SELECT_INDEXES_SQL, work.parameters)
    for number, index in enumerate(indexes):
        if index.name not in left:
            await _create_index(work, index, shorten_identifier(f"{new_table_name}_{number}"))
    created = await read_table(connection, work.new_plan.table)
    assert created is not None
    suffixes = []
    nulls_equal = is_key_nullable(work.new_plan, created)
    if not any(index.nulls_equal or not nulls_equal for index in list_key_indexes(work.plan, created)):
        suffixes.append("dedup")
        await connection.execute(
            build_unique_index(work.new_plan.table, work.plan.conflict, nulls_equal=nulls_equal, suffix="dedup")
        )
    for wanted in list_missing_indexes(work.new_plan, created):
        suffixes.append(wanted.suffix)
        await connection.execute(wanted.build_sql(work.new_plan.table))
    for suffix in suffixes:
        taken = {name for _, name in work.renames}
        ends = chain([suffix], (f"{suffix}_{number}" for number in count(2)))
        usual = (build_index_name(work.plan.table, end) for end in ends)
        own = build_index_name(work.new_plan.table, suffix)
        work.renames.append((own, next(name for name in usual if name not in taken)))


async def _create_index(work: Rebuild, index: _Index, own: str) -> None:
    """Create an index of the present table on the new one, under a name of its own until the swap."""
    connection, new_table = work.connection, quote_table(work.new_plan.table)
    if index.exclusion:
        await connection.execute(f"alter table {new_table} add constraint {quote(own)} {index.exclusion}")
    else:
        unique = "unique " if index.is_unique else ""
        await connection.execute(f"create {unique}index {quote(own)} on {new_table}{index.text}")
    if index.is_constraint and not index.exclusion:
        delay = (" deferrable" if index.deferrable else "") + (" initially deferred" if index.deferred else "")
        kind = "primary key" if index.is_primary else "unique"
        change = f"add constraint {quote(index.name)} {kind} using index {quote(own)}{delay}"
        work.constraints.append((own, change))
    else:
        work.renames.append((own, index.name))
    if index.identifies_rows:
        await connection.execute(f"alter table {new_table} replica identity using index {quote(own)}")
    if index.is_clustered:
        await connection.execute(f"alter table {new_table} cluster on {quote(own)}")
    if index.comment:
        await connection.execute(f"comment on index {quote_table(f'{work.schema}.{own}')} is {index.comment}")
