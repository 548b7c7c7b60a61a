"""Erase somebody of one organisation, in one transaction.

The steps of `erase_subject`:
  1. find what is about the subject (engine/erase/search.py), and end the runs about it that have not ended
  2. delete its step results; ledger, lineage and pending entries go with them
  3. take it out of the inputs and contexts of what stays in its runs and submissions, and blank its orders
  4. fold anew the rows to which others contribute, and delete the rest
  5. look for what else mentions it
A dry run does the same and rolls it back. Killed before the commit nothing has happened; the command is run again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from engine.backfill.apply import BatchFold
from engine.backfill.reader import fetch_steps
from engine.erase.documents import Scrubber, SubjectColumns
from engine.erase.mentions import Mention, find_mentions
from engine.erase.scrub import DocumentScrub
from engine.erase.search import Findings, SubjectSearch
from engine.erase.subject import Subject, build_text_pattern
from engine.plan import Plan
from engine.rows.reading import Reading
from engine.rows.steps import Step
from engine.rows.units import Unit
from engine.runs.management import cancel_runs
from engine.sql import erase
from engine.store.connection import Connection, connect
from engine.store.errors import wrap_errors
from engine.store.identity import check_organisation

#: Units, and step results, that are folded at once.
_BATCH_SIZE: Final = 200
#: Looks at what was written while an erasure was under way.
_MOST_PASSES: Final = 3


@dataclass(slots=True)
class Erasure:
    """What was removed and blanked, by table, and what mentions the subject and stays."""

    removed: Counter[str] = field(default_factory=Counter)
    blanked: Counter[str] = field(default_factory=Counter)
    canceled_runs: int = 0
    mentions: Sequence[Mention] = ()
    names: set[str] = field(default_factory=set)  # what mentions were looked for by, also before the first commit

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object of `dex erase`."""
        return {
            "removed": {table: count for table, count in sorted(self.removed.items()) if count},
            "blanked": {table: count for table, count in sorted(self.blanked.items()) if count},
            "canceled_runs": self.canceled_runs,
            "mentions": [mention.as_dict() for mention in self.mentions],
        }


async def erase_subject(
    dsn: str, plans: Sequence[Plan], org_id: str, subject: Subject, *, dry_run: bool = False
) -> Erasure:
    """Erase `subject` of an organisation; return what was removed. A dry run removes nothing.

    Looks again after the commit: who was writing meanwhile may have written about it. Raises UnknownOrganisation,
    SpecOutdated when another version of a spec concerned is the present one, StoreRefused, StoreUnavailable.
    """
    erasure = Erasure()
    columns = SubjectColumns(subject.kind, plans)
    async with wrap_errors(), await connect(dsn) as connection:
        await check_organisation(connection, org_id)
        for _ in range(_MOST_PASSES):
            async with connection.transaction(force_rollback=dry_run):
                search = SubjectSearch(connection, org_id, subject, columns)
                removal = _Removal(search, await search.find_everything(), erasure, dry_run=dry_run)
                await removal.remove_everything()
            if dry_run or not removal.findings:
                return erasure
    return erasure


