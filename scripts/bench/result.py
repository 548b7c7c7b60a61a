"""What was measured, and how it is shown.

In: numbers with the bounds one wants of them. Out: a table that fits a screen, or JSON. It must not know how they came
about.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Line:
    """One number. `most` and `least` are what is wanted of it; neither: it is only told."""

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
    """The numbers of one measurement. `losses` says in words where the engine is behind."""

    title: str
    lines: list[Line] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {"title": self.title, "lines": [line.as_dict() for line in self.lines], "losses": self.losses}


def show(groups: Iterable[Group]) -> Iterator[str]:
    """The table, line by line: what, how much, what is wanted of it, and a mark where it is missed."""
    for group in groups:
        yield group.title
        for line in group.lines:
            missed = "" if line.holds else "<- missed"
            yield f"  {line.name:<64}{_number(line):>14}   {_wanted(line):<9}{missed}".rstrip()
            if line.note:
                yield f"      {line.note}"
        for loss in group.losses:
            yield f"  loses: {loss}"
        yield ""


def _number(line: Line) -> str:
    unit = "" if line.unit == "x" else f" {line.unit}"
    return f"{_digits(line.value)}{unit}"


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) or value >= 100 else f"{value:.2f}"


def _wanted(line: Line) -> str:
    if line.most is not None:
        return f"<= {line.most:g}"
    return f">= {line.least:g}" if line.least is not None else ""
