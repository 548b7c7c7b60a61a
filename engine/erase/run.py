"""Erase a person or company (the subject) from the data of one organisation, in one transaction.

The steps of `erase_subject`:
  1. before that transaction, empty what killed rebuilds have left, and compute the rows that wait for a sweep
  2. find what is about the subject (engine/erase/search.py), and cancel the unfinished runs about it
  3. delete the step results about it; their ledger, lineage and pending entries are deleted with them
  4. remove it from the inputs and contexts that its runs and submissions keep, and blank its orders
  5. fold the rows again that other step results contribute to, and delete the other rows
  6. search all tables for what still mentions it
A dry run does the same without the first step, and rolls it back. If the process is killed before the commit, nothing
has changed; run the command again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from engine.backfill.apply import BatchFold
from engine.backfill.reader import fetch_steps
from engine.backfill.stale_rows import fold_stale_rows
from engine.backfill.versions import SpecOutdated
from engine.erase.documents import Scrubber, SubjectColumns
from engine.erase.mentions import Mention, find_mentions
from engine.erase.scrub import DocumentScrub
from engine.erase.search import Findings, SubjectSearch
from engine.erase.subject import Subject, build_text_pattern
from engine.plan import Plan
from engine.rows.fetch_plan import FetchPlan
from engine.rows.steps import Step
from engine.rows.units import Unit, list_locks
from engine.runs.management import cancel_runs
from engine.sql import erase, rebuild, table_parts
from engine.sql.identifiers import quote_table
from engine.sql.lineage import LOCK_UNITS_SQL
from engine.sql.merge import FLUSH_COMMITS_SQL
from engine.store.connection import Connection, connect, fetch_rows, fetch_value
from engine.store.errors import DEADLOCK, StoreRefused, wrap_errors
from engine.store.identity import check_organisation
from engine.tables.rebuild_swap import build_new_plan

#: The most units, and the most step results, of one fold.
_BATCH_SIZE: Final = 200
#: How often to search again for what was written during the erasure.
_MOST_PASSES: Final = 3
#: How often a transaction is tried that loses deadlocks.
_MOST_ATTEMPTS: Final = 5


@dataclass(slots=True)
class Erasure:
    """What was removed and blanked, as counts by table; and the rows that mention the subject and are kept."""

    removed: Counter[str] = field(default_factory=Counter)
    blanked: Counter[str] = field(default_factory=Counter)
    canceled_runs: int = 0
    mentions: Sequence[Mention] = ()
    names: set[str] = field(default_factory=set)  # the texts by which mentions were searched
    specs_without_table: Sequence[str] = ()  # none was found, so nothing was removed from it

    def add_part(self, part: Erasure) -> None:
        """Add what a later transaction removed; its search for mentions is the last one."""
        self.removed += part.removed
        self.blanked += part.blanked
        self.canceled_runs += part.canceled_runs
        self.mentions, self.names = part.mentions, part.names

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object that `dex erase` prints."""
        return {
            "removed": {table: count for table, count in sorted(self.removed.items()) if count},
            "blanked": {table: count for table, count in sorted(self.blanked.items()) if count},
            "canceled_runs": self.canceled_runs,
            "mentions": [mention.as_dict() for mention in self.mentions],
            "specs_without_table": list(self.specs_without_table),
        }


async def erase_subject(
    dsn: str, plans: Sequence[Plan], org_id: str, subject: Subject, *, dry_run: bool = False
) -> Erasure:
    """Erase a person or company from an organisation's data; return what was removed. A dry run removes nothing.

    After the commit it searches again, since another process may have written about it meanwhile. Raises
    UnknownOrganisation, SpecOutdated when another version of an affected spec is the present one, StoreRefused,
    StoreUnavailable.
    """
    erasure = Erasure()
    columns = SubjectColumns(subject.kind, plans)
    async with wrap_errors(), await connect(dsn) as connection:
        await check_organisation(connection, org_id)
        stored = await _list_stored_plans(connection, plans)
        erasure.specs_without_table = sorted({plan.name for plan in plans} - {plan.name for plan in stored})
        if not dry_run:
            await _empty_left_tables(connection, stored)
            await _fold_queued_rows(connection, stored, org_id)
        for _ in range(_MOST_PASSES):
            search = SubjectSearch(connection, org_id, subject, columns, stored)
            part, has_findings = await _remove_with_retry(search, erasure.names, dry_run=dry_run)
            erasure.add_part(part)
            if dry_run or not has_findings:
                return erasure
    return erasure


async def _list_stored_plans(connection: Connection, plans: Sequence[Plan]) -> list[Plan]:
    """Return the plans that have a table."""
    spelled = {quote_table(plan.table): plan for plan in plans}
    return [spelled[name] for (name,) in await fetch_rows(connection, erase.FIND_TABLES_SQL, {"tables": [*spelled]})]


