"""Collect, for the report of a dry run, which cells a backfill would change."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.plan import Plan
from engine.rows.fill_rates import FillRates
from engine.sql.merge import PREVIEW_LENGTH
from engine.values.column_types import shorten_json

_MAX_SAMPLES = 20

Cells = Mapping[str, Any]


@dataclass(slots=True)
class Preview:
    """Counts and samples of the cells that a backfill would change.

    A long document is shown as its beginning and a hash.
    """

    plan: Plan
    new: int = 0
    changed: int = 0
    columns: Counter[str] = field(default_factory=Counter)
    samples: list[dict[str, Any]] = field(default_factory=list)
    added: list[dict[str, Any]] = field(default_factory=list)  # samples of new rows: key and other filled cells
    removed: dict[str, str] = field(default_factory=dict)  # id of a row that would be removed -> its key as JSON
    fill_rates: FillRates = field(init=False)  # over all step results that were read

    def __post_init__(self) -> None:
        self.fill_rates = FillRates(self.plan)

    def add_removed_row(self, row_id: str, key: str) -> None:
        """Record a row that would be removed; one that several batches would remove counts once."""
        self.removed[row_id] = key

    def compare_rows(self, before: Mapping[int, Cells], after: Mapping[int, Cells]) -> None:
        """Count the cells that one merge changed.

        `before` and `after` are the stored rows by the ordinal of the staged row.
        """
        new = sorted(after.keys() - before.keys())
        self.new += len(new)
        self.added += [self._describe_row(after[number]) for number in new[: _MAX_SAMPLES - len(self.added)]]
        for number in before.keys() & after.keys():
            self._compare_row(before[number], after[number])

    def _describe_row(self, cells: Cells) -> dict[str, Any]:
        key = {column.name: cells[column.name] for column in self.plan.key_fields}
        filled = [column.name for column in self.plan.fields if not column.key and cells.get(column.name) is not None]
        return {"key": key, "cells": {name: self._render_cell(name, cells) for name in filled}}

    def _compare_row(self, before: Cells, after: Cells) -> None:
        names = [name for name in after if before[name] != after[name]]
        self.changed += bool(names)
        self.columns.update(names)
        for name in names[: _MAX_SAMPLES - len(self.samples)]:
            key = {column.name: after[column.name] for column in self.plan.key_fields}
            old, new = self._render_cell(name, before), self._render_cell(name, after)
            self.samples.append({"key": key, "column": name, "from": old, "to": new})

    def _render_cell(self, name: str, cells: Cells) -> Any:
        """Return a cell as the report shows it.

        The snapshot holds a document as its MD5 (32 characters) followed by its beginning.
        """
        value = cells[name]
        if self.plan.field(name).type.name == "jsonb" and value is not None:
            digest, text = value[:32], value[32:]
            return text if len(text) < PREVIEW_LENGTH else f"{text}… #{digest[:8]}"
        return shorten_json(value) if isinstance(value, str | list) else value

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object that `dex backfill --dry-run` prints."""
        columns = [{"column": name, "count": count} for name, count in self.columns.most_common()]
        names = [column.name for column in self.plan.key_fields]
        removed = [
            {"id": row_id, "key": dict(zip(names, json.loads(key), strict=True))}
            for row_id, key in list(self.removed.items())[:_MAX_SAMPLES]
        ]
        return {
            "new_rows": self.new,
            "changed_rows": self.changed,
            "removed_rows": len(self.removed),
            "cells": columns,
            "added": self.added,
            "samples": self.samples,
            "removed": removed,
            "columns": self.fill_rates.list_columns(),
        }
