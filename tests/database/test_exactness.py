"""What the casts, `dumps` and `jsonb_order` say of Postgres is what Postgres does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.values.column_types import TYPES
from engine.values.exact_json import ExactError, dumps, loads, sort_keys_like_jsonb
from tests.conftest import create_database

Connection = psycopg.Connection[tuple[Any, ...]]

LIMITS = [
    "1e131071",
    "1e131072",
    "-1e131072",
    "9" * 131072,
    "9" * 131073,
    "1e-16383",
    "1e-16384",
    "12e-16384",
    "100e-16385",
    "1.5e-16382",
    "0.1e131072",
    "10e131071",
    "0e200000",
    "0e-16384",
    "1." + "0" * 16383,
    "1." + "0" * 16384,
    "1e2147483647",
    "1e99999999999999999999",
]


@pytest.fixture(scope="module")
def empty_database(server_dsn: str) -> Iterator[str]:
    with create_database(server_dsn, "template0") as dsn:
        yield dsn


@pytest.fixture
def connection(empty_database: str) -> Iterator[Connection]:
    with psycopg.connect(empty_database, autocommit=True) as connection:
        yield connection


def _stored(connection: Connection, name: str, text: str) -> tuple[bool, Any]:
    """Whether the value Postgres holds equals the one that was sent, and how Postgres shows it."""
    value = TYPES[name].cast(loads(text))
    kind = TYPES[name].sql
    connection.execute(f"drop table if exists stored; create temporary table stored (value {kind})")
    connection.execute(f"insert into stored values (%s::{kind})", [value])  # type: ignore[arg-type]
    query = f"select value is not distinct from %s::{kind}, to_jsonb(value)::text from stored"
    found = connection.execute(query, [value]).fetchone()  # type: ignore[arg-type]
    assert found is not None
    return found[0], found[1]


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("text", '" a\\u2028😀 "', '" a\u2028😀 "'),
        ("jsonb", '{"b":1.10,"a":123456789012345678901234567890}', '{"a": 123456789012345678901234567890, "b": 1.10}'),
        ("jsonb", '"a report"', '"a report"'),
        ("jsonb", "1e400", "1" + "0" * 400),
        ("jsonb", "-0.0", "0.0"),
        ("boolean", "false", "false"),
        ("integer", "-2147483648", "-2147483648"),
        ("integer", "1E5", "100000"),
        ("bigint", "9223372036854775807", "9223372036854775807"),
        ("numeric", "1.10", "1.10"),
        ("numeric", "1e400", "1" + "0" * 400),
        ("numeric", "-0.0", "0.0"),
        ("numeric", "1e-16383", "0." + "0" * 16382 + "1"),
        ("date", '"2024-02-29"', '"2024-02-29"'),
        ("timestamptz", '"2026-08-18 01:01:08.123456789+05:30"', '"2026-08-17T19:31:08.123457+00:00"'),
        ("timestamptz", '"2016-12-31T23:59:60-23:59"', '"2017-01-01T23:59:00+00:00"'),
        ("timestamptz", '"0001-01-01T00:00:00Z"', '"0001-01-01T00:00:00+00:00"'),
        ("timestamptz", '"9999-12-31T23:59:59Z"', '"9999-12-31T23:59:59+00:00"'),
        ("uuid", '"0921F10B-890b-47ab-8ceb-b1986df51cbb"', '"0921f10b-890b-47ab-8ceb-b1986df51cbb"'),
        ("text[]", '["a",""," b ","null","{\\"}"]', '["a", "", " b ", "null", "{\\"}"]'),
        ("text[]", "[]", "[]"),
    ],
    ids=lambda part: part[:30],
)
def test_what_was_cast_is_what_is_stored(connection: Connection, name: str, text: str, shown: str) -> None:
    connection.execute("set timezone to 'UTC'")
    assert _stored(connection, name, text) == (True, shown)


def test_numbers_are_refused_where_postgres_refuses_them(connection: Connection) -> None:
    for text in LIMITS:
        assert _dumpable(text) is _takes(connection, text), text[:40]


def _dumpable(text: str) -> bool:
    try:
        return dumps(loads(text)).decode() == text
    except ExactError:
        return False


def _takes(connection: Connection, text: str) -> bool:
    try:
        connection.execute("select %s::jsonb", [text])
    except psycopg.DataError:
        return False
    return True


@pytest.mark.parametrize("text", ['"a\\u0000"', '{"a\\u0000":1}', '"\\ud800"', '["\\udc00\\ud800"]'])
def test_strings_are_refused_where_postgres_refuses_them(connection: Connection, text: str) -> None:
    assert not _takes(connection, text)
    assert not _dumpable(text)


_KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4)
_OBJECTS = st.recursive(
    st.none(), lambda inner: st.dictionaries(_KEYS, inner, max_size=6) | st.lists(inner, max_size=2), max_leaves=20
)


def _pairs(text: str) -> Any:
    """The document with every object as its pairs, in the order they are written."""
    return json.loads(text, object_pairs_hook=lambda pairs: ["object", *pairs])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=_OBJECTS)
def test_jsonb_order_is_the_order_of_jsonb(connection: Connection, value: Any) -> None:
    found = connection.execute("select %s::jsonb::text", [json.dumps(value)]).fetchone()
    assert found is not None
    assert _pairs(dumps(sort_keys_like_jsonb(value)).decode()) == _pairs(found[0])
