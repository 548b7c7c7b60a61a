"""The column types that a spec may name, and each type's cast from JSON to the value that is sent to Postgres.

The result of a cast equals the value that Postgres stores. A cast never guesses: a number must be a JSON number, so the
strings "1,200" and "1200" are refused unless a normalizer converts them. A date is `YYYY-MM-DD`. A timestamp must have
its offset.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from engine.errors import EngineError
from engine.values.exact_json import (
    ExactError,
    Json,
    JsonKind,
    check_storable,
    dumps,
    json_kind,
    write_chunks,
    write_number,
)


class CastError(EngineError):
    """A value that the column's type cannot hold. The message says what was expected and what was found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnType:
    """One column type: its names in SQL, Python and JSON Schema, the JSON types that it accepts, and its cast."""

    name: str
    sql: str
    annotation: str  # in generated Python functions
    json_schema: Mapping[str, Any]
    takes: frozenset[JsonKind]
    cast: Callable[[Json], Any]  # never called with null; raises CastError


def is_missing(value: Json, column: ColumnType) -> bool:
    """Return whether `value` is missing for a column of this type: null, or a blank string for a text column."""
    if isinstance(value, str):
        return column.name == "text" and not value.strip()
    return value is None


def shorten_json(value: Json, limit: int = 80) -> str:
    """Return `value` as JSON of at most `limit` characters, for errors and logs; never raise."""
    text = ""
    for chunk in write_chunks(value[:limit] if isinstance(value, str) else value):
        text += chunk[: limit + 1]
        if len(text) > limit:
            break
    cut = len(text) > limit or (isinstance(value, str) and len(value) > limit)
    text = text.encode("utf-8", "backslashreplace").decode()
    return text[: limit - 1] + "…" if cut or len(text) > limit else text


def _cast_text(value: Json) -> str:
    if not isinstance(value, str):
        raise _build_kind_error("a string", value, number="add the normalizer `text` to store numbers as text")
    return _check_text(value)


def _cast_jsonb(value: Json) -> str:
    try:
        return dumps(value).decode()
    except ExactError as error:
        raise CastError(str(error)) from error


def _cast_boolean(value: Json) -> bool:
    if not isinstance(value, bool):
        raise _build_kind_error("true or false", value)
    return value


def _build_integer_cast(bits: int) -> Callable[[Json], int]:
    def cast(value: Json) -> int:
        decimal = _read_decimal(value, "a whole number")
        if decimal.adjusted() < 20 and decimal == decimal.to_integral_value():
            number = int(decimal)
            if -(2 ** (bits - 1)) <= number < 2 ** (bits - 1):
                return number
        elif decimal.adjusted() < 20:
            raise CastError("expected a whole number, found one with decimals")
        raise CastError(f"expected a whole number of {bits} bits, found a larger one")

    return cast


def _cast_numeric(value: Json) -> Decimal:
    decimal = _read_decimal(value, "a number")
    try:
        check_storable(value)
    except ExactError as error:
        raise CastError("the number is beyond what Postgres' `numeric` holds") from error
    return decimal


def _cast_double(value: Json) -> float:
    """Return the nearest double, as Postgres stores it; zero loses its sign, as in `jsonb`."""
    decimal = _read_decimal(value, "a number")
    number = float(decimal)
    if math.isinf(number) or (number == 0 and decimal != 0):
        raise CastError("the number is beyond what `double precision` holds")
    return number + 0.0


def _cast_date(value: Json) -> date:
    if not isinstance(value, str):
        raise _build_kind_error("a date such as `2026-05-15`", value)
    if not _DATE.fullmatch(value):
        raise CastError("expected a date such as `2026-05-15`, found another spelling")
    try:
        return date.fromisoformat(value)
    except ValueError as error:
        raise CastError("no such day in the calendar") from error


def _cast_timestamptz(value: Json) -> datetime:
    if not isinstance(value, str):
        advice = "add the normalizer `epoch_seconds` or `epoch_milliseconds`"
        raise _build_kind_error("a timestamp such as `2026-05-15T18:52:36Z`", value, number=advice)
    match = _TIMESTAMP.fullmatch(value)
    if not match:
        raise CastError("expected a timestamp with its offset such as `2026-05-15T18:52:36Z`, found another spelling")
    try:
        return _parse_instant(*match.groups()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise CastError("no such moment in the calendar") from error


def _parse_instant(day: str, clock: str, seconds: str, fraction: str | None, offset: str) -> datetime:
    """Build the timestamp, rounded to the microsecond as Postgres does; a leap second becomes the next second."""
    if int(seconds) > 60:
        raise ValueError(seconds)
    micros = round(Decimal(f"{seconds}.{fraction or '0'}") * 1_000_000)
    return datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=_parse_offset(offset)) + timedelta(
        microseconds=micros
    )


