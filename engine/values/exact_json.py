"""Read and write JSON without changing a number, and refuse what `jsonb` cannot hold.

`jsonb` holds no NaN, no NUL, no lone surrogate and no number beyond Postgres's numeric. A builtin float or int would
lose the digits of `1.10`, `1E5`, `-0` or an integer of thirty digits. Such numbers become an `ExactFloat` or
`ExactInt`, which computes like the builtin and keeps the text. Documents may be nested to any depth, so functions that
walk through one use a stack instead of recursion.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from itertools import chain
from typing import Any, NoReturn, TypeAlias, TypeVar

import orjson

from engine.errors import EngineError

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Trail: TypeAlias = "tuple[Trail | None, str | int] | None"  # path to a part of a value, last step first


class JsonKind(StrEnum):
    """The JSON types."""

    NULL = "null"
    BOOLEAN = "boolean"
    NUMBER = "number"
    STRING = "string"
    ARRAY = "array"
    OBJECT = "object"


class ExactError(EngineError, ValueError):
    """JSON that cannot be read, or a value that `jsonb` cannot hold; the message has the path."""


class ExactFloat(float):
    """A float with the text that it was read from. Its value is infinite if a double overflows (`1e400`)."""

    text: str

    def __repr__(self) -> str:
        return self.text


class ExactInt(int):
    """An int with the text that it was read from: `-0`, or more than 64 bits."""

    text: str

    def __repr__(self) -> str:
        return self.text


# jmespath.py tells the type of a value by `type(value).__name__`. Pickle needs `__qualname__`, which is left alone.
ExactFloat.__name__ = "float"
ExactInt.__name__ = "int"

_Exact = TypeVar("_Exact", ExactFloat, ExactInt)
_OPTIONS = orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
_TOO_DEEP = "nested too deeply to be read"
_MOST_INT_DIGITS = 640  # the most that Python reads under every setting of `sys.set_int_max_str_digits`
_MOST_LEVELS = 900  # of arrays and objects in each other, fewer than `loads` reads
_CONTAINERS = (dict, list)  # as the decoder makes them
_MOST_READ_LEVELS = 960  # those that every version of Python reads; newer ones read some thousands
_SURROGATE = re.compile("[\ud800-\udfff]")
_KINDS: tuple[tuple[Any, JsonKind], ...] = (
    (type(None), JsonKind.NULL),
    (bool, JsonKind.BOOLEAN),
    (int | float, JsonKind.NUMBER),
    (str, JsonKind.STRING),
    (list | tuple, JsonKind.ARRAY),
    (dict, JsonKind.OBJECT),
)


def loads(text: str | bytes) -> Json:
    """Parse JSON and keep the text of every number; of repeated keys the last wins, as in `jsonb`.

    Raises ExactError when the text is not JSON (NaN and Infinity are not), or is nested too deeply.
    """
    try:
        source = text if isinstance(text, str) else text.decode()
        value = _decode(source.removeprefix("\ufeff"))
    except json.JSONDecodeError as error:
        sentence = error.msg[:1].lower() + error.msg[1:]
        raise ExactError(f"not JSON: {sentence} at line {error.lineno} column {error.colno}") from error
    except UnicodeDecodeError as error:
        raise ExactError(f"not JSON: byte {error.start} is not UTF-8") from error
    except RecursionError as error:
        raise ExactError(_TOO_DEEP) from error
    if source.count("[") + source.count("{") > _MOST_READ_LEVELS and _is_too_deep(value):
        raise ExactError(_TOO_DEEP)
    return value


def _decode(source: str) -> Json:
    """Decode JSON that is nested up to some 980 levels, however many calls the caller is in: the two share a stack."""
    try:
        value: Json = _DECODER.decode(source)
    except RecursionError:
        with ThreadPoolExecutor(1) as thread:
            value = thread.submit(_DECODER.decode, source).result()
    return value


def _is_too_deep(value: Json) -> bool:
    """Return whether a decoded value has more levels than every version of Python reads."""
    parts: list[Any] = [[value]]
    for _ in range(_MOST_READ_LEVELS + 1):
        children = chain.from_iterable([part.values() if type(part) is dict else part for part in parts])
        parts = [child for child in children if type(child) in _CONTAINERS]
        if not parts:
            return False
    return True


def dumps(value: Json, *, indent: bool = False) -> bytes:
    """Encode JSON with each number in the text that it was read from.

    Raises ExactError for the first part that `jsonb` cannot hold, with its path (`$.a[3].b`).
    """
    try:
        option = _OPTIONS | orjson.OPT_INDENT_2 if indent else _OPTIONS
        body = orjson.dumps(value, default=_write_fragment, option=option)
    except orjson.JSONEncodeError:
        check_storable(value)
        return "".join(write_chunks(value)).encode()  # orjson limits the depth and the size of ints
    # orjson silently writes NaN as null, and writes NUL as an escape that Postgres refuses.
    if b"\\u0000" in body or (b"null" in body and not _is_finite(value)):
        check_storable(value)
    return body


def check_storable(value: Json) -> None:
    """Raise ExactError for the first part of `value` that `jsonb` cannot hold."""
    for trail, part in _walk_parts(value):
        kind = type(part)
        if kind is str:
            fault = _find_text_fault(part)
        elif kind is bool or part is None:
            continue
        elif isinstance(part, int | float):
            fault = _find_number_fault(part)
        else:
            fault = f"a Python `{kind.__name__}` is no JSON value"
        if fault:
            raise ExactError(f"{fault} at `{_format_trail(trail)}`")


def parse_number(text: str) -> int | float:
    """Parse the text of one JSON number. Raises ValueError when it is not a number."""
    return _parse_integer(text) if text.removeprefix("-").isdecimal() else _parse_real(text)


def write_number(value: float) -> str:
    """Return a number as the text that it was read from, or else as the shortest text that equals it."""
    if isinstance(value, ExactFloat | ExactInt):
        return value.text
    if isinstance(value, int):
        return int.__repr__(value) if abs(value) < 2**64 else str(Decimal(value))
    return orjson.dumps(value).decode()


def json_kind(value: object) -> str:
    """Return the JsonKind of `value`; for a Python object that is not a JSON value, the name of its type."""
    return next((name for types, name in _KINDS if isinstance(value, types)), type(value).__name__)


def sort_keys_like_jsonb(value: Json) -> Json:
    """Return a copy of `value` with the keys of its objects in the order of `jsonb`: by UTF-8 length, then by bytes."""
    orders: dict[tuple[str, ...], list[str]] = {}  # a cache: a document's objects mostly have the same few sets of keys
    holder: list[Any] = [value]
    stack: list[Any] = [holder]
    while stack:
        part = stack.pop()
        places: Iterable[tuple[Any, Any]] = part.items() if type(part) is dict else enumerate(part)
        for place, child in places:
            kind = type(child)
            if kind is dict:
                keys = tuple(child)
                order = orders.get(keys) or orders.setdefault(keys, sort_keys(keys))
                part[place] = copy = {key: child[key] for key in order}
                stack.append(copy)
            elif kind is list:
                part[place] = copy = child.copy()
                stack.append(copy)
    ordered: Json = holder[0]
    return ordered


def sort_keys(keys: Iterable[str]) -> list[str]:
    """Return keys in the order of `jsonb`: by UTF-8 length, then by bytes."""
    # The order of code points is the order of UTF-8 bytes; only the length differs.
    length = len if "".join(keys).isascii() else _count_utf8_bytes
    return sorted(sorted(keys), key=length)


def convert_to_stored(value: Json) -> Json:
    """Return a copy of `value` as `jsonb` returns it: keys in its order, no exponents, and no sign of zero."""
    holder: list[Any] = [sort_keys_like_jsonb(value)]
    stack: list[Any] = [holder]
    while stack:
        part = stack.pop()
        places: Iterable[tuple[Any, Any]] = part.items() if type(part) is dict else enumerate(part)
        for place, child in places:
            if type(child) is dict or type(child) is list:
                stack.append(child)
            elif isinstance(child, int | float) and not isinstance(child, bool):
                part[place] = parse_number(_write_plain_number(child))
    stored: Json = holder[0]
    return stored


def write_chunks(value: Json) -> Iterator[str]:
    """Yield the JSON text of `value` in pieces, for values nested too deeply for orjson, and to get only its start."""
    stack: list[Any] = [value]
    while stack:
        part = stack.pop()
        if isinstance(part, _Punctuation):
            yield part
        elif isinstance(part, dict | list | tuple):
            stack.extend(_split_container(part))
        elif isinstance(part, str):
            yield json.dumps(part, ensure_ascii=False)
        elif isinstance(part, bool) or part is None:
            yield {True: "true", False: "false", None: "null"}[part]
        else:
            yield write_number(part)


class _Punctuation(str):
    """Text that is written unchanged (punctuation, keys), unlike a string of the document."""

    __slots__ = ()


def _split_container(part: dict[str, Json] | list[Json] | tuple[Json, ...]) -> list[Any]:
    """Return the pieces of a container, last one first, to be pushed on a stack."""
    pieces: list[Any] = []
    if isinstance(part, dict):
        for key, child in part.items():
            if not isinstance(key, str):
                raise ExactError(f"the object key {key!r} is no string")
            pieces += (_Punctuation(","), _Punctuation(json.dumps(key, ensure_ascii=False) + ":"), child)
        return [_Punctuation("}"), *reversed(pieces[1:]), _Punctuation("{")]
    for child in part:
        pieces += (_Punctuation(","), child)
    return [_Punctuation("]"), *reversed(pieces[1:]), _Punctuation("[")]


def _parse_real(text: str) -> float:
    value = float(text)
    return value if orjson.dumps(value) == text.encode() else _attach_text(ExactFloat(value), text)


def _parse_integer(text: str) -> int | float:
    if len(text) < 19 and text != "-0":
        return int(text)
    if len(text) > _MOST_INT_DIGITS:  # an int of a million digits would take minutes to read
        return _attach_text(ExactFloat(-math.inf if text[0] == "-" else math.inf), text)
    value = int(text)
    return value if -(2**63) <= value < 2**64 and text != "-0" else _attach_text(ExactInt(value), text)


def _attach_text(value: _Exact, text: str) -> _Exact:
    value.text = text
    return value


def _refuse_constant(text: str) -> NoReturn:
    raise ExactError(f"not JSON: `{text}` is not a JSON number")


_DECODER = json.JSONDecoder(parse_float=_parse_real, parse_int=_parse_integer, parse_constant=_refuse_constant)


def _write_fragment(value: object) -> orjson.Fragment:
    """Encode a number that keeps its text; orjson calls this for every type that it does not know."""
    if isinstance(value, ExactFloat | ExactInt) and _fits_numeric(value.text):
        return orjson.Fragment(value.text)
    raise TypeError  # `dumps` then finds the path and the reason


def _write_plain_number(value: float) -> str:
    """Return a number as Postgres's `numeric` prints it; if `numeric` cannot hold it, as it was read."""
    text = write_number(value)
    if not ("e" in text or "E" in text or text.startswith("-0")) or not _fits_numeric(text):
        return text
    plain = format(Decimal(text), "f")
    return plain if Decimal(text) else plain.removeprefix("-")


