"""The result of a verification, as `dex verify` prints it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

#: The kinds of mismatches, in the order of the report. The first three are errors.
KINDS: Final = ("missing", "orphaned", "different", "unsourced", "pending")
_MISTAKES: Final = ("missing", "orphaned", "different")


@dataclass(frozen=True, slots=True)
class Sample:
    """One mismatching key. `id` is None where there is no row; `columns` are those that differ."""

    kind: str
    key: Mapping[str, Any]
    id: str | None
    columns: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "key": dict(self.key), "id": self.id, "columns": list(self.columns)}


@dataclass(frozen=True, slots=True)
class Verification:
    """The counts of one spec. `pending` includes keys without a row; `matching` counts rows."""

    spec: str
    rows: int
    counts: Mapping[str, int]
    matching: int
    samples: tuple[Sample, ...] = field(default=())

    @property
    def holds(self) -> bool:
        """Whether nothing is missing, orphaned or different."""
        return not any(self.counts[kind] for kind in _MISTAKES)

    def as_dict(self) -> dict[str, Any]:
        return {
            "spec": self.spec,
            "rows": self.rows,
            "matching": self.matching,
            **{kind: self.counts[kind] for kind in KINDS},
            "samples": [sample.as_dict() for sample in self.samples],
        }
