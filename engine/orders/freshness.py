"""How long the answer to a question is reused instead of being bought again."""

from __future__ import annotations

from collections.abc import Sequence

from engine.plan import Plan


def get_freshness_seconds(plans: Sequence[Plan], operation: str) -> float | None:
    """Return how long an operation's answers are reused, in seconds; None: only unfinished orders are shared."""
    for plan in plans:
        if plan.research is not None and plan.research.operation == operation:
            return plan.research.fresh_for.total_seconds() if plan.research.fresh_for else None
    return None
