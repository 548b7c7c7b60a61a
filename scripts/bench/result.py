"""The measured numbers with their bounds, and their output as a table or as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

#: The ratio that a layer of our own has to reach against a library: 15 % less waiting for its user.
LAYER_GAIN = 1.15


@dataclass(frozen=True, slots=True)
class Line:
    """One measured number. `most` and `least` are its bounds; a number without bounds is only reported."""

    name: str
    value: float
    unit: str = "x"  # "x" is a ratio
    most: float | None = None
    least: float | None = None
    note: str = ""

    @property
    def holds(self) -> bool:
        return not (
            (self.most is not None and self.value > self.most) or (self.least is not None and self.value < self.least)
        )

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "holds": self.holds}


@dataclass(slots=True)
class Group:
    """The numbers of one benchmark. `losses` are sentences that say where the engine is slower than the competitors."""

    title: str
    lines: list[Line] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {"title": self.title, "lines": [line.as_dict() for line in self.lines], "losses": self.losses}


def format_groups(groups: Iterable[Group]) -> Iterator[str]:
    """Yield the lines of a table with name, value, bound, and a mark where the bound is missed."""
    for group in groups:
        yield group.title
        for line in group.lines:
            missed = "" if line.holds else "<- missed"
            yield f"  {line.name:<64}{_format_value(line):>14}   {_format_bound(line):<9}{missed}".rstrip()
            if line.note:
                yield f"      {line.note}"
        for loss in group.losses:
            yield f"  loses: {loss}"
        yield ""


def _format_value(line: Line) -> str:
    unit = "" if line.unit == "x" else f" {line.unit}"
    return f"{_format_digits(line.value)}{unit}"


def _format_digits(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) or value >= 100 else f"{value:.2f}"


def _format_bound(line: Line) -> str:
    if line.most is not None:
        return f"<= {line.most:g}"
    return f">= {line.least:g}" if line.least is not None else ""
