"""The column types a spec may name, and how a JSON value becomes one.

In: a JSON value that is not missing. Out: the value to send to Postgres, equal to what it will hold, or a CastError.
Must not know: specs, paths, SQL statements, the driver.

A cast never guesses. A number is a JSON number: the string "1,200" is refused, and so is "1200" unless a normalizer
made a number of it. A date is `YYYY-MM-DD`. A timestamp says its offset.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from engine.errors import EngineError
from engine.values.exact_json import ExactError, Json, check, chunks, dumps, kind, number_text


class CastError(EngineError):
    """A value that the column's type cannot hold. The message says what was expected and what was found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnType:
    """One column type: its SQL, its Python and JSON Schema spelling, the kinds of JSON it takes, and its cast."""

    name: str
    sql: str
    annotation: str  # as generated Python functions spell it
    json_schema: Mapping[str, Any]
    takes: frozenset[str]  # JSON kinds, as `exact.kind` names them
    cast: Callable[[Json], Any]  # never sees null; raises CastError


def missing(value: Json, column: ColumnType) -> bool:
    """Whether there is nothing to store: null, or a blank string for a text column."""
    if isinstance(value, str):
        return column.name == "text" and not value.strip()
    return value is None


def shorten(value: Json, limit: int = 80) -> str:
    """Return `value` as JSON of at most `limit` characters, for errors and logs, whatever it holds."""
    text = ""
    for chunk in chunks(value[:limit] if isinstance(value, str) else value):
        text += chunk[: limit + 1]
        if len(text) > limit:
            break
    cut = len(text) > limit or (isinstance(value, str) and len(value) > limit)
    text = text.encode("utf-8", "backslashreplace").decode()
    return text[: limit - 1] + "…" if cut or len(text) > limit else text


def _text(value: Json) -> str:
    if not isinstance(value, str):
        raise _unexpected("a string", value, number="add the normalizer `text` to store numbers as text")
    return _storable(value)


def _jsonb(value: Json) -> str:
    try:
        return dumps(value).decode()
    except ExactError as error:
        raise CastError(str(error)) from error


def _boolean(value: Json) -> bool:
    if not isinstance(value, bool):
        raise _unexpected("true or false", value)
    return value


def _whole(bits: int) -> Callable[[Json], int]:
    def cast(value: Json) -> int:
        decimal = _decimal(value, "a whole number")
        if decimal.adjusted() < 20 and decimal == decimal.to_integral_value():
            number = int(decimal)
            if -(2 ** (bits - 1)) <= number < 2 ** (bits - 1):
                return number
        elif decimal.adjusted() < 20:
            raise CastError("expected a whole number, found one with decimals")
        raise CastError(f"expected a whole number of {bits} bits, found a larger one")

    return cast


def _numeric(value: Json) -> Decimal:
    decimal = _decimal(value, "a number")
    try:
        check(value)
    except ExactError as error:
        raise CastError("the number is beyond what Postgres' `numeric` holds") from error
    return decimal


def _date(value: Json) -> date:
    if not isinstance(value, str):
        raise _unexpected("a date such as `2026-05-15`", value)
    if not _DATE.fullmatch(value):
        raise CastError("expected a date such as `2026-05-15`, found another spelling")
    try:
        return date.fromisoformat(value)
    except ValueError as error:
        raise CastError("no such day in the calendar") from error


def _timestamptz(value: Json) -> datetime:
    if not isinstance(value, str):
        advice = "add the normalizer `epoch_seconds` or `epoch_milliseconds`"
        raise _unexpected("a timestamp such as `2026-05-15T18:52:36Z`", value, number=advice)
    found = _TIMESTAMP.fullmatch(value)
    if not found:
        raise CastError("expected a timestamp with its offset such as `2026-05-15T18:52:36Z`, found another spelling")
    try:
        return _instant(*found.groups()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise CastError("no such moment in the calendar") from error


def _instant(day: str, clock: str, seconds: str, fraction: str | None, offset: str) -> datetime:
    """The moment, to the microsecond as Postgres rounds it. A leap second is the second after, as in Postgres."""
    if int(seconds) > 60:
        raise ValueError(seconds)
    micros = round(Decimal(f"{seconds}.{fraction or '0'}") * 1_000_000)
    return datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=_zone(offset)) + timedelta(microseconds=micros)


