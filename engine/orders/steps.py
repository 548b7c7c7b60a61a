"""Check the steps of a submission before anything is queued, and compute the most that they can cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from engine.errors import suggest_name
from engine.orders.prices import Prices, find_price, format_usd
from engine.plan import Plan
from engine.plans import index_research
from engine.runs.errors import InvalidStepConfig, UnknownOperation

_LONGEST_TIMEOUT = 7 * 24 * 60 * 60  # seconds


@dataclass(frozen=True, slots=True)
class StepRequest:
    """One step that every run of a submission executes."""

    operation: str
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class CostCeiling:
    """The most that a submission can cost: the cost if no earlier answer to its questions can be reused."""

    runs: int
    steps: int
    max_cost: Decimal | None  # USD; None if a processor has no price
    unpriced: tuple[str, ...]  # processors without a price

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object of API answers, with the amount as decimal text."""
        return {
            "runs": self.runs,
            "steps": self.steps,
            "max_cost": format_usd(self.max_cost),
            "unpriced_processors": list(self.unpriced),
        }


def check_steps(plans: Sequence[Plan], steps: Sequence[StepRequest]) -> None:
    """Raise UnknownOperation or InvalidStepConfig for the first step that cannot be executed."""
    known = index_research(plans)
    for place, step in enumerate(steps, start=1):
        if step.operation not in known:
            names = ", ".join(f"`{name}`" for name in sorted(known)) or "none"
            raise UnknownOperation(
                f"step {place}: no spec says how `{step.operation}` is executed",
                hint=f"operations with `research`: {names}",
            )
        for key, value in step.config.items():
            _check_config(place, key, value)


def compute_cost_ceiling(
    plans: Sequence[Plan], prices: Prices, steps: Sequence[StepRequest], run_count: int
) -> CostCeiling:
    """Return the most that `run_count` runs of `steps` can cost; `check_steps` must have accepted the steps."""
    known = index_research(plans)
    total, unpriced = Decimal(0), set()
    for step in steps:
        research = known[step.operation]
        processor = step.config.get("processor") or research.processor
        price = find_price(prices, research.provider.name, processor)
        if price is None:
            unpriced.add(processor)
        else:
            total += price * run_count
    return CostCeiling(
        runs=run_count,
        steps=run_count * len(steps),
        max_cost=None if unpriced else total,
        unpriced=tuple(sorted(unpriced)),
    )


def _is_seconds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= _LONGEST_TIMEOUT


#: By key of `step_config`, what its value must be: as a phrase for messages, and as a check.
_CONFIG: Final[Mapping[str, tuple[str, Callable[[Any], bool]]]] = {
    "processor": ("the name of a processor", lambda value: isinstance(value, str) and 0 < len(value.strip()) <= 100),
    "timeout_seconds": (f"a number above 0, up to {_LONGEST_TIMEOUT}", _is_seconds),
    "refresh": ("true or false", lambda value: isinstance(value, bool)),
}


def _check_config(place: int, key: str, value: Any) -> None:
    if key not in _CONFIG:
        raise InvalidStepConfig(
            f"step {place}: `step_config` has no key `{key[:100]}`", hint=suggest_name(key[:100], _CONFIG)
        )
    meaning, is_valid = _CONFIG[key]
    if not is_valid(value):
        raise InvalidStepConfig(f"step {place}: `step_config.{key}` is not {meaning}", hint=f"send {meaning}")
