"""JSON keeps its numbers, and what `jsonb` cannot hold is refused by name."""

from __future__ import annotations

import copy
import json
import math
import pickle
import sys
from typing import Any

import jmespath
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.values import exact_json
from engine.values.exact_json import ExactError, Json, dumps, json_kind, loads, sort_keys_like_jsonb, write_number
from tests.conftest import count_examples

NUMBERS = [
    "0",
    "-0",
    "-0.0",
    "0.0",
    "1.10",
    "0.1",
    "1E5",
    "1e5",
    "1e+5",
    "1e-7",
    "1e16",
    "1e+16",
    "1e400",
    "-1e400",
    "1e-400",
    "9007199254740993",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "18446744073709551616",
    "123456789012345678901234567890",
    "0.1234567890123456789012345678901234567890",
    "1" + "0" * 639,
    "9" * 5000,
    "-" + "9" * 5000,
    "1e131071",
    "1e-16383",
]
_numbers = st.from_regex(r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
_strings = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
_leaves = _numbers | _strings.map(json.dumps) | st.sampled_from(["null", "true", "false"])
#: JSON texts without white space, each number in any spelling JSON has.
_texts = st.recursive(
    _leaves,
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda parts: f"[{','.join(parts)}]")
        | st.dictionaries(_strings, inner, max_size=4).map(
            lambda parts: "{" + ",".join(f"{json.dumps(key)}:{value}" for key, value in parts.items()) + "}"
        )
    ),
)


@pytest.mark.parametrize("text", NUMBERS, ids=lambda text: text[:24])
def test_a_number_keeps_its_text(text: str) -> None:
    for written in (text, f"[{text}]", f'{{"a":{text}}}'):
        assert dumps(loads(written)).decode() == written
        assert dumps(loads(written.encode())).decode() == written
    assert write_number(loads(text)) == text  # type: ignore[arg-type]


@pytest.mark.parametrize("text", NUMBERS, ids=lambda text: text[:24])
def test_a_number_survives_copies_and_other_processes(text: str) -> None:
    value = loads(text)
    assert dumps(pickle.loads(pickle.dumps(value))) == dumps(copy.deepcopy(value)) == text.encode()


@pytest.mark.parametrize("text", NUMBERS, ids=lambda text: text[:24])
def test_a_number_is_a_number_to_jmespath(text: str) -> None:
    value = loads(text)
    assert type(value).__name__ in ("int", "float")
    assert jmespath.search("type(@)", value) == "number"
    assert jmespath.search("[?@ >= `0`]", [value]) == ([value] if value >= 0 else [])  # type: ignore[operator]


@pytest.mark.parametrize("text", ["0", "-5", "9007199254740993", "0.1", "-2.5", "1718060500.123"])
def test_a_number_that_keeps_its_text_anyway_is_a_builtin(text: str) -> None:
    assert type(loads(text)) in (int, float)
    assert type(loads(text)).__module__ == "builtins"


@pytest.mark.law
@settings(deadline=None, max_examples=count_examples(40, 1000))
@given(text=_texts)
@example(text='{"a":1.10,"b":[1e400,{"c":-0}]}')
def test_what_was_read_is_written_back(text: str) -> None:
    value = loads(text)
    assert json.loads(dumps(value), parse_float=str, parse_int=str) == json.loads(text, parse_float=str, parse_int=str)
    assert value == json.loads(text)  # every number computes as the builtin does


@pytest.mark.law
@settings(deadline=None, max_examples=count_examples(40, 1000))
@given(text=_texts)
def test_the_slow_way_of_writing_says_the_same(text: str) -> None:
    value = loads(text)
    slow = "".join(exact_json.write_chunks(value))
    assert json.loads(slow, parse_float=str, parse_int=str) == json.loads(text, parse_float=str, parse_int=str)


def test_of_repeated_keys_the_last_wins() -> None:
    assert loads('{"a": 1, "b": 2, "a": 3}') == {"a": 3, "b": 2}


