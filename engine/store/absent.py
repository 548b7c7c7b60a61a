"""`on_absent: delete`: rows of earlier results whose element is gone from a newer one.

In: the steps of a batch, merged. Out: rows deleted, and said so on each step. It must not know how rows are written.

A result replaces what older results left under its parent key. It does so only when every element of it became a row:
one that was rejected may be the very row that would be deleted.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from engine.batch import Step
from engine.extract import Reason
from engine.plan import Plan
from engine.sql import absent


@dataclass(frozen=True)
class Absent:
    """A plan under `on_absent: delete` with its statement spelled once."""

    plan: Plan
    text: str

    @classmethod
    def of(cls, plan: Plan) -> Absent | None:
        """None for a plan that keeps what is absent."""
        return cls(plan, absent.delete(plan)) if plan.on_absent == "delete" else None

    async def lock(self, connection: AsyncConnection[Any], steps: Sequence[Step]) -> None:
        """Take the turn of every parent of `steps`: what others write there is written before or after this batch."""
        await connection.execute(
            absent.LOCK, {"parents": [self._turn(step) for step in steps if step.extraction.parent]}
        )

    async def delete(self, connection: AsyncConnection[Any], steps: Sequence[Step]) -> None:
        """Delete what older results left, oldest step first."""
        replaced = [step for step in steps if step.extraction.parent]
        complete = [step for step in replaced if step.complete]
        for step in replaced:
            if step.reasons and step.extraction.outcome == "row":
                step.notes.append(
                    Reason("absent_kept", None, "rows of earlier results were left: an element was rejected")
                )
        if complete:
            answers = await (await connection.execute(self.text, self._parameters(complete))).fetchall()
            for number, deleted, newer in answers:
                _settle(complete[number - 1], deleted, newer)

    def _parameters(self, steps: Sequence[Step]) -> dict[str, Any]:
        keys = {item.name: [_parent(step)[item.name] for step in steps] for item in self.plan.parent_key}
        return {**keys, "orgs": [step.org_id for step in steps], "times": [step.recorded_at for step in steps]}

    def _turn(self, step: Step) -> str:
        return json.dumps([self.plan.table, step.org_id, *(str(value) for value in _parent(step).values())])


def _parent(step: Step) -> dict[str, Any]:
    assert step.extraction.parent is not None
    return step.extraction.parent


def _settle(step: Step, deleted: int, newer: bool) -> None:
    if deleted:
        step.deletion = "written"
        rows = "1 row of an earlier result was" if deleted == 1 else f"{deleted} rows of earlier results were"
        step.notes.append(Reason("absent_deleted", None, f"{rows} deleted: no element of this one is theirs"))
    elif not step.outcomes:
        step.deletion = "superseded" if newer else "unchanged"
