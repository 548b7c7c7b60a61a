"""JSON to Python and back with every number as it was written.

In: JSON text, or values made of None, bool, int, float, str, list and dict. Out: the same values, or JSON bytes that
`jsonb` takes: no NaN, no NUL, no lone surrogate, no number beyond Postgres' numeric.
Must not know: columns, specs, the database.

`1.10`, `1E5`, `-0` or an integer of thirty digits lose their text in a builtin float or int. They become an
`ExactFloat` or `ExactInt`, which computes like the builtin and carries the text along. Documents nest as deep as their
author likes, so everything that walks one keeps its own stack.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn, TypeAlias, TypeVar

import orjson

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Trail: TypeAlias = "tuple[Trail | None, str | int] | None"  # the way to a part, last step first


class ExactError(ValueError):
    """JSON that cannot be read, or a value that `jsonb` cannot hold; the message names the place."""


class ExactFloat(float):
    """A float with the text it was written as. Its value is infinite where a double overflows (`1e400`)."""

    text: str

    def __repr__(self) -> str:
        return self.text


class ExactInt(int):
    """An int with the text it was written as: `-0`, or beyond 64 bit."""

    text: str

    def __repr__(self) -> str:
        return self.text


# JMESPath decides what a value is by `type(value).__name__`. Pickle looks at `__qualname__`, which stays.
ExactFloat.__name__ = "float"
ExactInt.__name__ = "int"

_Exact = TypeVar("_Exact", ExactFloat, ExactInt)
_OPTIONS = orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
_MOST_INT_DIGITS = 640  # up to here Python reads an int whatever `sys.set_int_max_str_digits` says
_SURROGATE = re.compile("[\ud800-\udfff]")
_KINDS: tuple[tuple[Any, str], ...] = (
    (type(None), "null"),
    (bool, "boolean"),
    (int | float, "number"),
    (str, "string"),
    (list | tuple, "array"),
    (dict, "object"),
)


def loads(text: str | bytes) -> Json:
    """Read JSON, keeping the text of every number; of repeated keys the last wins, as in `jsonb`.

    Raises ExactError for what is not JSON, NaN and Infinity included.
    """
    try:
        source = text if isinstance(text, str) else text.decode()
        value: Json = _DECODER.decode(source.removeprefix("\ufeff"))
    except json.JSONDecodeError as error:
        sentence = error.msg[:1].lower() + error.msg[1:]
        raise ExactError(f"not JSON: {sentence} at line {error.lineno} column {error.colno}") from error
    except UnicodeDecodeError as error:
        raise ExactError(f"not JSON: byte {error.start} is not UTF-8") from error
    except RecursionError as error:
        raise ExactError("arrays and objects are nested too deeply to be read") from error
    return value


def dumps(value: Json) -> bytes:
    """Write JSON, each number in the text it was read with.

    Raises ExactError naming the path (`$.a[3].b`) of the first thing that `jsonb` cannot hold.
    """
    try:
        body = orjson.dumps(value, default=_fragment, option=_OPTIONS)
    except orjson.JSONEncodeError:
        check(value)
        return "".join(chunks(value)).encode()  # nested deeper, or an int longer, than orjson goes
    # orjson writes NaN as null without a word, and NUL as an escape that Postgres refuses.
    if b"\\u0000" in body or (b"null" in body and not _finite(value)):
        check(value)
    return body


def check(value: Json) -> None:
    """Raise ExactError for the first part of `value` that `jsonb` cannot hold."""
    for trail, part in _parts(value):
        kind = type(part)
        if kind is str:
            fault = _text_fault(part)
        elif kind is bool or part is None:
            continue
        elif isinstance(part, int | float):
            fault = _number_fault(part)
        else:
            fault = f"a Python `{kind.__name__}` is no JSON value"
        if fault:
            raise ExactError(f"{fault} at `{_path(trail)}`")


def number(text: str) -> int | float:
    """Return the number that a JSON number text stands for. Raises ValueError for anything else."""
    return _integer(text) if text.removeprefix("-").isdecimal() else _real(text)


def number_text(value: float) -> str:
    """Return the JSON text of a number (an int is a float, to the type checker): as it was read, else the shortest."""
    if isinstance(value, ExactFloat | ExactInt):
        return value.text
    if isinstance(value, int):
        return int.__repr__(value) if abs(value) < 2**64 else str(Decimal(value))
    return orjson.dumps(value).decode()


def kind(value: object) -> str:
    """Return the JSON name of what `value` is: null, boolean, number, string, array or object."""
    return next((name for types, name in _KINDS if isinstance(value, types)), type(value).__name__)


def jsonb_order(value: Json) -> Json:
    """Return `value` with the keys of every object in the order `jsonb` keeps: by UTF-8 length, then by bytes."""
    orders: dict[tuple[str, ...], list[str]] = {}  # objects of one document mostly have the same few shapes
    holder: list[Any] = [value]
    stack: list[Any] = [holder]
    while stack:
        part = stack.pop()
        places: Iterable[tuple[Any, Any]] = part.items() if type(part) is dict else enumerate(part)
        for place, child in places:
            kind = type(child)
            if kind is dict:
                keys = tuple(child)
                order = orders.get(keys) or orders.setdefault(keys, _in_order(keys))
                part[place] = copy = {key: child[key] for key in order}
                stack.append(copy)
            elif kind is list:
                part[place] = copy = child.copy()
                stack.append(copy)
    ordered: Json = holder[0]
    return ordered


def as_stored(value: Json) -> Json:
    """Return `value` as `jsonb` gives it back: keys in its order, numbers without exponent and zero without a sign."""
    holder: list[Any] = [jsonb_order(value)]
    stack: list[Any] = [holder]
    while stack:
        part = stack.pop()
        places: Iterable[tuple[Any, Any]] = part.items() if type(part) is dict else enumerate(part)
        for place, child in places:
            if type(child) is dict or type(child) is list:
                stack.append(child)
            elif isinstance(child, int | float) and not isinstance(child, bool):
                part[place] = number(_plain_text(child))
    stored: Json = holder[0]
    return stored


def chunks(value: Json) -> Iterator[str]:
    """Write JSON in pieces: for values too deep for orjson, or too long to be written whole."""
    stack: list[Any] = [value]
    while stack:
        part = stack.pop()
        if isinstance(part, _Mark):
            yield part
        elif isinstance(part, dict | list | tuple):
            stack.extend(_pieces(part))
        elif isinstance(part, str):
            yield json.dumps(part, ensure_ascii=False)
        elif isinstance(part, bool) or part is None:
            yield {True: "true", False: "false", None: "null"}[part]
        else:
            yield number_text(part)


class _Mark(str):
    """Punctuation and keys, as opposed to strings of the document."""

    __slots__ = ()


def _pieces(part: dict[str, Json] | list[Json] | tuple[Json, ...]) -> list[Any]:
    """Return what to write for a container, last piece first, as a stack wants it."""
    pieces: list[Any] = []
    if isinstance(part, dict):
        for key, child in part.items():
            if not isinstance(key, str):
                raise ExactError(f"the object key {key!r} is no string")
            pieces += (_Mark(","), _Mark(json.dumps(key, ensure_ascii=False) + ":"), child)
        return [_Mark("}"), *reversed(pieces[1:]), _Mark("{")]
    for child in part:
        pieces += (_Mark(","), child)
    return [_Mark("]"), *reversed(pieces[1:]), _Mark("[")]


def _real(text: str) -> float:
    value = float(text)
    return value if orjson.dumps(value) == text.encode() else _carry(ExactFloat(value), text)


def _integer(text: str) -> int | float:
    if len(text) < 19 and text != "-0":
        return int(text)
    if len(text) > _MOST_INT_DIGITS:  # an int of a million digits would take minutes to read
        return _carry(ExactFloat(-math.inf if text[0] == "-" else math.inf), text)
    value = int(text)
    return value if -(2**63) <= value < 2**64 and text != "-0" else _carry(ExactInt(value), text)


def _carry(value: _Exact, text: str) -> _Exact:
    value.text = text
    return value


def _refuse_constant(text: str) -> NoReturn:
    raise ExactError(f"not JSON: `{text}` is not a JSON number")


_DECODER = json.JSONDecoder(parse_float=_real, parse_int=_integer, parse_constant=_refuse_constant)


def _fragment(value: object) -> orjson.Fragment:
    """Write the numbers that carry their text; orjson does the rest."""
    if isinstance(value, ExactFloat | ExactInt) and _fits_numeric(value.text):
        return orjson.Fragment(value.text)
    raise TypeError  # `dumps` then finds the place and the reason


def _plain_text(value: float) -> str:
    """A number as `numeric` prints it; one it cannot hold, as it was read."""
    text = number_text(value)
    if not ("e" in text or "E" in text or text.startswith("-0")) or not _fits_numeric(text):
        return text
    plain = format(Decimal(text), "f")
    return plain if Decimal(text) else plain.removeprefix("-")


def _fits_numeric(text: str) -> bool:
    """Whether Postgres' numeric holds it: 131072 digits before the point, 16383 after it."""
    if len(text) < 40 and "e" not in text and "E" not in text:
        return True
    try:
        value = Decimal(text)
    except InvalidOperation:
        return False
    exponent = value.as_tuple().exponent
    return isinstance(exponent, int) and -16383 <= exponent < 10**9 and (not value or value.adjusted() < 131072)


