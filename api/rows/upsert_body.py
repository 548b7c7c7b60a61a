"""Parse the body of an upsert into rows.

Values go through the same normalizers and casts as in a backfill. Documents stay JSON text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from msgspec import Raw

from api.http.body import build_unknown_field_fault, describe_type_error, find_unstorable_escape, split_fields
from api.http.errors import Fault, InvalidBody
from api.rows.json_schemas import MAX_ROWS, SOURCES
from engine.plan import Field, Plan
from engine.rows.extract import Reason, Rejected, Row, convert_value
from engine.rows.given_values import convert_sources, convert_values
from engine.rows.keys import select_last_of_key
from engine.store.connection import RawJson
from engine.values.column_types import shorten_json
from engine.values.exact_json import Json, loads

_NULL = b"null"
_ROWS: msgspec.json.Decoder[list[dict[str, Raw]]] = msgspec.json.Decoder(list[dict[str, Raw]])


class RowsRejected(Fault):
    """No row of the body can be stored: status 422 with every reason."""

    def __init__(self, reasons: Sequence[Reason]) -> None:
        first = reasons[0]
        more = f" (and {len(reasons) - 1} more)" if reasons[1:] else ""
        place = f"`{first.field}`: " if first.field and f"`{first.field}`" not in first.message else ""
        hint = "nothing was written; each entry of `detail` names a field and what is wrong with it"
        detail = [reason.as_dict() for reason in reasons]
        super().__init__(first.code, f"{place}{first.message}{more}", detail=detail, hint=hint, status=422)


@dataclass(frozen=True, slots=True)
class UpsertBody:
    """A parsed body: the rows to write, in the order of their keys, their indices in the body, and the rejections."""

    rows: list[Row]
    elements: list[int]
    rejected: list[Reason]

    @classmethod
    def parse(cls, plan: Plan, raw: bytes) -> UpsertBody:
        """Parse the body of an upsert. Raises Fault 422 that names every field that cannot be stored.

        If the spec has `rows`, invalid elements are collected in `rejected`, and it raises only when no element is
        valid.
        """
        columns = tuple(column.name for column in plan.given_fields)
        operations = ("source_operation_id",) if plan.has_normalizers_by_operation else ()
        fields = split_fields(raw, (*(("rows",) if plan.many else columns), *operations, *SOURCES))
        operation, sources = _find_operation(plan, fields), _convert_sources(fields)
        elements = _decode_elements(fields.get("rows"), columns) if plan.many else [fields]
        converted: list[tuple[int, Row]] = []
        rejected: list[Reason] = []
        for index, values in enumerate(elements):
            row, reasons = convert_values(plan, values, _convert_raw_value, operation)
            rejected += [replace(reason, element=index) if plan.many else reason for reason in reasons]
            if not reasons:
                converted.append((index, {**row, **sources}))
        if not converted:
            raise RowsRejected(rejected)
        last = select_last_of_key(plan, converted)
        return cls([row for _, row in last], [index for index, _ in last], rejected)


def _decode_elements(rows: Raw | None, columns: tuple[str, ...]) -> list[dict[str, Raw]]:
    if rows is None:
        raise InvalidBody("`rows` is missing", field="rows", hint="send `rows`, an array of objects")
    try:
        elements = _ROWS.decode(rows)
    except msgspec.ValidationError as error:
        raise InvalidBody(f"`rows` is not an array of objects: {describe_type_error(error)}", field="rows") from error
    if not 1 <= len(elements) <= MAX_ROWS:
        raise InvalidBody(f"`rows` holds {len(elements)} elements", field="rows", hint=f"send 1 to {MAX_ROWS} at once")
    for index, fields in enumerate(elements):
        if unknown := [name for name in fields if name not in columns]:
            raise build_unknown_field_fault(unknown, columns, f"rows[{index}]")
    return elements


def _find_operation(plan: Plan, fields: Mapping[str, Raw]) -> str | None:
    """Return the operation whose normalizers apply. Raises RowsRejected when the spec does not have it."""
    raw = fields.get("source_operation_id")
    operation = None if raw is None else loads(bytes(raw))
    if operation is None or (isinstance(operation, str) and plan.find_mapping(operation)):
        return operation
    known = ", ".join(f"`{name}`" for name in plan.operations)
    message = f"`source_operation_id` names none of this spec's operations: {known}"
    raise RowsRejected([Reason("unknown_operation", "source_operation_id", message, shorten_json(operation))])


def _convert_sources(fields: Mapping[str, Raw]) -> Row:
    """Convert the source columns in the body. Raises RowsRejected for invalid UUIDs and times."""
    row, reasons = convert_sources({name: loads(bytes(fields[name])) for name in SOURCES if name in fields})
    if reasons:
        raise RowsRejected(reasons)
    return row


def _convert_raw_value(column: Field, raw: Raw | None) -> Any:
    text = _NULL if raw is None else bytes(raw)
    if text == _NULL:
        return convert_value(column, None)
    if column.type.name == "jsonb" and not column.normalizers:
        return _check_document(column, text)
    return convert_value(column, _decode_value(column, text))


def _check_document(column: Field, text: bytes) -> RawJson:
    """Return the JSON text of a document unchanged.

    Raises Rejected when it has an escape that Postgres cannot store.
    """
    if escape := find_unstorable_escape(text):
        raise Rejected(Reason("wrong_type", column.name, f"it holds `{escape}`, which Postgres cannot store", None))
    return RawJson(text)


def _decode_value(column: Field, text: bytes) -> Json:
    if text.startswith(b'"'):
        return msgspec.json.decode(text, type=str)  # faster than `loads`, which only numbers need
    try:
        return loads(text)
    except ValueError as error:
        raise Rejected(Reason("wrong_type", column.name, str(error))) from error
