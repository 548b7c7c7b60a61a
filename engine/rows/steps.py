"""A step result with its extracted rows and their outcomes; and the batches in which the rows are stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from engine.plan import Plan
from engine.rows.extract import Extraction, Reason
from engine.rows.outcomes import ExtractionOutcome, Outcome, find_strongest
from engine.rows.units import Unit, group_rows_by_unit

#: Step results per transaction: in a measurement the fastest of 50, 100, 500, 2,000 and 10,000.
BATCH_SIZE = 500
#: The most step results of the first transaction.
FIRST_SIZE = 125
#: The number of rows that makes a batch full, so that step results with a thousand elements do not fill the memory.
MAX_ROWS = 10_000
#: The bytes of fetched JSON that make a batch full, so that large documents do not fill the memory.
MAX_BYTES = 8_000_000


@dataclass(slots=True)
class Step:
    """A found step result: where it comes from, the rows extracted from it, and the outcome of each row."""

    id: str
    org_id: str
    submission_id: str
    pipeline_run_id: str
    recorded_at: datetime
    version: str  # `xmin` (Postgres's row version) of the step result when it was read
    extraction: Extraction
    units: dict[Unit, list[int]] = field(default_factory=dict)  # by unit: the indices of its rows
    size: int = 0  # bytes of fetched JSON
    outcomes: dict[int, Outcome] = field(default_factory=dict)  # by index of a row: its outcome, once stored
    refusals: dict[int, Reason] = field(default_factory=dict)  # by index of a row: why Postgres refuses it
    row_ids: dict[int, str] = field(default_factory=dict)  # by index of a row: the id of the stored row of its key
    is_recorded: bool = False  # whether its ledger entry is written: not if it changed after it was read
    deletion_outcome: Outcome | None = None  # with `on_absent: delete`: the outcome of removing older rows
    #: Reasons added after extraction: for rows that Postgres refused, and older rows that were deleted or kept.
    merge_reasons: list[Reason] = field(default_factory=list)

    def copy_unmerged(self) -> Step:
        """Return a copy without outcomes, as it was after extraction, to write its batch once more."""
        return replace(self, outcomes={}, refusals={}, row_ids={}, deletion_outcome=None, merge_reasons=[])

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """The reasons from extraction, then those from storing its rows."""
        return (*self.extraction.reasons, *self.merge_reasons)

    @property
    def outcome(self) -> Outcome:
        """The outcome for the ledger: the strongest of its rows' outcomes."""
        if self.extraction.outcome != ExtractionOutcome.ROW:
            return Outcome(self.extraction.outcome)
        return find_strongest([*self.outcomes.values(), *filter(None, [self.deletion_outcome])])

    @property
    def row_count(self) -> int:
        """The number of rows that Postgres accepted, superseded ones included."""
        return len(self.extraction.rows) - self._rejected_count

    @property
    def refused_count(self) -> int:
        """The number of elements that the spec or Postgres refused."""
        return self.extraction.refused + self._rejected_count

    @property
    def _rejected_count(self) -> int:
        return list(self.outcomes.values()).count(Outcome.REJECTED)


def build_step(plan: Plan, extraction: Extraction, *, org_id: str, size: int = 0, **origin: object) -> Step:
    """Build the Step of an extraction, with its rows grouped by unit; `origin` has the remaining fields of Step."""
    units = group_rows_by_unit(plan, org_id, extraction)
    return Step(org_id=org_id, extraction=extraction, units=units, size=size, **origin)  # type: ignore[arg-type]


@dataclass(slots=True)
class BatchBuilder:
    """Collects step results to batches of `size`; MAX_ROWS rows or MAX_BYTES also make a batch full.

    The first batch has at most FIRST_SIZE step results, so that writing begins early.
    """

    size: int
    steps: list[Step] = field(default_factory=list)
    rows: int = 0
    bytes: int = 0
    is_first: bool = True

    def add_step(self, step: Step) -> Sequence[Step] | None:
        """Add a step result; return the batch if it is full now, else None."""
        self.steps.append(step)
        self.rows += len(step.extraction.rows)
        self.bytes += step.size
        size = min(self.size, FIRST_SIZE) if self.is_first else self.size
        is_full = len(self.steps) >= size or self.rows >= MAX_ROWS or self.bytes >= MAX_BYTES
        return self.take_batch() if is_full else None

    def take_batch(self) -> Sequence[Step] | None:
        """Return the step results added so far and start a new batch; None if there are none."""
        steps, self.steps, self.rows, self.bytes, self.is_first = self.steps, [], 0, 0, False
        return steps or None


def assign_writer(step: Step, count: int) -> int:
    """Return which of `count` writers handles `step`, for specs of which a step result gives at most one row.

    Step results of one key get the same writer, so that they are written in their order. Keys with the same
    lock get the same writer too, so that writers do not wait for each other. The number is the same in every process.
    """
    return next((unit.slot % count for unit in step.units), 0)
