"""Step results of one batch -> the rows to write, in rounds that hold each key once.

In: extractions with their step results. Out: Groups, sorted by key, newest candidate last. It must not know SQL.

Of the candidates for one key the newest is written, and those behind it were overtaken, which is what one upsert after
the other would have left. Only where the newest misses a `keep` field that one behind it has must that one be written
first: its value stays where the stored row is older than it, and only the database knows that. So it gets a round
before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from itertools import zip_longest
from typing import Any
from zlib import crc32

from engine.plan import Plan
from engine.rows.extract import HELD, Extraction, Reason, Row

#: Step results per transaction: the best of 50, 100, 500, 2,000 and 10,000 where it was measured.
BATCH_SIZE = 500
#: Rows at which a batch is full whatever its size: lists of a thousand elements would fill the memory otherwise.
MOST_ROWS = 10_000


@dataclass(slots=True)
class Step:
    """A found step result on its way: where it comes from, what was extracted, what became of its rows."""

    id: str
    org_id: str
    submission_id: str
    pipeline_run_id: str
    recorded_at: datetime
    version: str  # of the step result as it was read
    extraction: Extraction
    outcomes: list[str] = field(default_factory=list)  # of its rows
    overtaken: bool = False  # under `on_absent: delete`: a newer result has replaced its rows already
    deletion: str | None = None  # and the outcome for the rows that it replaces
    notes: list[Reason] = field(
        default_factory=list
    )  # what the database refused; rows of earlier results deleted, left

    def anew(self) -> Step:
        """The step result as it was extracted, whatever became of it since."""
        return replace(self, outcomes=[], overtaken=False, deletion=None, notes=[])

    @property
    def reasons(self) -> tuple[Reason, ...]:
        return (*self.extraction.reasons, *self.notes)

    @property
    def outcome(self) -> str:
        """What the ledger says: the strongest thing that happened to any of its rows."""
        if self.extraction.outcome != "row":
            return self.extraction.outcome
        happened = (*self.outcomes, self.deletion)
        return next(item for item in ("written", "unchanged", "superseded", "rejected") if item in happened)

    @property
    def rows_out(self) -> int:
        return sum(item in ("written", "unchanged") for item in self.outcomes)

    @property
    def complete(self) -> bool:
        """Whether every element became a row that the database took."""
        found = self.extraction
        return found.outcome == "row" and len(found.rows) == found.elements and "rejected" not in self.outcomes


@dataclass(slots=True)
class Candidate:
    """One extracted row, the step result it comes from, and the index of its element."""

    step: Step
    row: Row
    element: int | None

    @property
    def values(self) -> Row:
        """The row, each held value replaced by the id of the step result it is taken from."""
        return {name: self.step.id if value is HELD else value for name, value in self.row.items()}


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
        self.newest.step.outcomes.append("rejected")
        self.newest.step.notes.append(reason)
        return Group(self.key, self.candidates[:-1]) if len(self.candidates) > 1 else None


@dataclass(frozen=True, slots=True)
class Batch:
    """Step results to merge together, oldest first, and their rows by key."""

    plan: Plan
    steps: Sequence[Step]
    groups: Sequence[Group]

    @classmethod
    def of(cls, plan: Plan, steps: Sequence[Step]) -> Batch:
        return cls(plan, steps, group(plan, steps))

    def anew(self) -> Batch:
        """The batch as it was before anybody tried to merge it."""
        return Batch.of(self.plan, [step.anew() for step in self.steps])

    def only(self, ids: Collection[str]) -> Batch:
        """The batch without the step results that are not in `ids`; nearly always the batch itself."""
        if len(ids) == len(self.steps):
            return self
        return Batch.of(self.plan, [step for step in self.steps if step.id in ids])


@dataclass(slots=True)
class Filling:
    """A batch that fills up, `size` step results or MOST_ROWS rows at most (and a step result at least)."""

    plan: Plan
    size: int
    steps: list[Step] = field(default_factory=list)
    rows: int = 0

    def add(self, step: Step) -> Batch | None:
        """Take one more; return the batch once it is full."""
        self.steps.append(step)
        self.rows += len(step.extraction.rows)
        return self.cut() if len(self.steps) >= self.size or self.rows >= MOST_ROWS else None

    def cut(self) -> Batch | None:
        """Return what there is and begin anew; None when there is nothing."""
        steps, self.steps, self.rows = self.steps, [], 0
        return Batch.of(self.plan, steps) if steps else None


def assign_writer(plan: Plan, step: Step, count: int) -> int:
    """Which of `count` writers merges `step`, whose rows are at most one.

    Step results of one key share a writer, so that they are merged in their order; and they do so in every process, so
    that one that resumes cuts the same batches.
    """
    parts = (part for row in step.extraction.rows for part in _key(plan, step, row))
    spelled = (hash(part) if isinstance(part, Decimal) else part for part in parts)  # 1.10 and 1.1 are one key
    return crc32(repr(list(spelled)).encode()) % count


def group(plan: Plan, steps: Iterable[Step]) -> list[Group]:
    """Group the rows of `steps` (oldest first) by key, in one order for every writer."""
    groups: dict[tuple[Any, ...], Group] = {}
    for candidate in _candidates(steps):
        key = _key(plan, candidate.step, candidate.row)
        groups.setdefault(key, Group(key, [])).candidates.append(candidate)
    return sorted(groups.values(), key=lambda item: [(part is None, str(part)) for part in item.key])


def _key(plan: Plan, step: Step, row: Row) -> tuple[Any, ...]:
    return (step.org_id, *(row[item.name] for item in plan.key_fields))


def _candidates(steps: Iterable[Step]) -> Iterator[Candidate]:
    for step in steps:
        found = step.extraction
        elements = found.indices or (None,) * len(found.rows)
        yield from (Candidate(step, row, element) for row, element in zip(found.rows, elements, strict=True))


def rounds(plan: Plan, groups: Iterable[Group]) -> list[list[Group]]:
    """The groups to write one round after the other; nearly always all in one."""
    turns = (_turns(plan, item) for item in groups)
    return [[turn for turn in round_ if turn] for round_ in zip_longest(*turns)]


def _turns(plan: Plan, item: Group) -> list[Group]:
    """A group cut where the newer candidates need the older ones written before them, oldest first."""
    turns: list[list[Candidate]] = []
    for candidate in reversed(item.candidates):
        if turns and not _adds(plan, candidate.row, turns[-1][-1].row):
            turns[-1].insert(0, candidate)
        else:
            turns.append([candidate])
    return [Group(item.key, turn) for turn in reversed(turns)]


def _adds(plan: Plan, older: Row, newer: Row) -> bool:
    """Whether `older` has a `keep` field that `newer` misses."""
    keep = (item.name for item in plan.fields if item.on_missing == "keep")
    return any(older[name] is not None and newer[name] is None for name in keep)