def _fits_numeric(text: str) -> bool:
    """Return whether Postgres's numeric can hold a number: 131072 digits before the point, 16383 after it."""
    if len(text) < 40 and "e" not in text and "E" not in text:
        return True
    try:
        value = Decimal(text)
    except InvalidOperation:
        return False
    exponent = value.as_tuple().exponent
    return isinstance(exponent, int) and -16383 <= exponent < 10**9 and (not value or value.adjusted() < 131072)


def _find_number_fault(value: float) -> str:
    if not isinstance(value, ExactFloat) and not isinstance(value, int) and not math.isfinite(value):
        return f"{value} is no JSON number"
    return "" if _fits_numeric(write_number(value)) else "a number beyond what Postgres' `numeric` holds"


def _is_finite(value: Json) -> bool:
    """Return whether no builtin float in `value` is NaN or infinite; written for speed."""
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


def _find_text_fault(text: str) -> str:
    if "\0" in text:
        return "a NUL character (\\u0000), which Postgres cannot store,"
    return "a lone surrogate, which is no character and has no UTF-8 form," if _SURROGATE.search(text) else ""


def _walk_parts(value: Json) -> Iterator[tuple[Trail, Any]]:
    """Yield every scalar and every key in `value`, each with the path to it.

    Raises ExactError for a value that is nested too deeply to be read again, such as one that contains itself.
    """
    stack: list[tuple[int, Trail, Any]] = [(0, None, value)]
    while stack:
        depth, trail, part = stack.pop()
        if depth > _MOST_LEVELS:
            raise ExactError(f"nested more than {_MOST_LEVELS} levels deep")
        if isinstance(part, dict):
            stack.extend((depth + 1, (trail, key), part[key]) for key in reversed(part))
            yield from (((trail, key), key) for key in part)
        elif isinstance(part, list | tuple):
            stack.extend((depth + 1, (trail, index), part[index]) for index in reversed(range(len(part))))
        else:
            yield trail, part


def _format_trail(trail: Trail) -> str:
    steps: list[str] = []
    while trail is not None:
        trail, step = trail
        plain = isinstance(step, str) and step.isidentifier() and step.isascii()
        steps.append(f".{step}" if plain else f"[{json.dumps(step)}]")
    return "$" + "".join(reversed(steps))


def _count_utf8_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
