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

from engine.plan import Plan
from engine.rows.extract import Reason, none_of
from engine.rows.grouping import Step
from engine.sql import replace


@dataclass(frozen=True)
class Absent:
    """A plan under `on_absent: delete` with its statements spelled once."""

    plan: Plan
    turns: str
    overtaken: str
    text: str

    @classmethod
    def of(cls, plan: Plan) -> Absent | None:
        """None for a plan that keeps what is absent."""
        if plan.on_absent != "delete":
            return None
        return cls(plan, replace.lock(plan), replace.overtaken(plan), replace.delete(plan))

    async def prepare(self, connection: AsyncConnection[Any], steps: Sequence[Step]) -> None:
        """Take the turn of every parent of `steps`, and mark the steps that came too late to add rows there."""
        steps = _replacing(steps)
        parents = self._parameters(steps)
        await connection.execute(self.turns, parents)
        words = {"spec": self.plan.name, "digest": self.plan.digest, "reasons": [_said(step) for step in steps]}
        found = await connection.execute(self.overtaken, {**parents, **words})
        for (number,) in await found.fetchall():
            steps[number - 1].overtaken = True

    async def delete(self, connection: AsyncConnection[Any], steps: Sequence[Step]) -> None:
        """Delete what older results left under the parents of `steps`, once their own rows are written."""
        steps = _replacing(steps)
        complete = [step for step in steps if step.complete]
        found = await connection.execute(self.text, self._parameters(complete))
        deleted = {complete[number - 1].id: count for number, count in await found.fetchall()}
        for step in steps:
            _settle(step, deleted.get(step.id, 0))

    def _parameters(self, steps: Sequence[Step]) -> dict[str, Any]:
        keys = {item.name: [_parent(step)[item.name] for step in steps] for item in self.plan.parent_key}
        return {**keys, "orgs": [step.org_id for step in steps], "times": [step.recorded_at for step in steps]}


def _replacing(steps: Sequence[Step]) -> list[Step]:
    return [step for step in steps if step.extraction.outcome == "row" and step.extraction.parent is not None]


def _parent(step: Step) -> dict[str, Any]:
    assert step.extraction.parent is not None
    return step.extraction.parent


def _said(step: Step) -> str:
    """What the ledger says of an empty result of the same parent."""
    return json.dumps([{"code": "no_elements", "value": none_of(_parent(step))}])


def _settle(step: Step, deleted: int) -> None:
    if not step.complete:
        step.notes.append(Reason("absent_kept", None, "rows of earlier results were left: an element was rejected"))
    elif deleted:
        step.deletion = "written"
        rows = "1 row of an earlier result was" if deleted == 1 else f"{deleted} rows of earlier results were"
        step.notes.append(Reason("absent_deleted", None, f"{rows} deleted: no element of this one is theirs"))
    elif not step.outcomes:
        step.deletion = "superseded" if step.overtaken else "unchanged"