async def _empty_left_tables(connection: Connection, plans: Sequence[Plan]) -> None:
    """Empty the tables that rebuilds have left behind when they were killed, and forget what was recorded of them."""
    for plan in plans:
        new_plan = await _find_new_plan(connection, plan)
        parameters = {"spec": plan.name, "rebuilt": new_plan.name}
        if await _list_stored_plans(connection, [new_plan]):
            async with connection.transaction():
                if await fetch_value(connection, rebuild.TRY_LOCK_SQL, parameters):  # otherwise a rebuild is running
                    for sql in (f"truncate {quote_table(new_plan.table)}", *rebuild.FORGET_SPEC_SQL):
                        await connection.execute(sql, parameters)


async def _fold_queued_rows(connection: Connection, plans: Sequence[Plan], org_id: str) -> None:
    """Compute the rows that wait for a sweep, such as those of step results deleted by hand: the queue has their keys.

    What cannot be computed, since another version of the spec is the present one or the table does not fit, is left to
    the sweep.
    """
    for plan in plans:
        with suppress(SpecOutdated, StoreRefused):
            async with wrap_errors():
                await fold_stale_rows(connection, BatchFold.build(FetchPlan(plan)), [org_id], dry_run=False)
    await connection.execute(FLUSH_COMMITS_SQL)


async def _find_new_plan(connection: Connection, plan: Plan) -> Plan:
    """Return the plan of the table that a rebuild of a spec fills."""
    schema = await fetch_value(connection, table_parts.SELECT_SCHEMA_SQL, {"table": quote_table(plan.table)})
    return build_new_plan(plan, schema)


async def _remove_with_retry(search: SubjectSearch, names: Set[str], *, dry_run: bool) -> tuple[Erasure, bool]:
    """Remove what a search finds in a transaction of its own, again after a deadlock with those who write rows.

    Returns what was removed, and whether there was anything. `names` are searched among the mentions, too.
    """
    attempts, specs = 1, sorted(plan.name for plan in search.columns.plans)
    while True:
        erasure = Erasure(names={*names})
        try:
            async with wrap_errors(), search.connection.transaction(force_rollback=dry_run):
                # First: the swap of a rebuild needs the tables that are read from here on for itself.
                await search.connection.execute(rebuild.LOCK_SWAPS_SQL, {"specs": specs})
                removal = _Removal(search, await search.find_everything(), erasure, dry_run=dry_run)
                await removal.remove_everything()
            return erasure, bool(removal.findings)
        except StoreRefused as error:
            if error.sqlstate != DEADLOCK or attempts == _MOST_ATTEMPTS:
                raise
            attempts += 1


