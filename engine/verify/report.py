"""The result of a verification, as `dex verify` prints it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

#: The kinds of mismatches, in the order of the report. The first three are errors.
KINDS: Final = ("missing", "orphaned", "different", "unsourced", "pending")
_MISTAKES: Final = ("missing", "orphaned", "different")


@dataclass(frozen=True, slots=True)
class Sample:
    """One key that does not match. `id` is None if it has no row; `columns` are those that differ."""

    kind: str
    key: Mapping[str, Any]
    id: str | None
    columns: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "key": dict(self.key), "id": self.id, "columns": list(self.columns)}


#: The most samples of each kind of mismatch in a report.
SAMPLE_SIZE: Final = 10


@dataclass(frozen=True, slots=True)
class Verification:
    """What verifying one spec counted: `matching` rows, keys by kind of mismatch, and `pending` keys.

    A pending key may have no row yet.
    """

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


def merge_verifications(spec: str, parts: Sequence[Verification]) -> Verification:
    """Add up the verifications of one spec's organisations; of each kind of mismatch, keep the first samples."""
    samples = [sample for part in parts for sample in part.samples]
    return Verification(
        spec=spec,
        rows=sum(part.rows for part in parts),
        counts={kind: sum(part.counts[kind] for part in parts) for kind in KINDS},
        matching=sum(part.matching for part in parts),
        samples=tuple(
            sample
            for kind in KINDS
            for sample in [candidate for candidate in samples if candidate.kind == kind][:SAMPLE_SIZE]
        ),
    )
