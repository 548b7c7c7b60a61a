"""Trace how the value of each field of a step result comes about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from engine.jmespath.path import CompiledPath, EvaluationError
from engine.plan import Field, OperationMapping, Plan
from engine.rows.elements import list_elements
from engine.rows.extract import Reason, Rejected, convert_value, evaluate_path


@dataclass(frozen=True, slots=True)
class Trace:
    """How the value of one field comes about: what its path gave, what each normalizer returned, and the result."""

    element: int | None  # the index of the element where the spec has `rows`
    field: str
    path: str
    raw: Any
    steps: tuple[tuple[str, Any], ...]  # (normalizer, its result)
    result: Any
    reason: Reason | None  # why the row is refused
    note: Reason | None = None  # why an invalid value counts as missing


def trace_fields(
    plan: Plan, operation: str | None, document: dict[str, Any], only: int | None = None
) -> Iterator[Trace]:
    """Yield a Trace for each field of each element, or only of the element with the index `only`.

    Yields nothing for an operation that the spec does not have. The document may lack what no path reads.
    """
    mapping = plan.find_mapping(operation)
    if mapping is None:
        return
    for element, element_document in _list_element_documents(mapping, document):
        if only is not None and element != only:
            continue
        traces: dict[str, Trace] = {}
        for column, path in zip(mapping.fields, mapping.paths, strict=True):
            if path is not None:
                traces[column.name] = _trace_field(element, column, path, element_document)
        for column in mapping.fields:
            yield traces.get(column.name) or _trace_derived_field(element, column, traces)


def _list_element_documents(
    mapping: OperationMapping, document: dict[str, Any]
) -> Iterator[tuple[int | None, dict[str, Any]]]:
    """Yield each element's index with the document that has it as `item`; None with the document if there is none."""
    try:
        elements = mapping.rows.search(document) if mapping.rows else None
    except EvaluationError:
        elements = None
    if not isinstance(elements, list) or not elements:
        yield None, document
        return
    for index, element in enumerate(list_elements(mapping, document, elements)):
        yield index, element.document


def _trace_field(element: int | None, field: Field, path: CompiledPath, document: dict[str, Any]) -> Trace:
    raw: Any = None
    steps: list[tuple[str, Any]] = []
    notes: list[Reason] = []
    try:
        raw = evaluate_path(path, document, field.name)
        result, reason = convert_value(field, raw, steps, notes), None
    except Rejected as rejected:
        result, reason = None, rejected.reason
    return Trace(element, field.name, path.text, raw, tuple(steps), result, reason, *notes)


def _trace_derived_field(element: int | None, field: Field, traces: Mapping[str, Trace]) -> Trace:
    """Trace a field with `coalesce`: it takes the value of the first of its sources that has one."""
    source = next((name for name in field.coalesce if traces[name].result is not None), None)
    raw = None if source is None else traces[source].result
    steps: list[tuple[str, Any]] = []
    notes: list[Reason] = []
    try:
        result, reason = convert_value(field, raw, steps, notes), None
    except Rejected as rejected:
        result, reason = None, rejected.reason
    path = f"coalesce: {source or ', '.join(field.coalesce)}"
    return Trace(element, field.name, path, raw, tuple(steps), result, reason, *notes)
