"""What a batch would change, cell by cell.

In: the stored rows of a batch before and after its merge, as `engine.sql.merge.snapshot` shows them. Out: counts and
some samples. It must not know that the merge is rolled back afterwards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.plan import Plan
from engine.sql.merge import SHOWN
from engine.values.column_types import shorten

_SAMPLES = 20

Cells = Mapping[str, Any]


@dataclass(slots=True)
class Preview:
    """Collects the changes of one backfill. Of a long document its beginning is shown, and its hash."""

    plan: Plan
    new: int = 0
    changed: int = 0
    columns: Counter[str] = field(default_factory=Counter)
    samples: list[dict[str, Any]] = field(default_factory=list)

    def compare(self, before: Mapping[int, Cells], after: Mapping[int, Cells]) -> None:
        """Take in one merge: the rows by ordinal, without those that are not in the table."""
        self.new += len(after.keys() - before.keys())
        for ordinal in before.keys() & after.keys():
            self._compare_row(before[ordinal], after[ordinal])

    def _compare_row(self, before: Cells, after: Cells) -> None:
        names = [name for name in after if before[name] != after[name]]
        self.changed += bool(names)
        self.columns.update(names)
        for name in names[: _SAMPLES - len(self.samples)]:
            key = {item.name: after[item.name] for item in self.plan.key_fields}
            self.samples.append(
                {"key": key, "column": name, "from": self._shown(name, before), "to": self._shown(name, after)}
            )

    def _shown(self, name: str, cells: Cells) -> Any:
        value = cells[name]
        if self.plan.field(name).type.name == "jsonb" and value is not None:
            digest, text = value[:32], value[32:]
            return text if len(text) < SHOWN else f"{text}… #{digest[:8]}"
        return shorten(value) if isinstance(value, str | list) else value

    def as_dict(self) -> dict[str, Any]:
        columns = [{"column": name, "count": count} for name, count in self.columns.most_common()]
        return {"new_rows": self.new, "changed_rows": self.changed, "cells": columns, "samples": self.samples}