@dataclass(frozen=True)
class _Removal:
    """Removes what was found, inside the transaction in which it was found."""

    search: SubjectSearch
    findings: Findings
    erasure: Erasure
    dry_run: bool

    @property
    def connection(self) -> Connection:
        return self.search.connection

    @property
    def keys(self) -> dict[str, Any]:
        """The parameters of the statements: the organisation and the ids that were found."""
        found = self.findings
        return {
            "org_id": self.search.org_id,
            "steps": sorted(found.steps),
            "runs": sorted(found.runs),
            "submissions": sorted(found.submissions),
            "orders": sorted(found.orders),
        }

    async def remove_everything(self) -> None:
        """Remove what is about the subject, and look for what mentions it."""
        keys, subject = self.keys, self.search.subject
        for sql in (erase.LOCK_RUNS_SQL, erase.LOCK_STEPS_SQL):
            await self.connection.execute(sql, keys)
        await self._cancel_runs()
        scrub = await self._prepare_scrub()
        units = await self._list_units(scrub)
        rows = await self._list_rows()
        self.erasure.removed.update(dict(await self._fetch_rows(erase.COUNT_OF_STEPS_SQL, keys)))
        await self._execute_counted(self.erasure.removed, "step_results", erase.DELETE_STEPS_SQL, keys)
        await scrub.scrub_everything()
        await self._execute_counted(self.erasure.blanked, "research_orders", erase.BLANK_ORDERS_SQL, keys)
        await self._fold_units(units, scrub.changed_steps)
        await self._delete_rows(rows)
        self.erasure.names |= {*subject.known.search_texts, *self.findings.company_names}
        self.erasure.mentions = await find_mentions(self.connection, self.search.org_id, self.erasure.names)

    async def _cancel_runs(self) -> None:
        """End the runs that would go on to order or to write something; their runners learn it with their next call."""
        for (run_id,) in await self._fetch_rows(erase.FIND_UNFINISHED_RUNS_SQL, self.keys):
            self.erasure.canceled_runs += len(await cancel_runs(self.connection, run_id=run_id))

    async def _prepare_scrub(self) -> DocumentScrub:
        scrubber = Scrubber(self.search.subject, self.search.columns, build_text_pattern(self.search.subject.known))
        scrub = DocumentScrub(self.connection, scrubber, self.keys, self.erasure.blanked)
        await scrub.read_documents()
        return scrub

    async def _list_units(self, scrub: DocumentScrub) -> set[tuple[str, Unit]]:
        """Return what the step results that go or change contribute to, by spec."""
        steps = [*self.keys["steps"], *scrub.changed_steps]
        entries = await self._fetch_rows(erase.READ_UNITS_SQL, {**self.keys, "steps": steps})
        return {(spec, Unit(self.search.org_id, unit, parent)) for spec, unit, parent in entries}

    async def _list_rows(self) -> dict[tuple[str, str], list[str]]:
        """Return the rows whose source goes, by schema and table; the tables of removed specs have some, too."""
        rows: dict[tuple[str, str], list[str]] = {}
        named = [row_id for ids in self.findings.rows.values() for row_id in ids]
        for schema, table in await self._fetch_rows(erase.FIND_SOURCED_TABLES_SQL, {}):
            found = await self._fetch_rows(erase.build_sourced_rows_sql(schema, table), {**self.keys, "rows": named})
            if found:
                rows[schema, table] = [row_id for (row_id,) in found]
        return rows

    async def _fold_units(self, units: set[tuple[str, Unit]], changed: Sequence[str]) -> None:
        """Fold anew what erased and changed step results contributed to; what is queued of removed specs goes."""
        plans = self.search.columns.plans
        keys = {**self.keys, "units": [unit.id for _, unit in units], "specs": [plan.name for plan in plans]}
        await self.connection.execute(erase.MARK_UNITS_SQL, keys)
        await self.connection.execute(erase.DELETE_FOREIGN_STALE_SQL, keys)
        for plan in plans:
            reading = Reading(plan)
            fold = BatchFold.build(reading)
            for start in range(0, len(changed), _BATCH_SIZE):  # first: a row they still give stays the same row
                steps = await fetch_steps(self.connection, reading, changed[start : start + _BATCH_SIZE])
                if steps:
                    await self._fold_batch(fold, steps)
            stale = sorted((unit for spec, unit in units if spec == plan.name), key=lambda unit: unit.id)
            for start in range(0, len(stale), _BATCH_SIZE):
                await self._fold_batch(fold, (), stale[start : start + _BATCH_SIZE])

    async def _fold_batch(self, fold: BatchFold, steps: Sequence[Step], stale: Sequence[Unit] = ()) -> None:
        for sql in (fold.staging.create_sql, fold.staging.empty_sql):  # all batches are folded in one transaction
            await self.connection.execute(sql)
        await fold.fold_batch(self.connection, steps, stale, again=False, is_trial=self.dry_run)

    async def _delete_rows(self, rows: dict[tuple[str, str], list[str]]) -> None:
        """Delete the rows whose source went, and those that name the subject; count all that are gone."""
        named = [row_id for ids in self.findings.rows.values() for row_id in ids]
        for (schema, table), ids in rows.items():
            keys = {**self.keys, "rows": ids, "named": named}
            await self.connection.execute(erase.build_delete_rows_sql(schema, table), keys)
            left = await self._fetch_rows(erase.build_left_rows_sql(schema, table), {"rows": ids})
            self.erasure.removed[table] += len(ids) - len(left)

    async def _execute_counted(self, counts: Counter[str], table: str, sql: str, keys: dict[str, Any]) -> None:
        cursor = await self.connection.execute(sql, keys)
        counts[table] += cursor.rowcount

    async def _fetch_rows(self, sql: str, keys: dict[str, Any]) -> list[tuple[Any, ...]]:
        return await (await self.connection.execute(sql, keys)).fetchall()
