"""The closed vocabularies of what becomes of a step result and of its rows.

An outcome is stored in `step_persistence.outcome`, answered by the upsert endpoint and counted by the accounts, so its
value is part of the project's interface.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Final


class Outcome(StrEnum):
    """What became of a step result, strongest first: the order in which outcomes are printed and compared."""

    WRITTEN = "written"
    UNCHANGED = "unchanged"
    SUPERSEDED = "superseded"
    FILTERED = "filtered"
    REJECTED = "rejected"


#: Outcomes of a row that Postgres accepted. An upsert answers one of them; `rejected` and `filtered` rows are not sent.
ACCEPTED: Final = (Outcome.WRITTEN, Outcome.UNCHANGED, Outcome.SUPERSEDED)

#: Outcomes after which the row stands in the table as the step result has it.
STORED: Final = (Outcome.WRITTEN, Outcome.UNCHANGED)


class ExtractionOutcome(StrEnum):
    """What extraction made of one step result: rows to write, nothing by intention, or nothing by a mistake."""

    ROW = "row"
    FILTERED = "filtered"
    REJECTED = "rejected"


def find_strongest(outcomes: Collection[str]) -> Outcome:
    """Return the strongest of `outcomes`. Raises StopIteration when there is none."""
    return next(outcome for outcome in Outcome if outcome in outcomes)
