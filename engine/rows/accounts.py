"""The accounts of one spec: how many step results were found, and how many of them have each outcome.

They close when found = written + unchanged + superseded + filtered + rejected + pending.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from engine.rows.extract import Reason
from engine.rows.outcomes import Outcome


@dataclass(slots=True)
class Account:
    """Counts of step results by outcome. `found` is counted separately, so that missing ones show as pending."""

    spec: str
    found: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    error: str = ""  # why pending step results could not be processed

    def record_outcome(self, outcome: str, reasons: Iterable[Reason] = ()) -> None:
        """Count one step result with `outcome` and each of its reasons."""
        self.outcomes[outcome] += 1
        self.reasons.update((reason.code, reason.field) for reason in reasons)

    @property
    def recorded(self) -> int:
        """How many step results have an outcome."""
        return sum(self.outcomes.values())

    @property
    def pending(self) -> int:
        """How many found step results have no outcome yet."""
        return max(self.found - self.recorded, 0)

    def as_dict(self) -> dict[str, Any]:
        """Return the identity, then the reasons by falling count, and `error` when step results were not processed."""
        report: dict[str, Any] = {
            "spec": self.spec,
            "found": self.recorded + self.pending,
            **count_outcomes(self.outcomes),
            "pending": self.pending,
            "reasons": [
                {"code": code, "field": name, "count": count} for (code, name), count in self.reasons.most_common()
            ],
        }
        return {**report, "error": self.error} if self.error else report


def count_outcomes(outcomes: Counter[str]) -> dict[str, int]:
    """Return the count of every outcome in the order of Outcome, 0 for those that did not occur."""
    return {outcome.value: outcomes[outcome] for outcome in Outcome}
