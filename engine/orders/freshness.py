"""For how long the answer to a question is not bought again."""

from __future__ import annotations

from collections.abc import Sequence

from engine.plan import Plan


def find_fresh_for(plans: Sequence[Plan], operation: str) -> float | None:
    """Return for how many seconds an answer of an operation is fresh; None shares unfinished orders only."""
    for plan in plans:
        if plan.research is not None and plan.research.operation == operation:
            return plan.research.fresh_for.total_seconds() if plan.research.fresh_for else None
    return None
