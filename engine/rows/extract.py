"""Plan + document -> rows, or the reason why not.

In: a Plan and one document. Out: an Extraction: the rows, or `filtered` / `rejected` with reasons. It must not know
where the document comes from nor where rows go: live, backfill and repair all pass through `admit`, the one mapping.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping as MappingType
from dataclasses import dataclass, replace
from typing import Any, Final

from engine.jmespath.path import Path, PathRaised, truthy
from engine.plan import Field, Mapping, Plan
from engine.values.column_types import CastError, missing, shorten
from engine.values.exact_json import Json, dumps
from engine.values.normalizers import NormalizeError

Row = dict[str, Any]

#: Code -> what it means. Also the codes of `reasons` in the ledger, and of `detail` in answers of the upsert endpoint.
REASONS: Final = {
    "missing_required": "a required value is missing",
    "path_failed": "evaluating the path raised",
    "not_normalized": "a normalizer cannot take the value",
    "wrong_type": "the value cannot be cast to the column's type",
    "guard": "the guard `when` is falsy",
    "no_elements": "the array `rows` is empty",
    "not_an_array": "`rows` gives no array",
    "unknown_operation": "the spec does not claim this operation",
    "refused_by_database": "the database refuses the row",
    "absent_deleted": "rows of an earlier result, whose elements are gone, were deleted",
    "absent_kept": "rows of an earlier result were left, since elements of this one were rejected",
    "not_found": "the operation found nothing",
}


class _Held:
    """Stands for a value that stays on the server: present, and not looked at."""

    def __repr__(self) -> str:
        return "<held by the server>"


HELD: Final = _Held()


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a value, an element or a step result did not become a row. `value` is shortened, `element` counts from 0."""

    code: str
    field: str | None
    message: str
    value: str | None = None
    element: int | None = None
    advice: str = ""

    def as_dict(self) -> dict[str, Any]:
        words = {"code": self.code, "field": self.field, "message": self.message, "value": self.value}
        return words if self.element is None else {**words, "element": self.element}

    @property
    def sentence(self) -> str:
        """The message with its place: read alone, it says which value is meant."""
        place = "" if self.field is None or f"`{self.field}`" in self.message else f"`{self.field}`: "
        element = "" if self.element is None else f"rows[{self.element}]: "
        return f"{element}{place}{self.message}"


@dataclass(frozen=True, slots=True)
class Extraction:
    """What one step result gives."""

    outcome: str  # "row" | "filtered" | "rejected"
    rows: tuple[Row, ...] = ()
    reasons: tuple[Reason, ...] = ()
    elements: int = 1  # how many rows it could have given
    indices: tuple[int, ...] = ()  # under `rows`: which element each row is
    parent: Row | None = None  # under `on_absent: delete`: the key of the rows that are compared


class Rejected(Exception):
    """What cannot be stored. Carries a Reason per value of it."""

    def __init__(self, *reasons: Reason) -> None:
        super().__init__("; ".join(reason.message for reason in reasons))
        self.reasons = reasons

    @property
    def reason(self) -> Reason:
        """The first of them; of a single value there is no other."""
        return self.reasons[0]


def extract(
    plan: Plan, operation: str | None, document: dict[str, Any], held: MappingType[str, bool] | None = None
) -> Extraction:
    """Turn the document of one step result of `operation` into rows.

    `held` says of fields whose value never leaves the server whether it is there; their paths are not evaluated. Never
    raises for what the document holds.
    """
    mapping = plan.mapping_for(operation)
    if mapping is None:
        known = ", ".join(f"`{known}`" for known in plan.operations)
        message = f"operation `{operation}` is none of this spec's: {known}"
        return Extraction("rejected", reasons=(Reason("unknown_operation", None, message),))
    status = document["operation"]["status"]
    if status != "found":
        return Extraction("filtered", reasons=(Reason("not_found", None, f"the operation's status is `{status}`"),))
    try:
        if mapping.when is not None and not truthy(_search(mapping.when, document, None)):
            return Extraction("filtered", reasons=(Reason("guard", None, f"`{mapping.when.text}` is falsy"),))
        if mapping.rows is None:
            return Extraction("row", (_row(plan, mapping, document, held or {}),))
        elements = _search(mapping.rows, document, "rows")
    except Rejected as rejected:
        return Extraction("rejected", reasons=rejected.reasons)
    return _extract_many(plan, mapping, document, elements)


def _extract_many(plan: Plan, mapping: Mapping, document: dict[str, Any], elements: Any) -> Extraction:
    assert mapping.rows is not None
    if not isinstance(elements, list):
        message = f"`{mapping.rows.text}` gives {_kind(elements)}, not an array"
        return Extraction("rejected", reasons=(Reason("not_an_array", "rows", message, shorten(elements)),), elements=0)
    try:
        parent = _parent(plan, mapping, document)
    except Rejected as rejected:
        return Extraction("rejected", reasons=rejected.reasons, elements=len(elements))
    if not elements:
        return _none(mapping.rows, parent)
    rows: dict[int, Row] = {}
    reasons: list[Reason] = []
    for index, element in enumerate(elements):
        try:
            rows[index] = _row(plan, mapping, {**document, "item": element}, {})
        except Rejected as rejected:
            reasons += [replace(reason, element=index) for reason in rejected.reasons]
    outcome = "row" if rows else "rejected"
    return Extraction(outcome, tuple(rows.values()), tuple(reasons), len(elements), tuple(rows), parent)


