"""Trace how each field of a step result came to its value, for `dex extract --explain`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from engine.jmespath.path import CompiledPath, EvaluationError
from engine.plan import Field, Plan
from engine.rows.extract import Reason, Rejected, convert_value, evaluate_path


@dataclass(frozen=True, slots=True)
class Trace:
    """The way of one field's value: what its path gave, what each normalizer made of it, and the result."""

    element: int | None  # under `rows`: the index of the element
    field: str
    path: str
    raw: Any
    steps: tuple[tuple[str, Any], ...]  # (normalizer, its result)
    result: Any
    reason: Reason | None


def trace_fields(plan: Plan, operation: str | None, document: dict[str, Any]) -> Iterator[Trace]:
    """Yield a Trace per field and element; nothing for an operation that the spec does not claim."""
    mapping = plan.find_mapping(operation)
    if mapping is None:
        return
    for element, element_document in _list_element_documents(mapping.rows, document):
        for column, path in zip(plan.fields, mapping.paths, strict=True):
            yield _trace_field(element, column, path, element_document)


def _list_element_documents(
    rows: CompiledPath | None, document: dict[str, Any]
) -> Iterator[tuple[int | None, dict[str, Any]]]:
    """Yield (index, document with the element as `item`); the bare document when `rows` is absent or gives none."""
    try:
        elements = rows.search(document) if rows else None
    except EvaluationError:
        elements = None
    if not isinstance(elements, list) or not elements:
        yield None, document
        return
    for index, element in enumerate(elements):
        yield index, {**document, "item": element}


def _trace_field(element: int | None, field: Field, path: CompiledPath, document: dict[str, Any]) -> Trace:
    raw: Any = None
    steps: list[tuple[str, Any]] = []
    try:
        raw = evaluate_path(path, document, field.name)
        result, reason = convert_value(field, raw, steps), None
    except Rejected as rejected:
        result, reason = None, rejected.reason
    return Trace(element, field.name, path.text, raw, tuple(steps), result, reason)
