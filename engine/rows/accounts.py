"""The account of a spec: how many step results were found, and how many of them have each outcome.

An account closes when found = written + unchanged + superseded + filtered + rejected + pending, and, for the elements
inside the step results, when elements = rows + duplicates + refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from engine.rows.outcomes import Outcome
from engine.rows.steps import Step

#: The counts of elements; `rows` counts the keys for which the database accepts a row.
ELEMENT_COUNTS: Final = ("elements", "rows", "duplicates", "refused")


@dataclass(slots=True)
class Account:
    """Counts of step results by outcome.

    `found` is counted independently; found ones without an outcome are pending.
    """

    spec: str
    found: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    elements: Counter[str] = field(default_factory=Counter)  # by the names of ELEMENT_COUNTS
    stale_rows: int = 0  # entries of `stale_rows`: rows that a backfill has to compute again
    error: str = ""  # why the pending step results could not be processed

    def record_steps(self, steps: Iterable[Step]) -> None:
        """Count step results: their outcomes, their elements and each of their reasons."""
        for step in steps:
            self.outcomes[step.outcome] += 1
            self.reasons.update((reason.code, reason.field) for reason in step.reasons)
            counts = (step.extraction.elements, step.row_count, step.extraction.duplicates, step.refused_count)
            self.elements.update(dict(zip(ELEMENT_COUNTS, counts, strict=True)))

    @property
    def recorded(self) -> int:
        """The number of step results that have an outcome."""
        return sum(self.outcomes.values())

    @property
    def pending(self) -> int:
        """The number of found step results that have no outcome yet."""
        return max(self.found - self.recorded, 0)

    def as_dict(self) -> dict[str, Any]:
        """Return the account as a JSON object: its counts, the reasons by descending count, and the error, if any."""
        report: dict[str, Any] = {
            "spec": self.spec,
            "found": self.recorded + self.pending,
            **report_outcomes(self.outcomes),
            "pending": self.pending,
            **{name: self.elements[name] for name in ELEMENT_COUNTS},
            "stale_rows": self.stale_rows,
            "reasons": [
                {"code": code, "field": name, "count": count} for (code, name), count in self.reasons.most_common()
            ],
        }
        return {**report, "error": self.error} if self.error else report


def report_outcomes(outcomes: Counter[str]) -> dict[str, int]:
    """Return the count of every outcome, in the order of Outcome; 0 for those that did not occur."""
    return {outcome.value: outcomes[outcome] for outcome in Outcome}
