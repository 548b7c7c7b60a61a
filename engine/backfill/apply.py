"""Fold a batch of step results and stale rows into the table of their spec, in one transaction.

A unit is the rows that are computed together: the row of one key or, with `on_absent: delete`, all rows of one parent
key. A step result contributes to the units it has rows for. Backfill, repair, and an upsert that names its step result
use this module. The steps of `BatchFold.fold_batch`:

1. lock the step results; one that changed since it was read stays pending
2. lock the units to which they contribute or contributed, and the stale ones; then read which other step results
   contribute to these units
3. read the documents of those others, newest first, as far back as the fold needs them
4. compute the rows and store those that differ (engine/backfill/writer.py)
5. remove the rows that no step result gives any more (engine/backfill/removal.py)
6. write lineage (which step result gave which row) and ledger (the outcome of each step result)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass

from psycopg import errors

from engine.backfill.lineage import Lineage
from engine.backfill.preview import Preview
from engine.backfill.reader import read_missing_steps
from engine.backfill.refusals import may_refuse_rows
from engine.backfill.removal import Removal, RemovalStatements
from engine.backfill.staging import StagingStatements
from engine.backfill.versions import check_present_version
from engine.backfill.writer import FoldWriter
from engine.plan import Plan
from engine.rows.fetch_plan import FetchPlan
from engine.rows.fold import Contributor, UnitFold
from engine.rows.keys import build_key
from engine.rows.outcomes import Outcome
from engine.rows.steps import Step
from engine.rows.units import Unit
from engine.sql import merge
from engine.store.connection import Connection, fetch_rows
from engine.store.errors import is_row_error

#: How often a batch is folded at most, again after each deadlock.
_MAX_ATTEMPTS = 5


@dataclass(frozen=True)
class BatchFold:
    """Folds batches of step results into one plan's table; build it once, since it holds the SQL statements.

    To fold is to compute a row from everything that step results give for its key: the newest wins.
    """

    fetch_plan: FetchPlan
    staging: StagingStatements
    removal: RemovalStatements
    preview: Preview | None

    @classmethod
    def build(cls, fetch_plan: FetchPlan, preview: Preview | None = None) -> BatchFold:
        """Build the statements of a plan. `preview`, if given, collects what each batch changes."""
        return cls(
            fetch_plan, StagingStatements.build(fetch_plan, preview), RemovalStatements.build(fetch_plan.plan), preview
        )

    @property
    def plan(self) -> Plan:
        return self.fetch_plan.plan

    async def fold_with_retry(
        self,
        connection: Connection,
        steps: Sequence[Step],
        stale: Sequence[Unit] = (),
        *,
        again: bool,
        dry_run: bool = False,
        lock_timeout: str | None = None,
        is_flushed: bool = True,
    ) -> list[Step]:
        """Fold a batch in a transaction of its own, again after a deadlock; return the step results it recorded.

        A deadlock happens, for example, while a run is deleted. A deferred constraint refuses a row only at the commit,
        which does not say whose: then the batch is folded again with all constraints checked at each statement. Without
        `is_flushed` the commit does not wait for the disk: the caller executes FLUSH_COMMITS_SQL after its last batch.
        If the server crashes before that, it loses whole batches, rows and ledger entries together, so their step
        results are pending again. Raises as `fold_batch` does.
        """
        attempts, is_deferring = 1, True
        while True:
            try:
                async with connection.transaction(force_rollback=dry_run):
                    if lock_timeout:
                        await connection.execute("select set_config('lock_timeout', %s, true)", (lock_timeout,))
                    if not is_flushed:
                        await connection.execute(merge.BEGIN_BULK_SQL)
                    if not is_deferring:
                        await connection.execute(merge.CHECK_CONSTRAINTS_SQL)
                    await self.fold_batch(connection, steps, stale, again=again, is_trial=dry_run)
                return [step for step in steps if step.is_recorded]
            except errors.DeadlockDetected:
                if attempts == _MAX_ATTEMPTS:
                    raise
                attempts, steps = attempts + 1, [step.copy_unmerged() for step in steps]
            except errors.Error as error:
                if not is_deferring or not is_row_error(error.sqlstate):
                    raise
                is_deferring, steps = False, [step.copy_unmerged() for step in steps]

    async def fold_batch(
        self,
        connection: Connection,
        steps: Sequence[Step],
        stale: Sequence[Unit] = (),
        *,
        again: bool,
        is_trial: bool = False,
    ) -> list[UnitFold]:
        """Compute and store the rows of `steps` and of stale units; record the outcomes; return a fold per unit.

        A unit is the rows that are computed together: that of a key, or with `on_absent: delete` those of a parent key.
        Runs inside the caller's transaction. A step result that changed since it was read is left out and stays
        pending; `is_recorded` is set on the others. `again` overwrites ledger entries. With `is_trial`, for a
        transaction that is rolled back, any version of the spec is accepted. Raises SpecOutdated when another version
        of the spec is the present one, and psycopg's error where the database fails for a reason other than a row's
        values.
        """
        unchanged = await _lock_steps(connection, steps)
        steps = [step for step in steps if step.id in unchanged]
        lineage = Lineage(self.plan, connection)
        folds = await lineage.lock_units(steps, stale)
        if not is_trial:  # after the locks: a rebuild holds them while it registers its version
            await check_present_version(connection, self.plan)
        if any(len(fold.contributors) > 1 for fold in folds):
            may_refuse = await may_refuse_rows(connection, self.plan)
            for fold in folds:
                fold.is_tested = fold.needs_test(may_refuse)
        await self._read_missing(connection, folds)
        if any(fold.contributors for fold in folds):
            table = await self.staging.create_table(connection)
            writer = FoldWriter(self.plan, table, lambda folds: self._read_missing(connection, folds))
            await writer.write_folds(folds)
        _record_outcomes(folds)
        await Removal(self.removal, connection, lineage, self.preview).remove_rows(folds)
        await lineage.write_entries(folds)
        await self._record_steps(connection, steps, again)
        return folds

    async def _read_missing(self, connection: Connection, folds: Sequence[UnitFold]) -> None:
        await read_missing_steps(connection, self.fetch_plan, folds)

    async def _record_steps(self, connection: Connection, steps: Sequence[Step], again: bool) -> None:
        if not steps:
            return
        parameters = {
            "spec": self.plan.name,
            "digest": self.plan.digest,
            "again": again,
            "ids": ",".join(step.id for step in steps),
            "orgs": ",".join(step.org_id for step in steps),
            "outcomes": ",".join(step.outcome for step in steps),
            "elements": ",".join(str(step.extraction.elements) for step in steps),
            "rows": ",".join(str(step.row_count) for step in steps),
            "duplicates": ",".join(str(step.extraction.duplicates) for step in steps),
            "refused": ",".join(str(step.refused_count) for step in steps),
            "reasons": json.dumps([[reason.as_dict() for reason in step.reasons] for step in steps]),
        }
        await connection.execute(merge.RECORD_OUTCOMES_SQL, parameters)


async def _lock_steps(connection: Connection, steps: Sequence[Step]) -> set[str]:
    """Lock step results against changes; return the ids of those that have not changed since they were read."""
    if not steps:
        return set()
    ids, versions = ",".join(step.id for step in steps), ",".join(step.version for step in steps)
    rows = await fetch_rows(connection, merge.LOCK_STEP_RESULTS_SQL, {"ids": ids, "versions": versions})
    unchanged = {step_id for (step_id,) in rows}
    for step in steps:
        step.is_recorded = step.id in unchanged
    return unchanged


def _record_outcomes(folds: Iterable[UnitFold]) -> None:
    """Set, on each step result of the batch, the outcome of each of its rows."""
    for fold in folds:
        newest = fold.list_newest()
        for contributor in fold.contributors:
            if contributor.is_new:
                _record_rows(fold, contributor, newest)


def _record_rows(fold: UnitFold, contributor: Contributor, newest: Set[tuple[str, int]]) -> None:
    step, results = contributor.extracted, fold.results
    for number in contributor.rows:
        key = build_key(fold.plan, step.extraction.rows[number])
        if stored := results.get(key):
            step.row_ids[number] = stored.row_id
        if reason := contributor.refusals.get(number):
            step.outcomes[number] = Outcome.REJECTED
            step.refusals[number] = reason
            step.merge_reasons.append(reason)
        elif (step.id, number) in newest:
            step.outcomes[number] = results[key].outcome
        else:
            step.outcomes[number] = Outcome.SUPERSEDED