def _none(rows: Path, parent: Row | None) -> Extraction:
    """An empty array. Under `on_absent: delete` it is an answer, whose `value` says whose rows are none."""
    message = f"`{rows.text}` is empty"
    if parent is None:
        return Extraction("filtered", reasons=(Reason("no_elements", "rows", message),), elements=0)
    reason = Reason("no_elements", "rows", message, none_of(parent))
    return Extraction("row", reasons=(reason,), elements=0, parent=parent)


def none_of(parent: Row) -> str:
    """A parent key as the reason of an empty array names it: whole, since later results are held against it."""
    return dumps([None if value is None else str(value) for value in parent.values()]).decode()


def _parent(plan: Plan, mapping: Mapping, document: dict[str, Any]) -> Row | None:
    """Whose rows this result replaces under `on_absent: delete`. An empty array replaces them too: by none."""
    if plan.on_absent != "delete":
        return None
    paths = {field.name: path for field, path in zip(plan.fields, mapping.paths, strict=True)}
    return {field.name: admit(field, _search(paths[field.name], document, field.name)) for field in plan.parent_key}


def _row(plan: Plan, mapping: Mapping, document: dict[str, Any], held: MappingType[str, bool]) -> Row:
    """Every value that cannot be stored is told at once, not the first alone."""
    row: Row = {}
    reasons: list[Reason] = []
    for field, path in zip(plan.fields, mapping.paths, strict=True):
        try:
            row[field.name] = _value(field, path, document, held)
        except Rejected as rejected:
            reasons += [_explained(reason, path) for reason in rejected.reasons]
    if reasons:
        raise Rejected(*reasons)
    return row


def _explained(reason: Reason, path: Path) -> Reason:
    """With what concerns whoever wrote the spec, and which a caller of the API could not follow."""
    more = f"`{path.text}` gives nothing" if reason.code == "missing_required" else reason.advice
    return replace(reason, message=f"{reason.message} ({more})") if more else reason


def _value(field: Field, path: Path, document: dict[str, Any], held: MappingType[str, bool]) -> Any:
    if field.name in held:
        return HELD if held[field.name] else _absent(field)
    return admit(field, _search(path, document, field.name))


def _search(path: Path, document: dict[str, Any], field: str | None) -> Any:
    try:
        return path.search(document)
    except PathRaised as error:
        message = f"`{path.text}` raised: {error.message}"
        found = None if error.found is None else shorten(error.found)
        raise Rejected(Reason("path_failed", field, message, found)) from error


def admit(field: Field, value: Json, steps: list[tuple[str, Json]] | None = None) -> Any:
    """Normalize and cast one value; None when it is missing. `steps`, where given, is told each normalizer's result.

    Raises Rejected when a normalizer or the column's type cannot take it, or when it is required and missing.
    """
    raw = value
    for normalizer in field.normalizers:
        if value is None:
            break
        try:
            value = normalizer.function(value)
            if steps is not None:
                steps.append((normalizer.name, value))
        except NormalizeError as error:
            message = f"`{normalizer.name}` cannot take it: {error}"
            raise Rejected(Reason("not_normalized", field.name, message, shorten(raw))) from error
    if missing(value, field.type):
        return _absent(field)
    try:
        return field.type.cast(value)
    except CastError as error:
        raise Rejected(Reason("wrong_type", field.name, error.message, shorten(raw), advice=error.hint)) from error


def _absent(field: Field) -> None:
    if field.required:
        raise Rejected(Reason("missing_required", field.name, f"`{field.name}` is required and missing"))


def _kind(value: Any) -> str:
    words = {type(None): "null", bool: "a boolean", str: "a string", dict: "an object"}
    return words.get(type(value), "a number")


@dataclass(frozen=True, slots=True)
class Trace:
    """How one field came to its value: `dex extract --explain`."""

    element: int | None  # which one of `rows`
    field: str
    path: str
    raw: Any
    steps: tuple[tuple[str, Any], ...]  # (normalizer, its result)
    result: Any
    reason: Reason | None


def explain(plan: Plan, operation: str | None, document: dict[str, Any]) -> Iterator[Trace]:
    """Yield a Trace per field, under `rows` of every element; nothing for an operation that is not the spec's."""
    mapping = plan.mapping_for(operation)
    if mapping is None:
        return
    for element, seen in _seen(mapping.rows, document):
        for field, path in zip(plan.fields, mapping.paths, strict=True):
            yield _trace(element, field, path, seen)


def _seen(rows: Path | None, document: dict[str, Any]) -> Iterator[tuple[int | None, dict[str, Any]]]:
    """The document as each element sees it; as it is where `rows` gives none."""
    try:
        elements = rows.search(document) if rows else None
    except PathRaised:
        elements = None
    if not isinstance(elements, list) or not elements:
        yield None, document
        return
    for index, element in enumerate(elements):
        yield index, {**document, "item": element}


def _trace(element: int | None, field: Field, path: Path, document: dict[str, Any]) -> Trace:
    raw: Any = None
    steps: list[tuple[str, Any]] = []
    try:
        raw = _search(path, document, field.name)
        result, reason = admit(field, raw, steps), None
    except Rejected as rejected:
        result, reason = None, rejected.reason
    return Trace(element, field.name, path.text, raw, tuple(steps), result, reason)
