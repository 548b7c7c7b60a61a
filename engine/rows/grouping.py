"""Group the rows of one batch by key, and split the groups into rounds that hold each key once.

Of the candidates for one key only the newest is written and the older ones are `superseded`, which is what single
upserts in sequence would leave. One case needs more: when the newest misses an `on_missing: keep` field that an older
candidate has, the older one is written in a round before. Whether its value stays depends on the time of the stored
row, which only the database knows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from itertools import zip_longest
from zlib import crc32

from engine.plan import Plan
from engine.rows import keys
from engine.rows.extract import HELD, Extraction, Reason, Row
from engine.rows.keys import Key, can_fill
from engine.rows.outcomes import STORED, ExtractionOutcome, Outcome, find_strongest

#: Step results per transaction: the fastest of 50, 100, 500, 2,000 and 10,000 where it was measured.
BATCH_SIZE = 500
#: Rows at which a batch is full whatever its size, so that lists of a thousand elements do not fill the memory.
MAX_ROWS = 10_000


@dataclass(slots=True)
class Step:
    """A found step result: its origin, the rows extracted from it, and the outcome of each row."""

    id: str
    org_id: str
    submission_id: str
    pipeline_run_id: str
    recorded_at: datetime
    version: str  # `xmin` of the step result when it was read
    extraction: Extraction
    outcomes: list[str] = field(default_factory=list)  # one per row, once it is merged
    stale: bool = False  # under `on_absent: delete`: a newer result has already replaced the rows of its parent key
    deletion_outcome: str | None = None  # under `on_absent: delete`: the outcome for the rows that the result replaces
    #: Reasons added after extraction: rows Postgres rejected, rows of earlier results deleted or kept.
    merge_reasons: list[Reason] = field(default_factory=list)

    def copy_unmerged(self) -> Step:
        """Return the step result as it was after extraction, without the results of a merge."""
        return replace(self, outcomes=[], stale=False, deletion_outcome=None, merge_reasons=[])

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """The reasons of extraction, then those of the merge."""
        return (*self.extraction.reasons, *self.merge_reasons)

    @property
    def outcome(self) -> Outcome:
        """The outcome the ledger records: the strongest among those of its rows."""
        if self.extraction.outcome != ExtractionOutcome.ROW:
            return Outcome(self.extraction.outcome)
        return find_strongest([*self.outcomes, *filter(None, [self.deletion_outcome])])

    @property
    def row_count(self) -> int:
        """How many of its rows stand in the table as extracted."""
        return sum(outcome in STORED for outcome in self.outcomes)

    @property
    def complete(self) -> bool:
        """Whether every element became a row that Postgres accepted."""
        extraction = self.extraction
        return (
            extraction.outcome == ExtractionOutcome.ROW
            and len(extraction.rows) == extraction.elements
            and Outcome.REJECTED not in self.outcomes
        )


@dataclass(slots=True)
class Candidate:
    """One extracted row, the step result it comes from, and the index of its element."""

    step: Step
    row: Row
    element: int | None

    @property
    def values(self) -> Row:
        """The row to stage: each held value is replaced by the id of the step result to read it from."""
        return {name: self.step.id if value is HELD else value for name, value in self.row.items()}


@dataclass(slots=True)
class Group:
    """The candidates for one key, newest last."""

    key: Key
    candidates: list[Candidate]

    @property
    def newest(self) -> Candidate:
        return self.candidates[-1]

    def record_outcome(self, outcome: str) -> None:
        """Record `outcome` for the newest candidate and `superseded` for the older ones."""
        self.newest.step.outcomes.append(outcome)
        for candidate in self.candidates[:-1]:
            candidate.step.outcomes.append(Outcome.SUPERSEDED)

    def reject_newest(self, reason: Reason) -> Group | None:
        """Record that Postgres rejected the newest candidate; return the group of the older ones, None without any."""
        self.newest.step.outcomes.append(Outcome.REJECTED)
        self.newest.step.merge_reasons.append(reason)
        return Group(self.key, self.candidates[:-1]) if len(self.candidates) > 1 else None


@dataclass(frozen=True, slots=True)
class Batch:
    """Step results to merge in one transaction, oldest first, and their rows grouped by key."""

    plan: Plan
    steps: Sequence[Step]
    groups: Sequence[Group]

    @classmethod
    def build(cls, plan: Plan, steps: Sequence[Step]) -> Batch:
        """Group the rows of `steps`, oldest first."""
        return cls(plan, steps, group_by_key(plan, steps))

    def copy_unmerged(self) -> Batch:
        """Return the batch as it was after extraction, to merge it again."""
        return Batch.build(self.plan, [step.copy_unmerged() for step in self.steps])

    def select_steps(self, ids: Collection[str]) -> Batch:
        """Return the batch without the step results whose id is not in `ids`; usually that is the batch itself."""
        if len(ids) == len(self.steps):
            return self
        return Batch.build(self.plan, [step for step in self.steps if step.id in ids])


@dataclass(slots=True)
class BatchBuilder:
    """Collects step results until they make a batch: `size` step results or MAX_ROWS rows, whichever comes first."""

    plan: Plan
    size: int
    steps: list[Step] = field(default_factory=list)
    rows: int = 0

    def add_step(self, step: Step) -> Batch | None:
        """Add a step result; return the batch when it is full, else None."""
        self.steps.append(step)
        self.rows += len(step.extraction.rows)
        return self.take_batch() if len(self.steps) >= self.size or self.rows >= MAX_ROWS else None

    def take_batch(self) -> Batch | None:
        """Return the step results added so far as a batch and start an empty one; None when there are none."""
        steps, self.steps, self.rows = self.steps, [], 0
        return Batch.build(self.plan, steps) if steps else None


def assign_writer(plan: Plan, step: Step, count: int) -> int:
    """Return which of `count` writers merges `step`, which has at most one row.

    Step results of one key share a writer, so that they are merged in their order. The number is the same in every
    process, so that one that resumes builds the same batches.
    """
    parts = (part for row in step.extraction.rows for part in _build_group_key(plan, step, row))
    hashable = (hash(part) if isinstance(part, Decimal) else part for part in parts)  # 1.10 and 1.1 are one key
    return crc32(repr(list(hashable)).encode()) % count


def group_by_key(plan: Plan, steps: Iterable[Step]) -> list[Group]:
    """Group the rows of `steps`, oldest first, by organisation and conflict key; return the groups sorted by key."""
    groups = keys.group_by_key(
        _list_candidates(steps), lambda candidate: _build_group_key(plan, candidate.step, candidate.row)
    )
    return [Group(key, candidates) for key, candidates in groups]


def split_into_rounds(plan: Plan, groups: Iterable[Group]) -> list[list[Group]]:
    """Return the groups to write together, round by round, each key at most once in a round; usually there is one.

    A group whose older candidates must be written first is split, and its parts go to successive rounds:

        A: [a1 a2 | a3]   round 1: A[a1 a2]  B[b1]
        B: [b1]           round 2: A[a3]
    """
    parts = (_split_group(plan, group) for group in groups)
    return [[group for group in round_ if group] for round_ in zip_longest(*parts)]


def _split_group(plan: Plan, group: Group) -> list[Group]:
    """Split a group where a newer candidate misses a `keep` field that an older one has, oldest part first."""
    parts: list[list[Candidate]] = []
    for candidate in reversed(group.candidates):
        if parts and not can_fill(plan, candidate.row, parts[-1][-1].row):
            parts[-1].insert(0, candidate)
        else:
            parts.append([candidate])
    return [Group(group.key, part) for part in reversed(parts)]


def _build_group_key(plan: Plan, step: Step, row: Row) -> Key:
    return (step.org_id, *keys.build_key(plan, row))


def _list_candidates(steps: Iterable[Step]) -> Iterator[Candidate]:
    for step in steps:
        extraction = step.extraction
        elements = extraction.indices or (None,) * len(extraction.rows)
        yield from (Candidate(step, row, element) for row, element in zip(extraction.rows, elements, strict=True))
