"""Explain each cell of a row: its step result, its path, the value there, the results of normalizers, the evidence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from engine.backfill.reader import fetch_results
from engine.explain.answer_places import list_answer_places
from engine.explain.contributions import Contributions
from engine.explain.evidence import choose_evidence
from engine.explain.stored_row import StoredRow, convert_to_json
from engine.jmespath.path import Steps
from engine.plan import Field, Plan
from engine.research.providers import PROVIDERS, ResearchProvider
from engine.rows.explain import Trace, trace_fields
from engine.rows.fetch_plan import FetchPlan
from engine.rows.fold import Contributor, FoldedRow
from engine.rows.stored_result import StepResultRow, build_stored_document
from engine.sql.explain import build_basis_statement
from engine.store.connection import Connection, fetch_rows
from engine.values import exact_json
from engine.values.column_types import CastError
from engine.values.exact_json import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of a stored row and, where a step result gives it, how its value came about."""

    field: str
    value: Json  # the stored value
    differs: bool = False  # whether the step results give a different value
    step_result_id: str | None = None
    recorded_at: str | None = None
    operation: str | None = None
    element: int | None = None  # the index of the element where the spec has `rows`
    path: str | None = None
    raw: Json = None
    steps: Sequence[tuple[str, Json]] = ()
    evidence: Sequence[Mapping[str, Json]] = ()
    note: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the cell as a JSON object."""
        shown = {name: getattr(self, name) for name in self.__slots__ if name != "differs"}
        steps = [{"normalizer": name, "result": result} for name, result in self.steps]
        return {**shown, "steps": steps, "evidence": list(self.evidence)}


@dataclass(frozen=True)
class RowSource:
    """A row extracted from one step result, which gives values to cells of the stored row."""

    plan: Plan
    contributor: Contributor
    number: int  # the row's index in the extraction of its step result
    operation: str
    document: dict[str, Any]  # what paths read of the step result, without `item`

    @property
    def element(self) -> int | None:
        """The index (from 0) of the element that the row was extracted from; None where the spec has no `rows`."""
        indices = self.contributor.extracted.extraction.indices
        return indices[self.number] if indices else None

    @cached_property
    def traces(self) -> Mapping[str, Trace]:
        """The trace of each field (how its value came about), by the field's name."""
        traced = trace_fields(self.plan, self.operation, self.document, self.element)
        return {trace.field: trace for trace in traced}

    def list_places(self, provider: ResearchProvider, column: Field) -> list[Steps]:
        """Return the paths inside the provider's answer that a field's value comes from; empty for other values."""
        mapping = self.plan.find_mapping(self.operation)
        assert mapping is not None
        name = next((name for name in column.coalesce if self.traces[name].result is not None), column.name)
        paths = [path for source, path in mapping.sources if source.name == name]
        return list_answer_places(provider, mapping, paths, self.document, self.element)


async def build_cells(
    contributions: Contributions, stored: StoredRow, folded: FoldedRow, columns: Sequence[Field]
) -> list[Cell]:
    """Return the cells of `columns`, each with its trace and its evidence; each document is read only once."""
    origins = {column.name: folded.fold.find_source(folded, column) for column in columns}
    ids = {contributor.step_id for contributor, _ in origins.values()}
    results = {
        row[0]: row for row in await fetch_results(contributions.connection, contributions.fetch_plan, sorted(ids))
    }
    sources: dict[tuple[str, int], RowSource] = {}
    for contributor, number in origins.values():
        if (place := (contributor.step_id, number)) not in sources:
            result = results[contributor.step_id]
            sources[place] = _build_source(contributions.fetch_plan, result, contributor, number)
    chosen = [(column, sources[origins[column.name][0].step_id, origins[column.name][1]]) for column in columns]
    evidence = await _collect_evidence(contributions.connection, chosen)
    return [_build_cell(stored, folded, column, source, evidence.get(column.name, ())) for column, source in chosen]


def build_unsourced_cells(stored: StoredRow, columns: Sequence[Field]) -> list[Cell]:
    """Return the cells of a row that no step result gives: only with their values."""
    return [Cell(field=column.name, value=stored.values[column.name]) for column in columns]


def _build_source(fetch_plan: FetchPlan, result: StepResultRow, contributor: Contributor, number: int) -> RowSource:
    return RowSource(fetch_plan.plan, contributor, number, result[5], build_stored_document(fetch_plan, result))


async def _collect_evidence(
    connection: Connection, cells: Iterable[tuple[Field, RowSource]]
) -> dict[str, list[dict[str, Json]]]:
    """Return the providers' evidence by field name, for the cells whose values come from a provider's answer."""
    evidence: dict[str, list[dict[str, Json]]] = {}
    for provider in PROVIDERS.values():
        places = [(column, source, source.list_places(provider, column)) for column, source in cells]
        placed = [(column, source, steps) for column, source, steps in places if steps]
        ids = sorted({source.contributor.step_id for _, source, _ in placed})
        bases = await _fetch_bases(connection, provider, ids)
        for column, source, steps in placed:
            basis = bases.get(source.contributor.step_id)
            entries = choose_evidence(provider, basis, steps, source.traces[column.name].raw)
            evidence.setdefault(column.name, []).extend(entries)
    return evidence


async def _fetch_bases(connection: Connection, provider: ResearchProvider, ids: Sequence[str]) -> dict[str, Json]:
    """Return the basis (the provider's list of evidence) by step result id, for step results that have one."""
    if not ids:
        return {}
    rows = await fetch_rows(connection, *build_basis_statement(provider, ids))
    return {step_id: exact_json.loads(text) for step_id, text in rows}


def _build_cell(
    stored: StoredRow, folded: FoldedRow, column: Field, source: RowSource, evidence: Sequence[Mapping[str, Json]]
) -> Cell:
    trace = source.traces[column.name]
    differs = _is_different(stored, column, folded.values[column.name])
    is_kept = source.contributor is not folded.newest
    return Cell(
        field=column.name,
        value=stored.values[column.name],
        differs=differs,
        step_result_id=source.contributor.step_id,
        recorded_at=source.contributor.recorded_at.isoformat(),
        operation=source.operation,
        element=source.element,
        path=trace.path,
        raw=trace.raw,
        steps=trace.steps,
        evidence=evidence,
        note=_describe_cell(column, folded, trace, differs=differs, is_kept=is_kept),
    )


def _describe_cell(column: Field, folded: FoldedRow, trace: Trace, *, differs: bool, is_kept: bool) -> str | None:
    """Return what is unexpected about a cell, or None: it differs from its source, or an older result gave it."""
    if differs:
        folded_value = convert_to_json(column, folded.values[column.name])
        return "the table has another value than its step result gives" + (" (nothing)" if folded_value is None else "")
    if is_kept:
        return f"kept: newer step results give no value, the newest is {folded.newest.step_id}"
    return trace.note.message if trace.note else None


def _is_different(stored: StoredRow, column: Field, folded: Any) -> bool:
    try:
        return bool(stored.cast_cell(column) != folded)
    except CastError:
        return True
