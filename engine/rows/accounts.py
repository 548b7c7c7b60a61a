"""The accounts of one spec: what was found and what became of it.

In: outcomes and reasons. Out: the identity found = written + unchanged + superseded + filtered + rejected + pending.
It must not know where the numbers come from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from engine.rows.extract import Reason

OUTCOMES = ("written", "unchanged", "superseded", "filtered", "rejected")


@dataclass(slots=True)
class Account:
    """Counts of step results by outcome. `found` is a number of its own, so that what is missing shows as pending."""

    spec: str
    found: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    trouble: str = ""  # why nothing could be done about what is pending

    def record(self, outcome: str, reasons: Iterable[Reason] = ()) -> None:
        self.outcomes[outcome] += 1
        self.reasons.update((reason.code, reason.field) for reason in reasons)

    @property
    def recorded(self) -> int:
        return sum(self.outcomes.values())

    @property
    def pending(self) -> int:
        return max(self.found - self.recorded, 0)

    def as_dict(self) -> dict[str, Any]:
        """The identity, then the reasons, most frequent first; `error` where there was trouble."""
        words: dict[str, Any] = {
            "spec": self.spec,
            "found": self.recorded + self.pending,
            **{outcome: self.outcomes[outcome] for outcome in OUTCOMES},
            "pending": self.pending,
            "reasons": [
                {"code": code, "field": name, "count": count} for (code, name), count in self.reasons.most_common()
            ],
        }
        return {**words, "error": self.trouble} if self.trouble else words