@dataclass(frozen=True)
class _Removal:
    """Removes the findings of a search, inside the transaction of that search."""

    search: SubjectSearch
    findings: Findings
    erasure: Erasure
    dry_run: bool

    @property
    def connection(self) -> Connection:
        return self.search.connection

    @property
    def keys(self) -> dict[str, Any]:
        """The parameters of the SQL statements: the organisation and the ids in the findings."""
        findings = self.findings
        return {
            "org_id": self.search.org_id,
            "steps": sorted(findings.steps),
            "runs": sorted(findings.runs),
            "submissions": sorted(findings.submissions),
            "orders": sorted(findings.orders),
        }

    async def remove_everything(self) -> None:
        """Remove what is about the person or company, then search for rows that still mention it."""
        await self._lock_findings()
        keys, subject = self.keys, self.search.subject
        await self._cancel_runs()
        scrub = await self._prepare_scrub()
        units = await self._list_units(scrub)
        rows = await self._list_rows()
        self.erasure.removed.update(dict(await fetch_rows(self.connection, erase.COUNT_OF_STEPS_SQL, keys)))
        await self._execute_counted(self.erasure.removed, "step_results", erase.DELETE_STEPS_SQL, keys)
        await scrub.scrub_everything()
        await self._execute_counted(self.erasure.blanked, "research_orders", erase.BLANK_ORDERS_SQL, keys)
        await self._fold_units(units, scrub.changed_steps)
        await self._delete_rows(rows)
        self.erasure.names |= {*subject.known.search_texts, *self.findings.company_names}
        self.erasure.mentions = await find_mentions(self.connection, self.search.org_id, self.erasure.names)

    async def _lock_findings(self) -> None:
        """Lock runs and step results; leave out those that were moved to another organisation since they were found."""
        findings = self.findings
        for ids, sql in ((findings.runs, erase.LOCK_RUNS_SQL), (findings.steps, erase.LOCK_STEPS_SQL)):
            ids &= {row_id for (row_id,) in await fetch_rows(self.connection, sql, self.keys)}

    async def _cancel_runs(self) -> None:
        """Cancel the unfinished runs, which would order or write more; their runners learn of it at their next call."""
        for (run_id,) in await fetch_rows(self.connection, erase.FIND_UNFINISHED_RUNS_SQL, self.keys):
            self.erasure.canceled_runs += len(await cancel_runs(self.connection, run_id=run_id))

    async def _prepare_scrub(self) -> DocumentScrub:
        scrubber = Scrubber(self.search.subject, self.search.columns, build_text_pattern(self.search.subject.known))
        scrub = DocumentScrub(self.connection, scrubber, self.keys, self.erasure.blanked)
        await scrub.read_documents()
        return scrub

    async def _list_units(self, scrub: DocumentScrub) -> set[tuple[str, Unit]]:
        """Return, by spec, the units (rows computed together) of the step results that are deleted or changed."""
        steps = [*self.keys["steps"], *scrub.changed_steps]
        entries = await fetch_rows(self.connection, erase.READ_UNITS_SQL, {**self.keys, "steps": steps})
        return {(spec, Unit(self.search.org_id, unit, parent)) for spec, unit, parent in entries}

    async def _list_rows(self) -> dict[tuple[str, str], list[str]]:
        """Return the rows whose step result is deleted, by schema and table, also those in tables of removed specs."""
        rows: dict[tuple[str, str], list[str]] = {}
        named = [row_id for ids in self.findings.rows.values() for row_id in ids]
        for schema, table in await fetch_rows(self.connection, erase.FIND_SOURCED_TABLES_SQL, {}):
            sourced = await fetch_rows(
                self.connection, erase.build_sourced_rows_sql(schema, table), {**self.keys, "rows": named}
            )
            if sourced:
                rows[schema, table] = [row_id for (row_id,) in sourced]
        return rows

    async def _fold_units(self, units: set[tuple[str, Unit]], changed: Sequence[str]) -> None:
        """Compute the rows of deleted and changed step results again; delete the queued entries of removed specs."""
        specs = [plan.name for plan in self.search.columns.plans]
        keys = {**self.keys, "units": [unit.id for _, unit in units], "specs": specs}
        for plan in self.search.stored:
            in_new_table = {unit for spec, unit in units if spec == rebuild.build_rebuilt_name(plan.name)}
            if in_new_table:
                await self._delete_rebuilt(plan, in_new_table, changed)
        await self.connection.execute(erase.MARK_UNITS_SQL, keys)
        await self.connection.execute(erase.DELETE_FOREIGN_STALE_SQL, keys)
        for plan in self.search.stored:
            fetch_plan = FetchPlan(plan)
            fold = BatchFold.build(fetch_plan)
            for start in range(0, len(changed), _BATCH_SIZE):  # first, so that their rows keep their ids
                steps = await fetch_steps(self.connection, fetch_plan, changed[start : start + _BATCH_SIZE])
                if steps:
                    await self._fold_batch(fold, steps)
            stale = sorted((unit for spec, unit in units if spec == plan.name), key=lambda unit: unit.id)
            for start in range(0, len(stale), _BATCH_SIZE):
                await self._fold_batch(fold, (), stale[start : start + _BATCH_SIZE])

    async def _delete_rebuilt(self, plan: Plan, units: set[Unit], changed: Sequence[str]) -> None:
        """Delete the rows of `units` from the table that a rebuild is filling.

        The step results that still give these rows become pending there: the rebuild computes them again before it
        swaps the tables.
        """
        new_plan = await _find_new_plan(self.connection, plan)
        locks = ",".join(map(str, list_locks(new_plan.name, units)))
        await self.connection.execute(LOCK_UNITS_SQL, {"locks": locks})
        steps = [*self.keys["steps"], *changed]
        keys = {**self.keys, "steps": steps, "rebuilt": new_plan.name, "units": [unit.id for unit in units]}
        await self.connection.execute(erase.FORGET_REBUILT_SQL, keys)
        if await _list_stored_plans(self.connection, [new_plan]):
            await self.connection.execute(erase.build_delete_rebuilt_sql(new_plan.table), keys)

    async def _fold_batch(self, fold: BatchFold, steps: Sequence[Step], stale: Sequence[Unit] = ()) -> None:
        for sql in (fold.staging.create_sql, fold.staging.clear_sql):  # all batches are folded in one transaction
            await self.connection.execute(sql)
        await fold.fold_batch(self.connection, steps, stale, again=False, is_trial=self.dry_run)

    async def _delete_rows(self, rows: dict[tuple[str, str], list[str]]) -> None:
        """Delete the rows whose step result was deleted, and those that name the person or company; count them."""
        named = [row_id for ids in self.findings.rows.values() for row_id in ids]
        for (schema, table), ids in rows.items():
            keys = {**self.keys, "rows": ids, "named": named}
            await self.connection.execute(erase.build_delete_rows_sql(schema, table), keys)
            left = await fetch_rows(self.connection, erase.build_left_rows_sql(schema, table), {"rows": ids})
            self.erasure.removed[table] += len(ids) - len(left)

    async def _execute_counted(self, counts: Counter[str], table: str, sql: str, keys: dict[str, Any]) -> None:
        cursor = await self.connection.execute(sql, keys)
        counts[table] += cursor.rowcount