def test_a_byte_order_mark_is_no_part_of_the_document() -> None:
    assert loads("\ufeff[1]") == loads(b"\xef\xbb\xbf[1]") == [1]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "not JSON: expecting value at line 1 column 1"),
        ("NaN", "not JSON: `NaN` is not a JSON number"),
        ('{"a":\n [-Infinity]}', "not JSON: `-Infinity` is not a JSON number"),
        ("01", "not JSON: extra data at line 1 column 2"),
        ("1.", "not JSON: extra data at line 1 column 2"),
        ("+1", "not JSON: expecting value at line 1 column 1"),
        ("٣", "not JSON: expecting value at line 1 column 1"),
        ("{'a': 1}", "not JSON: expecting property name enclosed in double quotes at line 1 column 2"),
        ('["a\nb"]', "not JSON: invalid control character at at line 1 column 4"),
        (b'{"a": "\xff"}', "not JSON: byte 7 is not UTF-8"),
        (b'"\xed\xa0\x80"', "not JSON: byte 1 is not UTF-8"),
        ("[" * 100_000, "nested too deeply to be read"),
        ("[" * 961 + "]" * 961, "nested too deeply to be read"),
    ],
    ids=lambda text: repr(text)[:24],
)
def test_what_is_not_json_is_refused(text: str | bytes, sentence: str) -> None:
    with pytest.raises(ExactError) as caught:
        loads(text)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("a\0", "a NUL character (\\u0000), which Postgres cannot store, at `$`"),
        ({"a": [1, 2, 3, {"b": "\0"}]}, "a NUL character (\\u0000), which Postgres cannot store, at `$.a[3].b`"),
        ({"a b": [{"\0": 1}]}, 'a NUL character (\\u0000), which Postgres cannot store, at `$["a b"][0]["\\u0000"]`'),
        (["ok", "\ud800"], "a lone surrogate, which is no character and has no UTF-8 form, at `$[1]`"),
        ({"\udfff": 1}, 'a lone surrogate, which is no character and has no UTF-8 form, at `$["\\udfff"]`'),
        ({"a": math.nan}, "nan is no JSON number at `$.a`"),
        ([None, -math.inf], "-inf is no JSON number at `$[1]`"),
        (loads("[1e131072]"), "a number beyond what Postgres' `numeric` holds at `$[0]`"),
        (loads("[1e-16384]"), "a number beyond what Postgres' `numeric` holds at `$[0]`"),
        (loads("1e99999999999999999999"), "a number beyond what Postgres' `numeric` holds at `$`"),
        (loads("[" + "9" * 131073 + "]"), "a number beyond what Postgres' `numeric` holds at `$[0]`"),
        ({"a": object()}, "a Python `object` is no JSON value at `$.a`"),
        ({1: "a"}, "the object key 1 is no string"),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_what_jsonb_cannot_hold_is_refused_with_its_path(value: Any, sentence: str) -> None:
    with pytest.raises(ExactError) as caught:
        dumps(value)
    assert str(caught.value) == sentence


def test_a_backslash_before_u0000_is_no_nul() -> None:
    assert loads(dumps("\\u0000")) == "\\u0000"


def test_null_beside_carried_numbers_is_no_nan() -> None:
    assert dumps(loads('[null,1e400,"null"]')) == b'[null,1e400,"null"]'


def test_integers_that_were_computed_may_be_of_any_length() -> None:
    assert dumps({"a": [2**64, -(2**70)]}) == b'{"a":[18446744073709551616,-1180591620717411303424]}'
    assert dumps(10**5000) == b"1" + b"0" * 5000


def test_documents_nest_deeper_than_orjson_goes() -> None:
    text = '{"a":[' * 200 + "1.10" + "]}" * 200
    assert dumps(sort_keys_like_jsonb(loads(text))).decode() == text
    with pytest.raises(ExactError, match=r"NUL .* at `\$\.a\[0\]\.a"):
        dumps(loads(text.replace("1.10", '"\\u0000"')))


def test_a_value_that_is_too_deep_to_be_read_again_is_refused() -> None:
    endless: list[Any] = []
    endless.append({"a": endless})
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    for value in (endless, deep):
        with pytest.raises(ExactError, match="nested more than 900 levels deep"):
            dumps(value)


def test_what_is_written_is_read_again_however_deep_the_caller_is() -> None:
    text = b"[" * 900 + b"]" * 900

    def read(calls: int) -> Json:
        return read(calls - 1) if calls else loads(text)

    assert dumps(read(300)) == text


def test_a_million_digits_are_not_computed_with() -> None:
    limit = sys.get_int_max_str_digits()
    text = "1" * 1_000_000
    assert loads(text) == math.inf
    assert write_number(loads(text)) == text  # type: ignore[arg-type]
    assert sys.get_int_max_str_digits() == limit


def test_jsonb_order_is_by_length_in_bytes_then_by_bytes() -> None:
    value = loads('{"bb":1,"ä":{"z":1,"a":2},"b":[{"ab":1,"c":2}],"a":1.10,"":0,"Z":0,"aaa":0,"❤":0}')
    ordered = '{"":0,"Z":0,"a":1.10,"b":[{"c":2,"ab":1}],"bb":1,"ä":{"a":2,"z":1},"aaa":0,"❤":0}'
    assert dumps(sort_keys_like_jsonb(value)).decode() == ordered
    assert dumps(value).decode() != ordered  # the value given is left as it was


@pytest.mark.law
@settings(deadline=None, max_examples=count_examples(40, 1000))
@given(text=_texts)
def test_jsonb_order_changes_nothing_but_the_order(text: str) -> None:
    value = loads(text)
    ordered = sort_keys_like_jsonb(value)
    assert ordered == value
    assert dumps(sort_keys_like_jsonb(ordered)) == dumps(ordered)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("null", "null"),
        ("true", "boolean"),
        ("1.10", "number"),
        ("1", "number"),
        ('""', "string"),
        ("[]", "array"),
        ("{}", "object"),
    ],
)
def test_kind_is_the_json_name(text: str, word: str) -> None:
    assert json_kind(loads(text)) == word
