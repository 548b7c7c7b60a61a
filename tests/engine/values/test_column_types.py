"""Casts take what a column can hold exactly, and refuse the rest without guessing."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.values.column_types import TYPES, CastError, is_missing, shorten_json
from engine.values.exact_json import Json, dumps, json_kind, loads
from tests.conftest import count_examples

NAMES = [
    "text",
    "jsonb",
    "boolean",
    "integer",
    "bigint",
    "numeric",
    "double precision",
    "date",
    "timestamptz",
    "uuid",
    "text[]",
]
UUID = "0921f10b-890b-47ab-8ceb-b1986df51cbb"

# type, JSON, the value sent to Postgres
TAKEN: list[tuple[str, str, Any]] = [
    ("text", '"a"', "a"),
    ("text", '" a "', " a "),
    ("text", '"\\u2028😀"', "\u2028😀"),
    ("jsonb", '"a report"', '"a report"'),
    ("jsonb", '""', '""'),
    ("jsonb", "[1.10,1e400,null]", "[1.10,1e400,null]"),
    ("jsonb", '{"b":1,"a":-0.0}', '{"b":1,"a":-0.0}'),
    ("jsonb", "false", "false"),
    ("boolean", "true", True),
    ("boolean", "false", False),
    ("integer", "0", 0),
    ("integer", "-0", 0),
    ("integer", "3.0", 3),
    ("integer", "1E5", 100000),
    ("integer", "2147483647", 2147483647),
    ("integer", "-2147483648", -2147483648),
    ("bigint", "9223372036854775807", 9223372036854775807),
    ("bigint", "9007199254740993.0", 9007199254740993),
    ("bigint", "-9.223372036854775808e18", -9223372036854775808),
    ("numeric", "1.10", Decimal("1.10")),
    ("numeric", "5", Decimal(5)),
    ("numeric", "1e400", Decimal("1e400")),
    ("numeric", "0.1234567890123456789012345678901234567890", Decimal("0.1234567890123456789012345678901234567890")),
    ("double precision", "1.10", 1.1),
    ("double precision", "-0.0", 0.0),
    ("double precision", "12345678901234567890", 1.2345678901234567e19),
    ("double precision", "5e-324", 5e-324),
    ("date", '"2026-05-15"', date(2026, 5, 15)),
    ("date", '"2024-02-29"', date(2024, 2, 29)),
    ("timestamptz", '"2026-05-15T18:52:36Z"', datetime(2026, 5, 15, 18, 52, 36, tzinfo=UTC)),
    ("timestamptz", '"2026-05-15t18:52:36z"', datetime(2026, 5, 15, 18, 52, 36, tzinfo=UTC)),
    ("timestamptz", '"2026-08-18 01:01:08+00:00"', datetime(2026, 8, 18, 1, 1, 8, tzinfo=UTC)),
    ("timestamptz", '"2026-08-18T01:01:08.5+05:30"', datetime(2026, 8, 17, 19, 31, 8, 500000, tzinfo=UTC)),
    ("timestamptz", '"2026-08-18T01:01:08-23:59"', datetime(2026, 8, 19, 1, 0, 8, tzinfo=UTC)),
    ("timestamptz", '"2026-08-18T01:01:08.123456789Z"', datetime(2026, 8, 18, 1, 1, 8, 123457, tzinfo=UTC)),
    ("timestamptz", '"2026-12-31T23:59:59.9999999Z"', datetime(2027, 1, 1, tzinfo=UTC)),
    ("timestamptz", '"2016-12-31T23:59:60Z"', datetime(2017, 1, 1, tzinfo=UTC)),
    ("uuid", f'"{UUID}"', UUID),
    ("uuid", f'"{UUID.upper()}"', UUID),
    ("text[]", "[]", []),
    ("text[]", '["a",""," b "]', ["a", "", " b "]),
]

# type, JSON, part of the message
REFUSED: list[tuple[str, str, str]] = [
    ("text", "5", "expected a string, found a number"),
    ("text", "true", "expected a string, found true or false"),
    ("text", '["a"]', "expected a string, found an array"),
    ("text", '{"a":1}', "expected a string, found an object"),
    ("text", '"a\\u0000b"', "a NUL character (\\u0000), which Postgres cannot store"),
    ("text", '"\\ud83d"', "a lone surrogate"),
    ("jsonb", '{"a":[1,"\\u0000"]}', "at `$.a[1]`"),
    ("jsonb", '{"a":1e200000}', "numeric` holds at `$.a`"),
    ("boolean", '"true"', "expected true or false, found a string"),
    ("boolean", "1", "expected true or false, found a number"),
    ("boolean", "0", "expected true or false, found a number"),
    ("integer", "3.5", "found one with decimals"),
    ("integer", "1e-400", "found one with decimals"),
    ("integer", "2147483648", "of 32 bits, found a larger one"),
    ("integer", "-2147483649", "of 32 bits, found a larger one"),
    ("integer", "1e400", "of 32 bits, found a larger one"),
    ("integer", "9" * 5000, "of 32 bits, found a larger one"),
    ("integer", "1e99999999999999999999", "cannot be held"),
    ("integer", '"3"', "expected a whole number, found a string"),
    ("integer", '"1,200"', "expected a whole number, found a string"),
    ("integer", "true", "expected a whole number, found true or false"),
    ("bigint", "9223372036854775808", "of 64 bits, found a larger one"),
    ("bigint", '""', "expected a whole number, found a string"),
    ("double precision", "1e400", "beyond what `double precision` holds"),
    ("double precision", "-1e400", "beyond what `double precision` holds"),
    ("double precision", "1e-400", "beyond what `double precision` holds"),
    ("double precision", '"1.10"', "expected a number, found a string"),
    ("numeric", '"1.10"', "expected a number, found a string"),
    ("numeric", '"$55.6 billion"', "expected a number, found a string"),
    ("numeric", "true", "expected a number, found true or false"),
    ("numeric", "1e131072", "beyond what Postgres' `numeric` holds"),
    ("numeric", "1e-16384", "beyond what Postgres' `numeric` holds"),
    ("date", '"2026-02-30"', "no such day"),
    ("date", '"0000-01-01"', "no such day"),
    ("date", '"20260515"', "found another spelling"),
    ("date", '"2026-W20-5"', "found another spelling"),
    ("date", '"15.05.2026"', "found another spelling"),
    ("date", '"2026-05-15T00:00:00Z"', "found another spelling"),
    ("date", '"2026-05-15\\n"', "found another spelling"),
    ("date", '"٢٠٢٦-05-15"', "found another spelling"),
    ("date", '"10-1945"', "found another spelling"),
    ("date", "20260515", "found a number"),
    ("timestamptz", '"2026-05-15T18:52:36"', "found another spelling"),
    ("timestamptz", '"2026-05-15"', "found another spelling"),
    ("timestamptz", '"2026-05-15T18:52Z"', "found another spelling"),
    ("timestamptz", '"2026-05-15T18:52:36 Europe/Berlin"', "found another spelling"),
    ("timestamptz", '"2026-05-15T18:52:36+0200"', "found another spelling"),
    ("timestamptz", '"2026-05-15T24:00:00Z"', "no such moment"),
    ("timestamptz", '"2026-05-15T18:52:61Z"', "no such moment"),
    ("timestamptz", '"2026-05-15T18:52:36+24:00"', "no such moment"),
    ("timestamptz", '"2026-05-15T18:52:36+00:60"', "no such moment"),
    ("timestamptz", '"0001-01-01T00:00:00+01:00"', "no such moment"),
    ("timestamptz", "1718060500", "found a number"),
    ("uuid", '"0921f10b890b47ab8cebb1986df51cbb"', "found another spelling"),
    ("uuid", f'"{{{UUID}}}"', "found another spelling"),
    ("uuid", '"urn:uuid:0921f10b-890b-47ab-8ceb-b1986df51cbb"', "found another spelling"),
    ("uuid", "5", "expected a UUID, found a number"),
    ("text[]", '"a"', "expected an array of strings, found a string"),
    ("text[]", '["a",null]', "expected an array of strings, found null at [1]"),
    ("text[]", '[["a"]]', "expected an array of strings, found an array at [0]"),
    ("text[]", "[1]", "expected an array of strings, found a number at [0]"),
    ("text[]", '["a","\\u0000"]', "a NUL character"),
    ("text[]", '{"a":"b"}', "expected an array of strings, found an object"),
]


def test_the_types_are_those_of_the_format() -> None:
    assert list(TYPES) == NAMES
    assert all(TYPES[name].name == name for name in NAMES)


@pytest.mark.parametrize(("name", "text", "expected"), TAKEN)
def test_a_value_the_column_can_hold_is_taken(name: str, text: str, expected: Any) -> None:
    value = TYPES[name].cast(loads(text))
    assert (type(value), value) == (type(expected), expected)


@pytest.mark.parametrize(("name", "text", "sentence"), REFUSED, ids=lambda part: str(part)[:30])
def test_a_value_the_column_cannot_hold_is_refused(name: str, text: str, sentence: str) -> None:
    with pytest.raises(CastError) as caught:
        TYPES[name].cast(loads(text))
    assert sentence in str(caught.value)
    assert not str(caught.value).endswith((".", ","))


@pytest.mark.parametrize(
    ("name", "text", "normalizer"),
    [
        ("text", "5", "text"),
        ("integer", '"5"', "number"),
        ("numeric", '"5"', "number"),
        ("timestamptz", "5", "epoch_seconds"),
        ("text[]", '"a"', "list"),
    ],
)
def test_a_refusal_names_the_normalizer_that_helps(name: str, text: str, normalizer: str) -> None:
    with pytest.raises(CastError) as caught:
        TYPES[name].cast(loads(text))
    assert f"`{normalizer}`" in caught.value.hint


_VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text() | st.datetimes(timezones=st.just(UTC)).map(str),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@pytest.mark.law
@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=count_examples(40, 1000))
@given(value=_VALUES)
@example(value=float("nan"))
@example(value=float("inf"))
def test_a_cast_either_answers_or_raises_cast_error(name: str, value: Json) -> None:
    try:
        TYPES[name].cast(value)
    except CastError:
        return
    assert json_kind(value) in TYPES[name].takes


@pytest.mark.law
@settings(deadline=None, max_examples=count_examples(40, 1000))
@given(moment=st.datetimes(timezones=st.timezones()))
def test_a_moment_is_the_same_in_every_zone(moment: datetime) -> None:
    try:
        expected = moment.astimezone(UTC)
    except OverflowError:
        return
    if moment.utcoffset().total_seconds() % 60:  # type: ignore[union-attr]
        return  # local mean time of long ago: RFC 3339 cannot write it
    for separator in "T ":
        assert TYPES["timestamptz"].cast(moment.isoformat(separator)) == expected


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("null", True),
        ('""', None),
        ('" \\t\\n\\u00a0"', None),
        ('"a"', False),
        ("0", False),
        ("false", False),
        ("[]", False),
        ("{}", False),
    ],
)
def test_what_is_missing(name: str, text: str, expected: bool | None) -> None:
    """Null is missing everywhere, a blank string in a text column only; nothing else is."""
    wanted = name == "text" if expected is None else expected
    assert is_missing(loads(text), TYPES[name]) is wanted


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "null"),
        ("a", '"a"'),
        ("x" * 78, '"' + "x" * 78 + '"'),
        ("x" * 79, '"' + "x" * 78 + "…"),
        ("x" * 10_000_000, '"' + "x" * 78 + "…"),
        (loads('{"a":[1.10,null,true]}'), '{"a":[1.10,null,true]}'),
        (list(range(1000)), "[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,2…"),
        ("\0\n\ud800", '"\\u0000\\n\\ud800"'),
        ({"\ud800": 1}, '{"\\ud800":1}'),
    ],
    ids=lambda part: repr(part)[:20],
)
def test_shorten(value: Json, expected: str) -> None:
    assert shorten_json(value) == expected
    assert len(expected) <= 80


@pytest.mark.law
@settings(deadline=None, max_examples=count_examples(40, 1000))
@given(value=_VALUES)
def test_what_was_shortened_can_be_stored(value: Json) -> None:
    short = shorten_json(value)
    assert len(short) <= 80
    dumps(short)


def test_schemas_and_annotations_speak_of_the_same_values() -> None:
    words = {"string": "str", "boolean": "bool", "integer": "int", "number": "int | float", "array": "list[str]"}
    for column in TYPES.values():
        wanted = "float" if column.name == "double precision" else words.get(column.json_schema.get("type", ""), "Any")
        assert column.annotation == wanted
        assert column.sql == column.name