def _parse_offset(offset: str) -> timezone:
    if offset in "Zz":
        return UTC
    hours, minutes = int(offset[1:3]), int(offset[4:6])
    if hours > 23 or minutes > 59:
        raise ValueError(offset)
    span = timedelta(hours=hours, minutes=minutes)
    return timezone(-span if offset[0] == "-" else span)


def _cast_uuid(value: Json) -> str:
    if not isinstance(value, str):
        raise _build_kind_error("a UUID", value)
    if not _UUID.fullmatch(value):
        raise CastError("expected a UUID such as `0921f10b-890b-47ab-8ceb-b1986df51cbb`, found another spelling")
    return value.lower()


def _cast_text_array(value: Json) -> list[str]:
    if not isinstance(value, list):
        raise _build_kind_error("an array of strings", value, string="add the normalizer `list` to wrap a single value")
    return [_cast_element(index, element) for index, element in enumerate(value)]


def _cast_element(index: int, element: Json) -> str:
    if not isinstance(element, str):
        raise CastError(f"expected an array of strings, found {_ARTICLES[json_kind(element)]} at [{index}]")
    return _check_text(element)


def _read_decimal(value: Json, expected: str) -> Decimal:
    """Return the number exactly as written. Raises CastError when `value` is not a JSON number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _build_kind_error(expected, value, string="add the normalizer `number` to read it from a string")
    try:
        return Decimal(write_number(value))
    except ArithmeticError as error:  # NaN, which is written `null`, or an exponent too large for Decimal
        raise CastError(f"expected {expected}, found one that cannot be held") from error


def _check_text(text: str) -> str:
    if text.isascii() and "\0" not in text:
        return text  # true of nearly every text; the full check is slow
    try:
        check_storable(text)
    except ExactError as error:
        raise CastError(str(error).removesuffix(" at `$`").rstrip(",")) from error
    return text


def name_kinds(kinds: Iterable[JsonKind]) -> str:
    """Return JSON types as a phrase for messages, such as `a number or a string`."""
    return " or ".join(_ARTICLES[kind] for kind in JsonKind if kind in set(kinds))


_ARTICLES = {
    "null": "null",
    "boolean": "true or false",
    "number": "a number",
    "string": "a string",
    "array": "an array",
    "object": "an object",
}


def _build_kind_error(expected: str, value: Json, **advice: str) -> CastError:
    """Build the error for a value of the wrong JSON type. `advice` maps a JSON type to a hint."""
    kind = json_kind(value)
    return CastError(f"expected {expected}, found {_ARTICLES.get(kind, kind)}", hint=advice.get(kind, ""))


_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIMESTAMP = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}):([0-9]{2})(?:\.([0-9]{1,30}))?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def _build_type(
    name: str, annotation: str, takes: str, schema: Mapping[str, Any], cast: Callable[[Json], Any]
) -> ColumnType:
    kinds = frozenset(map(JsonKind, takes.split()))
    return ColumnType(name=name, sql=name, annotation=annotation, json_schema=schema, takes=kinds, cast=cast)


_STRINGS = {"type": "array", "items": {"type": "string"}}
_COLUMN_TYPES = (
    _build_type("text", "str", "string", {"type": "string"}, _cast_text),
    _build_type("jsonb", "Any", "boolean number string array object", {}, _cast_jsonb),
    _build_type("boolean", "bool", "boolean", {"type": "boolean"}, _cast_boolean),
    _build_type(
        "integer",
        "int",
        "number",
        {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
        _build_integer_cast(32),
    ),
    _build_type(
        "bigint",
        "int",
        "number",
        {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
        _build_integer_cast(64),
    ),
    _build_type("numeric", "int | float", "number", {"type": "number"}, _cast_numeric),
    _build_type("double precision", "float", "number", {"type": "number"}, _cast_double),
    _build_type("date", "str", "string", {"type": "string", "format": "date"}, _cast_date),
    _build_type("timestamptz", "str", "string", {"type": "string", "format": "date-time"}, _cast_timestamptz),
    _build_type("uuid", "str", "string", {"type": "string", "format": "uuid"}, _cast_uuid),
    _build_type("text[]", "list[str]", "array", _STRINGS, _cast_text_array),
)

TYPES: Mapping[str, ColumnType] = MappingProxyType({row.name: row for row in _COLUMN_TYPES})
