"""Count, for each column, how often its path gave a value in some step results: one that never does is likely wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, Final

from engine.plan import Plan
from engine.rows.explain import Trace
from engine.rows.render import dump_json
from engine.values.column_types import shorten_json

_MOST_EXAMPLES: Final = 3


@dataclass(slots=True)
class ColumnStatistics:
    """How often one column's path gave a value, none, or a refused one, with a few of the values as examples."""

    name: str
    values: int = 0
    missing: int = 0
    refused: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)

    def add_trace(self, trace: Trace, step_result_id: str) -> None:
        """Count one trace; keep its value as an example unless there are enough, or it is one of them."""
        if trace.reason is not None:
            self.refused += 1
            return
        if trace.result is None:
            self.missing += 1
            return
        self.values += 1
        text = _format_result(trace.result)
        known = [example["value"] for example in self.examples]
        if len(known) < _MOST_EXAMPLES and text[:200] not in known:
            self.examples.append({"value": text[:200], "step_result_id": step_result_id})

    def as_dict(self) -> dict[str, Any]:
        """Return the statistics as a JSON object, for the samples endpoint."""
        counts = {"values": self.values, "missing": self.missing, "refused": self.refused}
        return {"name": self.name, **counts, "examples": self.examples}


def _format_result(result: Any) -> str:
    """Return the start of a column's value as text."""
    if isinstance(result, Decimal | date):  # which JSON has not
        return dump_json(result).decode().strip('"')
    return result if isinstance(result, str) else shorten_json(result)


def count_values_by_column(plan: Plan, traces: Iterable[tuple[str, Trace]]) -> list[ColumnStatistics]:
    """Return the statistics of each column, in the order of the table, from pairs of step result id and trace."""
    statistics = {column.name: ColumnStatistics(column.name) for column in plan.fields}
    for step_result_id, trace in traces:
        statistics[trace.field].add_trace(trace, step_result_id)
    return list(statistics.values())
