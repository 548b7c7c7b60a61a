"""Step results of one batch -> the rows to write, one candidate after another for each key.

In: extractions with their step results. Out: Groups, sorted by key. It must not know SQL.

Repeats of a key fold: the newest wins, and a `keep` field that it misses comes from the next newest, which is what one
upsert after the other would have left.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from engine.extract import HELD, Extraction, Reason, Row
from engine.plan import Plan


@dataclass(slots=True)
class Step:
    """A found step result on its way: where it comes from, what was extracted, what became of its rows."""

    id: str
    org_id: str
    submission_id: str
    pipeline_run_id: str
    recorded_at: datetime
    extraction: Extraction
    outcomes: list[str] = field(default_factory=list)  # of its rows
    refusals: list[Reason] = field(default_factory=list)  # rows the database refused

    @property
    def reasons(self) -> tuple[Reason, ...]:
        return (*self.extraction.reasons, *self.refusals)

    @property
    def outcome(self) -> str:
        """What the ledger says: the strongest thing that happened to any of its rows."""
        if self.extraction.outcome != "row":
            return self.extraction.outcome
        return next(item for item in ("written", "unchanged", "superseded", "rejected") if item in self.outcomes)

    @property
    def rows_out(self) -> int:
        return sum(item in ("written", "unchanged") for item in self.outcomes)


@dataclass(slots=True)
class Candidate:
    """One extracted row and the step result it comes from."""

    step: Step
    row: Row
    element: int | None


@dataclass(slots=True)
class Group:
    """The candidates for one key, newest last."""

    key: tuple[Any, ...]
    candidates: list[Candidate]

    @property
    def newest(self) -> Candidate:
        return self.candidates[-1]

    def settle(self, outcome: str) -> None:
        """The newest candidate had `outcome`; those behind it were overtaken."""
        self.newest.step.outcomes.append(outcome)
        for candidate in self.candidates[:-1]:
            candidate.step.outcomes.append("superseded")

    def refuse(self, reason: Reason) -> Group | None:
        """The database refused the newest candidate: record why, and return the group of those behind it."""
        refused = self.candidates[-1]
        refused.step.outcomes.append("rejected")
        refused.step.refusals.append(reason)
        return Group(self.key, self.candidates[:-1]) if len(self.candidates) > 1 else None


def group(plan: Plan, steps: Iterable[Step]) -> list[Group]:
    """Group the rows of `steps` (oldest first) by key, in one order for every writer."""
    groups: dict[tuple[Any, ...], Group] = {}
    for candidate in _candidates(steps):
        key = (candidate.step.org_id, *(candidate.row[item.name] for item in plan.key_fields))
        groups.setdefault(key, Group(key, [])).candidates.append(candidate)
    return sorted(groups.values(), key=lambda item: [(part is None, str(part)) for part in item.key])


def _candidates(steps: Iterable[Step]) -> Iterator[Candidate]:
    for step in steps:
        rejected = {reason.element for reason in step.extraction.reasons}
        elements = [index for index in range(step.extraction.elements) if index not in rejected]
        many = step.extraction.elements != 1 or rejected
        for index, row in zip(elements, step.extraction.rows, strict=True):
            yield Candidate(step, row, index if many else None)


def fold(plan: Plan, item: Group) -> Row:
    """The row to write for a group. A held value is replaced by the id of the step result it is taken from."""
    folded: Row = {}
    for field_ in plan.fields:
        behind = reversed(item.candidates) if field_.on_missing == "keep" else [item.newest]
        folded[field_.name] = next(
            (_taken(candidate, field_.name) for candidate in behind if candidate.row[field_.name] is not None), None
        )
    return folded


def _taken(candidate: Candidate, name: str) -> Any:
    value = candidate.row[name]
    return candidate.step.id if value is HELD else value
