"""Explain the cells of a folded row: the step result, the path, what it gave, and each normalizer's step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.backfill.reader import fetch_results
from engine.explain.contributions import Contributions
from engine.explain.evidence import find_evidence, read_basis
from engine.explain.stored_row import StoredRow, convert_to_json
from engine.plan import Field
from engine.rows.explain import Trace, trace_fields
from engine.rows.fold import Contributor, FoldedRow
from engine.rows.stored_result import StepResultRow, build_stored_document
from engine.values.column_types import CastError
from engine.values.exact_json import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of a stored row, and how it came to its value where a step result gives it."""

    field: str
    value: Json  # as it is stored
    differs: bool = False  # from what the step results give
    step_result_id: str | None = None
    recorded_at: str | None = None
    operation: str | None = None
    element: int | None = None  # under `rows`: the index of the element
    path: str | None = None
    raw: Json = None
    steps: Sequence[tuple[str, Json]] = ()
    evidence: Sequence[Mapping[str, Any]] = ()  # what the provider says about it
    note: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object of the cell."""
        return {
            "field": self.field,
            "value": self.value,
            "step_result_id": self.step_result_id,
            "recorded_at": self.recorded_at,
            "operation": self.operation,
            "element": self.element,
            "path": self.path,
            "raw": self.raw,
            "steps": [{"normalizer": name, "result": result} for name, result in self.steps],
            "evidence": list(self.evidence),
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class CellSource:
    """The row of a step result that gives a cell its value."""

    column: Field
    contributor: Contributor
    number: int  # of the row among those of its step result

    @property
    def element(self) -> int | None:
        """The index of its element; None where the spec has no `rows`."""
        indices = self.contributor.extracted.extraction.indices
        return indices[self.number] if indices else None


async def build_cells(
    contributions: Contributions, stored: StoredRow, folded: FoldedRow, columns: Sequence[Field]
) -> list[Cell]:
    """Return the cells of `columns`, each with the way of its value. The documents are read once each."""
    sources = [CellSource(column, *folded.fold.find_source(folded, column)) for column in columns]
    ids = sorted({source.contributor.step_id for source in sources})
    results = {row[0]: row for row in await fetch_results(contributions.connection, contributions.reading, ids)}
    basis = await read_basis(contributions.connection, ids)
    traces: dict[tuple[str, int | None], dict[str, Trace]] = {}
    cells = []
    for source in sources:
        result = results[source.contributor.step_id]
        place = source.contributor.step_id, source.element
        if place not in traces:
            traces[place] = {trace.field: trace for trace in _trace_result(contributions, result, source.element)}
        known = basis.get(source.contributor.step_id, [])
        evidence = find_evidence(contributions.plan, result[5], source.column.name, source.element, known)
        cells.append(_build_cell(stored, folded, source, result, traces[place][source.column.name], evidence))
    return cells


def build_unsourced_cells(stored: StoredRow, columns: Sequence[Field]) -> list[Cell]:
    """Return the cells of a row that no step result gives."""
    return [Cell(field=column.name, value=stored.values[column.name]) for column in columns]


def _trace_result(contributions: Contributions, result: StepResultRow, element: int | None) -> Iterator[Trace]:
    document = build_stored_document(contributions.reading, result)
    return trace_fields(contributions.plan, result[5], document, element)


def _build_cell(
    stored: StoredRow,
    folded: FoldedRow,
    source: CellSource,
    result: StepResultRow,
    trace: Trace,
    evidence: Sequence[Mapping[str, Any]],
) -> Cell:
    column = source.column
    differs = _is_different(stored, column, folded.values[column.name])
    is_kept = source.contributor is not folded.newest
    return Cell(
        field=column.name,
        value=stored.values[column.name],
        differs=differs,
        step_result_id=source.contributor.step_id,
        recorded_at=source.contributor.recorded_at.isoformat(),
        operation=result[5],
        element=source.element,
        path=trace.path,
        raw=trace.raw,
        steps=trace.steps,
        evidence=evidence,
        note=_describe_cell(column, folded, trace, differs=differs, is_kept=is_kept),
    )


def _describe_cell(column: Field, folded: FoldedRow, trace: Trace, *, differs: bool, is_kept: bool) -> str | None:
    """Return what one would not expect of the cell, None where there is nothing of the kind."""
    if differs:
        given = convert_to_json(column, folded.values[column.name])
        return "the table has another value than its step result gives" + (" (nothing)" if given is None else "")
    if is_kept:
        return f"kept: newer step results give no value, the newest is {folded.newest.step_id}"
    return trace.note.message if trace.note else None


def _is_different(stored: StoredRow, column: Field, folded: Any) -> bool:
    try:
        return bool(stored.cast_cell(column) != folded)
    except CastError:
        return True
