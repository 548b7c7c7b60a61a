"""Count, for each column, how many rows have a value: if none has, the path is likely wrong."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from engine.plan import Plan
from engine.rows.extract import NOTES, Extraction


@dataclass(slots=True)
class FillRates:
    """The counts of values in the rows that some step results of one spec give."""

    plan: Plan
    step_results: int = 0
    rows: int = 0
    refused: int = 0  # elements that gave no row
    values: Counter[str] = field(default_factory=Counter)  # by column: rows that have a value
    refusals: Counter[str] = field(default_factory=Counter)  # by column: elements refused because of it

    def add_extraction(self, extraction: Extraction) -> None:
        """Count the values in the rows of one step result. A document that Postgres copies itself counts as a value."""
        self.step_results += 1
        self.rows += len(extraction.rows)
        self.refused += extraction.refused
        for row in extraction.rows:
            self.values.update(name for name, value in row.items() if value is not None)
        causes = {
            (reason.element, reason.field)
            for reason in extraction.reasons
            if reason.field is not None and reason.code not in NOTES
        }
        self.refusals.update(name for _, name in causes)

    def list_empty_columns(self) -> list[str]:
        """Return the columns that have no value in any row; none if no element was read.

        If every element was refused, return only the columns that caused a refusal.
        """
        if not self.rows and not self.refused:
            return []
        names = [column.name for column in self.plan.fields if not self.values[column.name]]
        return names if self.rows else [name for name in names if self.refusals[name]]

    def list_columns(self) -> list[dict[str, Any]]:
        """Return the counts of each column as a JSON object, in the order of the table."""
        return [
            {
                "column": column.name,
                "values": self.values[column.name],
                "rows": self.rows,
                "refused": self.refusals[column.name],
            }
            for column in self.plan.fields
        ]
