"""Extract rows from the document of one step result, or the reasons why it gives none.

Live upserts, backfill and repair convert every value with `convert_value`, so that they store the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import MAX_PREC, Context, Decimal
from typing import Any, Final

from engine.errors import EngineError
from engine.jmespath.path import CompiledPath, EvaluationError, is_truthy
from engine.plan import Field, OperationMapping, Plan
from engine.rows.elements import Element, describe_kind, list_elements
from engine.rows.keys import build_key
from engine.rows.outcomes import ExtractionOutcome
from engine.spec.enums import OnAbsent, OnInvalid
from engine.values.column_types import CastError, is_missing, shorten_json
from engine.values.exact_json import Json
from engine.values.normalizers import NormalizeError

_EXACT: Final = Context(prec=MAX_PREC)

Row = dict[str, Any]  # values by column, in the types that are sent to Postgres

#: The codes of reasons and what they mean; in `reasons` of the ledger and in `detail` of the upsert endpoint's answers.
REASONS: Final = {
    "missing_required": "a required value is missing",
    "path_failed": "evaluating the path raised",
    "not_normalized": "a normalizer cannot take the value",
    "wrong_type": "the value cannot be cast to the column's type",
    "guard": "the guard `when` is falsy",
    "unreadable": "the stored step result cannot be read",
    "no_elements": "the array `rows` is empty",
    "not_an_array": "`rows` gives no array",
    "not_an_object": "an element of `rows` is no object, and paths go into it",
    "duplicate": "a later element of the same result has the same key",
    "invalid_as_missing": "a value that cannot be stored was treated as missing (`on_invalid: missing`)",
    "unknown_operation": "the spec does not claim this operation",
    "refused_by_database": "the database refuses the row",
    "absent_deleted": "rows of an earlier result, whose elements are gone, were deleted",
    "absent_kept": "rows of an earlier result were left, since elements of this one were rejected",
    "not_found": "the operation found nothing",
    "claim_differs": "an upsert that named the step result gave another value than the step result has",
    "future_time": "the source's time lies more than five minutes ahead",
}


class _Copied:
    """The type of COPIED."""

    def __repr__(self) -> str:
        return "<copied inside Postgres>"


#: Codes of reasons that do not keep a row from being stored.
NOTES: Final = frozenset({"invalid_as_missing"})

#: Stands for a document that Postgres copies from the step result to the row without sending it here; never null.
COPIED: Final = _Copied()


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a value, an element or a step result did not become a row.

    `value` is shortened; `element` counts from 0.
    """

    code: str
    field: str | None
    message: str
    value: str | None = None
    element: int | None = None
    advice: str = ""  # for the author of the spec

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object for the ledger and API answers; it has `element` only where there is one."""
        payload = {"code": self.code, "field": self.field, "message": self.message, "value": self.value}
        return payload if self.element is None else {**payload, "element": self.element}

    @property
    def sentence(self) -> str:
        """The message, preceded by the element and field that it is about, unless it names the field itself."""
        place = "" if self.field is None or f"`{self.field}`" in self.message else f"`{self.field}`: "
        element = "" if self.element is None else f"rows[{self.element}]: "
        return f"{element}{place}{self.message}"


@dataclass(frozen=True, slots=True)
class Extraction:
    """The rows of one step result, one per key, and the reasons why it, or some of its elements, give none.

    elements = rows + duplicates + refused always holds.
    """

    outcome: ExtractionOutcome
    rows: tuple[Row, ...] = ()
    reasons: tuple[Reason, ...] = ()
    elements: int = 1  # how many rows it would give if every element were valid and had a key of its own
    duplicates: int = 0  # elements whose key a later element also has
    indices: tuple[int, ...] = ()  # where the spec has `rows`: the element index of each row
    parent: Row | None = None  # with `on_absent: delete`: the parent key whose rows it replaces

    @property
    def refused(self) -> int:
        """The number of elements that were refused."""
        return self.elements - len(self.rows) - self.duplicates


class Rejected(EngineError):
    """Raised for values that cannot be stored, with one Reason per value."""

    def __init__(self, *reasons: Reason) -> None:
        super().__init__("; ".join(reason.message for reason in reasons))
        self.reasons = reasons

    @property
    def reason(self) -> Reason:
        """The first reason, which is the only one when a single value was converted."""
        return self.reasons[0]


def extract_rows(
    plan: Plan,
    operation: str | None,
    document: dict[str, Any],
    copied: Mapping[str, bool] | None = None,
    *,
    with_duplicates: bool = False,
) -> Extraction:
    """Extract the rows of one step result of `operation` from its document; report problems as reasons, never raise.

    `with_duplicates` keeps all elements of one key, for a caller that chooses among them. `copied` tells, for each
    document that Postgres copies itself, whether it is present; the paths of these fields are not evaluated.
    """
    mapping = plan.find_mapping(operation)
    if mapping is None:
        known = ", ".join(f"`{known}`" for known in plan.operations)
        message = f"operation `{operation}` is none of this spec's: {known}"
        return Extraction(ExtractionOutcome.REJECTED, reasons=(Reason("unknown_operation", None, message),))
    status = document["operation"]["status"]
    if status != "found":
        reason = Reason("not_found", None, f"the operation's status is `{status}`")
        return Extraction(ExtractionOutcome.FILTERED, reasons=(reason,), elements=0)
    try:
        if mapping.when is not None and not is_truthy(evaluate_path(mapping.when, document, None)):
            reason = Reason("guard", None, f"`{mapping.when.text}` is falsy")
            return Extraction(ExtractionOutcome.FILTERED, reasons=(reason,), elements=0)
        if mapping.rows is None:
            notes: list[Reason] = []
            row = _extract_row(mapping, document, copied or {}, notes)
            return Extraction(ExtractionOutcome.ROW, (row,), tuple(notes))
        outer = evaluate_path(mapping.rows, document, "rows")
    except Rejected as rejected:
        return build_rejection(mapping, *rejected.reasons)
    if not isinstance(outer, list):
        message = f"`{mapping.rows.text}` gives {describe_kind(outer)}, not an array"
        return build_rejection(mapping, Reason("not_an_array", "rows", message, shorten_json(outer)))
    return _extract_elements(plan, mapping, document, list_elements(mapping, document, outer), with_duplicates)


def build_rejection(mapping: OperationMapping | None, *reasons: Reason) -> Extraction:
    """Build the Extraction of a step result that is rejected as a whole; it counts one element, with `rows` none."""
    elements = 1 if mapping is None or mapping.rows is None else 0
    return Extraction(ExtractionOutcome.REJECTED, reasons=reasons, elements=elements)


def build_unreadable(mapping: OperationMapping | None, error: Exception) -> Extraction:
    """Build the Extraction of a step result that cannot be read because of `error`."""
    message = f"the step result cannot be read: {str(error).strip() or type(error).__name__}"
    return build_rejection(mapping, Reason("unreadable", None, message))


def _extract_elements(
    plan: Plan, mapping: OperationMapping, document: dict[str, Any], elements: list[Element], with_duplicates: bool
) -> Extraction:
    assert mapping.rows is not None
    try:
        parent = _extract_parent_key(plan, mapping, document)
    except Rejected as rejected:
        return Extraction(ExtractionOutcome.REJECTED, reasons=rejected.reasons, elements=len(elements))
    if not elements:
        return _build_empty_extraction(mapping.rows, parent)
    rows: dict[int, Row] = {}
    reasons: list[Reason] = []
    for index, element in enumerate(elements):
        notes: list[Reason] = []
        try:
            rows[index] = _extract_element(mapping, element, notes)
        except Rejected as rejected:
            notes = list(rejected.reasons)
        reasons += [replace(reason, element=index) for reason in notes]
    outcome = ExtractionOutcome.ROW if rows else ExtractionOutcome.REJECTED
    kept, duplicates = (rows, []) if with_duplicates else drop_duplicates(plan, rows)
    return Extraction(
        outcome,
        tuple(kept.values()),
        (*reasons, *duplicates),
        len(elements),
        len(duplicates),
        tuple(kept),
        parent,
    )


def drop_duplicates(plan: Plan, rows: Mapping[int, Row]) -> tuple[dict[int, Row], list[Reason]]:
    """Return the last row of each key, by element index, and a reason for each row that is dropped."""
    last = {build_key(plan, row): index for index, row in rows.items()}
    if len(last) == len(rows):
        return dict(rows), []
    winners = set(last.values())
    duplicates = []
    for index, row in rows.items():
        if index not in winners:
            key = build_key(plan, row)
            message = f"element {last[key]} has the same key, and the last of a key counts"
            duplicates.append(Reason("duplicate", None, message, shorten_json([str(part) for part in key]), index))
    return {index: row for index, row in rows.items() if index in winners}, duplicates


def _build_empty_extraction(rows: CompiledPath, parent: Row | None) -> Extraction:
    """Return the Extraction of an empty array: `filtered`, or with `on_absent: delete` one that removes older rows."""
    reasons = (Reason("no_elements", "rows", f"`{rows.text}` is empty"),)
    outcome = ExtractionOutcome.FILTERED if parent is None else ExtractionOutcome.ROW
    return Extraction(outcome, reasons=reasons, elements=0, parent=parent)


def _extract_parent_key(plan: Plan, mapping: OperationMapping, document: dict[str, Any]) -> Row | None:
    """Return the parent key whose rows the step result replaces, with `on_absent: delete`; else None."""
    if plan.on_absent is not OnAbsent.DELETE:
        return None
    names = [column.name for column in plan.parent_key]
    wanted = {*names, *(name for column in plan.parent_key for name in column.coalesce)}
    values = {
        column.name: convert_value(column, evaluate_path(path, document, column.name))
        for column, path in mapping.sources
        if column.name in wanted
    }
    values, reasons = derive_values([column for column in mapping.fields if column.name in wanted], values)
    if reasons:
        raise Rejected(*reasons)
    return {name: values[name] for name in names}


def _extract_element(mapping: OperationMapping, element: Element, notes: list[Reason]) -> Row:
    if element.code:
        raise Rejected(Reason(element.code, None, element.message, shorten_json(element.value)))
    return _extract_row(mapping, element.document, {}, notes)


def _extract_row(
    mapping: OperationMapping, document: dict[str, Any], copied: Mapping[str, bool], notes: list[Reason]
) -> Row:
    """Extract one row; add to `notes` why invalid values count as missing.

    Raises Rejected with a reason for every value that cannot be stored.
    """
    row: Row = {}
    reasons: list[Reason] = []
    for column, path in mapping.sources:
        try:
            row[column.name] = _extract_value(column, path, document, copied, notes)
        except Rejected as rejected:
            reasons += [_add_advice(reason, path) for reason in rejected.reasons]
    if not reasons:
        row, reasons = derive_values(mapping.fields, row, notes)
    if reasons:
        raise Rejected(*reasons)
    return row


def derive_values(fields: Sequence[Field], row: Row, notes: list[Reason] | None = None) -> tuple[Row, list[Reason]]:
    """Return a new row with all `fields`, and a reason for each derived value that cannot be stored and is left out.

    Fields with `coalesce` take the first value of their sources; the others are copied from `row`. `notes` gets why an
    invalid value counts as missing.
    """
    reasons: list[Reason] = []
    derived: Row = {}
    for column in fields:
        if not column.coalesce:
            derived[column.name] = row[column.name]
            continue
        value = next((row[name] for name in column.coalesce if row[name] is not None), None)
        try:
            derived[column.name] = convert_value(column, value, notes=notes)
        except Rejected as rejected:
            sources = ", ".join(f"`{name}`" for name in column.coalesce)
            reasons += [
                replace(reason, message=f"{reason.message} (so are {sources})")
                if reason.code == "missing_required"
                else reason
                for reason in rejected.reasons
            ]
    return derived, reasons


def _add_advice(reason: Reason, path: CompiledPath) -> Reason:
    """Add what helps the author of the spec, such as the path, to a reason. Callers of the API do not get it."""
    more = f"`{path.text}` gives nothing" if reason.code == "missing_required" else reason.advice
    return replace(reason, message=f"{reason.message} ({more})") if more else reason


def _extract_value(
    field: Field, path: CompiledPath, document: dict[str, Any], copied: Mapping[str, bool], notes: list[Reason]
) -> Any:
    if field.name in copied:
        return COPIED if copied[field.name] else _resolve_missing(field)
    return convert_value(field, evaluate_path(path, document, field.name), notes=notes)


def evaluate_path(path: CompiledPath, document: dict[str, Any], field: str | None) -> Any:
    """Evaluate `path` over the document. Raises Rejected, naming `field`, when the evaluation fails."""
    try:
        return path.search(document)
    except EvaluationError as error:
        message = f"`{path.text}` raised: {error.message}"
        value = None if error.found is None else shorten_json(error.found)
        raise Rejected(Reason("path_failed", field, message, value)) from error


def convert_value(
    field: Field,
    value: Json,
    steps: list[tuple[str, Json]] | None = None,
    notes: list[Reason] | None = None,
) -> Any:
    """Normalize one JSON value and cast it to the column's type; return None if it is missing.

    Appends each normalizer with its result to `steps`, and to `notes` why an invalid value counts as missing. Raises
    Rejected when a normalizer or the type does not accept the value, or when it is required and missing.
    """
    try:
        converted = _convert_value(field, value, steps)
    except Rejected as rejected:
        if field.on_invalid is not OnInvalid.MISSING:
            raise
        if notes is not None:
            message = f"treated as missing: {rejected.reason.message}"
            notes.append(replace(rejected.reason, code="invalid_as_missing", message=message, advice=""))
        converted = None
    return _resolve_missing(field) if converted is None else converted


def _convert_value(field: Field, value: Json, steps: list[tuple[str, Json]] | None) -> Any:
    raw = value
    for normalizer in field.normalizers:
        if value is None:
            break
        try:
            value = normalizer.function(value)
            if steps is not None:
                steps.append((normalizer.name, value))
        except NormalizeError as error:
            message = f"`{normalizer.name}` refuses it: {error}"
            raise Rejected(Reason("not_normalized", field.name, message, shorten_json(raw))) from error
    if is_missing(value, field.type):
        return None
    try:
        converted = field.type.cast(value)
    except CastError as error:
        raise Rejected(Reason("wrong_type", field.name, error.message, shorten_json(raw), advice=error.hint)) from error
    return trim_decimal(converted) if field.key and isinstance(converted, Decimal) else converted


def trim_decimal(number: Decimal) -> Decimal:
    """Return a number without zeros at its end, so that 1.10 and 1.1, one key to Postgres, are stored alike."""
    return Decimal(format(number.normalize(_EXACT), "f")) if number else Decimal(0)


def _resolve_missing(field: Field) -> None:
    """Return None for a missing value. Raises Rejected when the field is required."""
    if field.required:
        raise Rejected(Reason("missing_required", field.name, f"`{field.name}` is required and missing"))