def _number_fault(value: float) -> str:
    if not isinstance(value, ExactFloat) and not isinstance(value, int) and not math.isfinite(value):
        return f"{value} is no JSON number"
    return "" if _fits_numeric(number_text(value)) else "a number beyond what Postgres' `numeric` holds"


def _finite(value: Json) -> bool:
    """Whether no builtin float in `value` is NaN or infinite; written for speed, since every document passes here."""
    stack: list[Any] = [[value]]
    while stack:
        part = stack.pop()
        for child in part.values() if isinstance(part, dict) else part:
            kind = type(child)
            if kind is str:
                continue
            if kind is dict or kind is list or kind is tuple:
                stack.append(child)
            elif kind is float and not math.isfinite(child):
                return False
    return True


def _text_fault(text: str) -> str:
    if "\0" in text:
        return "a NUL character (\\u0000), which Postgres cannot store,"
    return "a lone surrogate, which is no character and has no UTF-8 form," if _SURROGATE.search(text) else ""


def _parts(value: Json) -> Iterator[tuple[Trail, Any]]:
    """Yield every scalar and every key below `value`, with the way to it."""
    stack: list[tuple[Trail, Any]] = [(None, value)]
    while stack:
        trail, part = stack.pop()
        if isinstance(part, dict):
            stack.extend(((trail, key), part[key]) for key in reversed(part))
            yield from (((trail, key), key) for key in part)
        elif isinstance(part, list | tuple):
            stack.extend(((trail, index), part[index]) for index in reversed(range(len(part))))
        else:
            yield trail, part


def _path(trail: Trail) -> str:
    steps: list[str] = []
    while trail is not None:
        trail, step = trail
        plain = isinstance(step, str) and step.isidentifier() and step.isascii()
        steps.append(f".{step}" if plain else f"[{json.dumps(step)}]")
    return "$" + "".join(reversed(steps))


def _in_order(keys: Iterable[str]) -> list[str]:
    # The order of code points is the order of UTF-8 bytes; only the length differs.
    length = len if "".join(keys).isascii() else _utf8_length
    return sorted(sorted(keys), key=length)


def _utf8_length(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