def _zone(offset: str) -> timezone:
    if offset in "Zz":
        return UTC
    hours, minutes = int(offset[1:3]), int(offset[4:6])
    if hours > 23 or minutes > 59:
        raise ValueError(offset)
    span = timedelta(hours=hours, minutes=minutes)
    return timezone(-span if offset[0] == "-" else span)


def _uuid(value: Json) -> str:
    if not isinstance(value, str):
        raise _unexpected("a UUID", value)
    if not _UUID.fullmatch(value):
        raise CastError("expected a UUID such as `0921f10b-890b-47ab-8ceb-b1986df51cbb`, found another spelling")
    return value.lower()


def _texts(value: Json) -> list[str]:
    if not isinstance(value, list):
        raise _unexpected("an array of strings", value, string="add the normalizer `list` to wrap a single value")
    return [_element(index, element) for index, element in enumerate(value)]


def _element(index: int, element: Json) -> str:
    if not isinstance(element, str):
        raise CastError(f"expected an array of strings, found {_ARTICLES[kind(element)]} at [{index}]")
    return _storable(element)


def _decimal(value: Json, expected: str) -> Decimal:
    """The number exactly as it was written."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _unexpected(expected, value, string="add the normalizer `number` to read it from a string")
    try:
        return Decimal(number_text(value))
    except ArithmeticError as error:  # `null` for NaN, or an exponent beyond all measure
        raise CastError(f"expected {expected}, found one that cannot be held") from error


def _storable(text: str) -> str:
    if text.isascii() and "\0" not in text:
        return text  # as nearly all are; `check` looks closer, and takes its time
    try:
        check(text)
    except ExactError as error:
        raise CastError(str(error).removesuffix(" at `$`").rstrip(",")) from error
    return text


_ARTICLES = {
    "null": "null",
    "boolean": "true or false",
    "number": "a number",
    "string": "a string",
    "array": "an array",
    "object": "an object",
}


def _unexpected(expected: str, value: Json, **advice: str) -> CastError:
    """The error for a value of the wrong kind, with the advice there is for the kind it has."""
    found = kind(value)
    return CastError(f"expected {expected}, found {_ARTICLES.get(found, found)}", hint=advice.get(found, ""))


_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIMESTAMP = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}):([0-9]{2})(?:\.([0-9]{1,30}))?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def _type(name: str, annotation: str, takes: str, schema: Mapping[str, Any], cast: Callable[[Json], Any]) -> ColumnType:
    kinds = frozenset(takes.split())
    return ColumnType(name=name, sql=name, annotation=annotation, json_schema=schema, takes=kinds, cast=cast)


_STRINGS = {"type": "array", "items": {"type": "string"}}
_ROWS = (
    _type("text", "str", "string", {"type": "string"}, _text),
    _type("jsonb", "Any", "boolean number string array object", {}, _jsonb),
    _type("boolean", "bool", "boolean", {"type": "boolean"}, _boolean),
    _type("integer", "int", "number", {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1}, _whole(32)),
    _type("bigint", "int", "number", {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}, _whole(64)),
    _type("numeric", "int | float", "number", {"type": "number"}, _numeric),
    _type("date", "str", "string", {"type": "string", "format": "date"}, _date),
    _type("timestamptz", "str", "string", {"type": "string", "format": "date-time"}, _timestamptz),
    _type("uuid", "str", "string", {"type": "string", "format": "uuid"}, _uuid),
    _type("text[]", "list[str]", "array", _STRINGS, _texts),
)

TYPES: Mapping[str, ColumnType] = MappingProxyType({row.name: row for row in _ROWS})
