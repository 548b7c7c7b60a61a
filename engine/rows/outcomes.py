"""The outcomes of extraction and of a whole step result.

Outcomes are stored in `step_persistence.outcome`, returned by the upsert endpoint and counted in accounts, so their
values are part of the project's public interface.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Final


class Outcome(StrEnum):
    """The outcome of a row or a step result, strongest first: the order in which outcomes are printed and compared."""

    WRITTEN = "written"
    UNCHANGED = "unchanged"
    SUPERSEDED = "superseded"
    FILTERED = "filtered"
    REJECTED = "rejected"


#: The outcomes of a row that Postgres accepted, one of which an upsert returns.
ACCEPTED: Final = (Outcome.WRITTEN, Outcome.UNCHANGED, Outcome.SUPERSEDED)


class ExtractionOutcome(StrEnum):
    """The outcome of extracting one step result: it gives rows, is filtered out by the spec, or cannot be stored."""

    ROW = "row"
    FILTERED = "filtered"
    REJECTED = "rejected"


def find_strongest(outcomes: Collection[str]) -> Outcome:
    """Return the strongest of `outcomes`. Raises StopIteration if there are none."""
    if len(outcomes) == 1:
        return Outcome(next(iter(outcomes)))
    return next(outcome for outcome in Outcome if outcome in outcomes)
