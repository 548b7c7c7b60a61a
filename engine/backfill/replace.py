"""Delete, under `on_absent: delete`, the rows of earlier step results whose element is missing from a newer one.

A step result replaces the rows that older results left under its parent key. It does so only when every one of its
elements became a row: an element that was rejected may belong to the very row that would be deleted.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.plan import Plan
from engine.rows.extract import Reason, serialize_parent_key
from engine.rows.grouping import Step
from engine.rows.outcomes import ExtractionOutcome, Outcome
from engine.spec.vocabulary import OnAbsent
from engine.sql import replace
from engine.store.connection import Connection


@dataclass(frozen=True)
class Replacement:
    """A plan with `on_absent: delete` and the statements that replace rows, built once."""

    plan: Plan
    lock_sql: str
    stale_sql: str
    delete_sql: str

    @classmethod
    def build(cls, plan: Plan) -> Replacement | None:
        """Build the statements; None for a plan that keeps rows whose element is absent."""
        if plan.on_absent is not OnAbsent.DELETE:
            return None
        return cls(
            plan,
            lock_sql=replace.build_parent_lock_sql(plan),
            stale_sql=replace.build_stale_results_sql(plan),
            delete_sql=replace.build_delete_sql(plan),
        )

    async def lock_parents(self, connection: Connection, steps: Sequence[Step]) -> None:
        """Lock the parent key of every step result, and mark those that are stale: they must not add rows there."""
        steps = _select_replacing(steps)
        parents = self._build_parameters(steps)
        await connection.execute(self.lock_sql, parents)
        reasons = [_build_empty_reasons(step) for step in steps]
        ledger = {"spec": self.plan.name, "digest": self.plan.digest, "reasons": reasons}
        cursor = await connection.execute(self.stale_sql, {**parents, **ledger})
        for (number,) in await cursor.fetchall():
            steps[number - 1].stale = True

    async def delete_rows(self, connection: Connection, steps: Sequence[Step]) -> None:
        """Delete the rows that older results left under the parent keys of `steps`, whose own rows are written."""
        steps = _select_replacing(steps)
        complete = [step for step in steps if step.complete]
        cursor = await connection.execute(self.delete_sql, self._build_parameters(complete))
        deleted = {complete[number - 1].id: count for number, count in await cursor.fetchall()}
        for step in steps:
            _record_deletion(step, deleted.get(step.id, 0))

    def _build_parameters(self, steps: Sequence[Step]) -> dict[str, Any]:
        keys = {column.name: [_require_parent(step)[column.name] for step in steps] for column in self.plan.parent_key}
        return {**keys, "orgs": [step.org_id for step in steps], "times": [step.recorded_at for step in steps]}


def _select_replacing(steps: Sequence[Step]) -> list[Step]:
    return [
        step
        for step in steps
        if step.extraction.outcome == ExtractionOutcome.ROW and step.extraction.parent is not None
    ]


def _require_parent(step: Step) -> dict[str, Any]:
    assert step.extraction.parent is not None
    return step.extraction.parent


def _build_empty_reasons(step: Step) -> str:
    """Build the reasons that the ledger has for an empty array under the same parent key."""
    return json.dumps([{"code": "no_elements", "value": serialize_parent_key(_require_parent(step))}])


def _record_deletion(step: Step, deleted: int) -> None:
    if not step.complete:
        message = "rows of earlier results were left: an element was rejected"
        step.merge_reasons.append(Reason("absent_kept", None, message))
    elif deleted:
        step.deletion_outcome = Outcome.WRITTEN
        rows = "1 row of an earlier result was" if deleted == 1 else f"{deleted} rows of earlier results were"
        step.merge_reasons.append(Reason("absent_deleted", None, f"{rows} deleted: no element of this one is theirs"))
    elif not step.outcomes:
        step.deletion_outcome = Outcome.SUPERSEDED if step.stale else Outcome.UNCHANGED
