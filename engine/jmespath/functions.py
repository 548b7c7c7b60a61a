"""The JMESPath functions that a path may call, those that are refused (with reason and advice), and the interpreter.

Python (backfill, repair) and TypeScript (live) have to give the same result, or the same error. Where jmespath.py
follows Python rather than JSON, this module replaces its function; a function on which the two languages cannot agree
is refused. Both compute, compare and sort numbers as IEEE doubles; a number that is only selected keeps its digits.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any

from jmespath import exceptions, functions, visitor

from engine.values.exact_json import (
    ExactError,
    Json,
    check_storable,
    convert_to_stored,
    loads,
    parse_number,
    sort_keys_like_jsonb,
)

Arity = tuple[int, int | None]

#: The deepest JSON that `parse_json` reads from a string; deeper JSON gives null, since the two languages run out of
#: stack at different depths.
MAX_PARSED_DEPTH = 256
_MAX_EXACT_INTEGER = 2**53  # a double cannot represent every integer beyond it


def are_equal(left: Any, right: Any) -> bool:
    """Return whether two values are equal as JSON: deeply, numbers by value, and no boolean equals a number."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(are_equal, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(are_equal(left[key], right[key]) for key in left)
    if _is_number(left) and _is_number(right):
        return _convert_to_double(left) == _convert_to_double(right)
    return bool(left == right)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _convert_to_double(value: Any) -> float:
    """Convert a number to an IEEE double. Raises ValueError when it is too large for one."""
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"number `{str(value)[:40]}` does not fit a double")
    return number


def _convert_result(value: float) -> int | float:
    """Convert a computed double to the number that TypeScript would write: shortest digits, no exponent.

    3.0 becomes `3`, 1e22 becomes `10000000000000000000000`, and 1e-7 becomes `0.0000001`.
    """
    _convert_to_double(value)
    if value == int(value) and abs(value) <= _MAX_EXACT_INTEGER:
        return int(value)
    return parse_number(format(Decimal(repr(float(value))).normalize(), "f"))


def normalize_literal(value: Json) -> Json:
    """Return a literal of a path as TypeScript reads it: numbers become doubles, keys get the order of `jsonb`."""
    if isinstance(value, list):
        return [normalize_literal(part) for part in value]
    if isinstance(value, dict):
        return sort_keys_like_jsonb({key: normalize_literal(part) for key, part in value.items()})
    return _convert_result(float(value)) if _is_number(value) else value  # type: ignore[arg-type]


def _convert_sort_key(value: Any) -> Any:
    """Convert a sort key: numbers compare as doubles, strings by code point."""
    return _convert_to_double(value) if _is_number(value) else value


def _sum_doubles(values: Iterable[Any]) -> float:
    """Add doubles from left to right, as JavaScript does; the built-in `sum` compensates on some Python versions."""
    total = 0.0
    for value in values:
        total += _convert_to_double(value)
    return total


@lru_cache(maxsize=8)  # several paths of a spec parse the same text of a document
def _read_json_text(text: str) -> Json:
    """Parse JSON inside a string to what `jsonb` would return; None for other text and for what `jsonb` refuses."""
    try:
        value = loads(text)
        check_storable(value)
    except ExactError:
        return None
    return convert_to_stored(value) if _measure_depth(value) <= MAX_PARSED_DEPTH else None


def _measure_depth(value: Json) -> int:
    """Return how many levels of arrays and objects a value has."""
    level: list[Any] = [value]
    for depth in itertools.count():
        containers = [part for part in level if isinstance(part, dict | list)]
        if not containers:
            return depth
        level = [child for part in containers for child in (part.values() if isinstance(part, dict) else part)]
    raise AssertionError("documents end")


class Functions(functions.Functions):  # type: ignore[misc]
    """The standard functions, with replacements for those in which jmespath.py follows Python rather than JSON."""

    @functions.signature({"types": ["number"]})  # type: ignore[untyped-decorator]
    def _func_abs(self, value: Any) -> Any:
        return _convert_result(abs(_convert_to_double(value)))

    @functions.signature({"types": ["number"]})  # type: ignore[untyped-decorator]
    def _func_ceil(self, value: Any) -> Any:
        return _convert_result(float(math.ceil(_convert_to_double(value))))

    @functions.signature({"types": ["number"]})  # type: ignore[untyped-decorator]
    def _func_floor(self, value: Any) -> Any:
        return _convert_result(float(math.floor(_convert_to_double(value))))

    @functions.signature({"types": ["array-number"]})  # type: ignore[untyped-decorator]
    def _func_sum(self, values: Any) -> Any:
        return _convert_result(_sum_doubles(values))

    @functions.signature({"types": ["array-number"]})  # type: ignore[untyped-decorator]
    def _func_avg(self, values: Any) -> Any:
        return _convert_result(_sum_doubles(values) / len(values)) if values else None

    @functions.signature({"types": ["array", "string"]}, {"types": []})  # type: ignore[untyped-decorator]
    def _func_contains(self, subject: Any, search: Any) -> Any:
        if isinstance(subject, list):
            return any(are_equal(element, search) for element in subject)
        if not isinstance(search, str):
            raise exceptions.JMESPathTypeError("contains", search, type(search).__name__, ["string"])
        return search in subject

    @functions.signature({"types": ["array-number", "array-string"]})  # type: ignore[untyped-decorator]
    def _func_max(self, values: Any) -> Any:
        return max(values, key=_convert_sort_key, default=None)

    @functions.signature({"types": ["array-number", "array-string"]})  # type: ignore[untyped-decorator]
    def _func_min(self, values: Any) -> Any:
        return min(values, key=_convert_sort_key, default=None)

    @functions.signature({"types": ["array-string", "array-number"]})  # type: ignore[untyped-decorator]
    def _func_sort(self, values: Any) -> Any:
        return sorted(values, key=_convert_sort_key)

    def _create_key_func(self, expref: Any, allowed_types: Any, function_name: Any) -> Callable[[Any], Any]:
        """Build the key function of `sort_by`, `min_by` and `max_by`; overrides a method of the library."""
        read_key = super()._create_key_func(expref, allowed_types, function_name)
        return lambda element: _convert_sort_key(read_key(element))

    @functions.signature({"types": []})  # type: ignore[untyped-decorator]
    def _func_parse_json(self, value: Any) -> Any:
        """Parse JSON inside a string; return any other value unchanged."""
        return _read_json_text(value) if isinstance(value, str) else value

    @functions.signature({"types": ["object"], "variadic": True})  # type: ignore[untyped-decorator]
    def _func_merge(self, *objects: Any) -> Any:
        """Merge objects, checking the type of every argument; the base class checks only the first."""
        merged: dict[str, Any] = {}
        for argument in objects:
            if not isinstance(argument, dict):
                raise exceptions.JMESPathTypeError("merge", argument, type(argument).__name__, ["object"])
            merged.update(argument)
        return merged


def _build_comparison(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    """Build a comparison as in JavaScript: numbers as doubles, strings by code point; TypeError for one of each."""

    def compare_values(left: Any, right: Any) -> bool:
        if _is_number(left) and _is_number(right):
            return compare(_convert_to_double(left), _convert_to_double(right))
        return compare(left, right)

    return compare_values


class Interpreter(visitor.TreeInterpreter):  # type: ignore[misc]
    """Evaluates a parsed expression with the functions and the equality of this module."""

    COMPARATOR_FUNC = {  # noqa: RUF012 - the base class's own name and shape
        "eq": are_equal,
        "ne": lambda left, right: not are_equal(left, right),
        "lt": _build_comparison(operator.lt),
        "lte": _build_comparison(operator.le),
        "gt": _build_comparison(operator.gt),
        "gte": _build_comparison(operator.ge),
    }

    def __init__(self) -> None:
        super().__init__(visitor.Options(custom_functions=Functions()))


def _count_arguments(signature: tuple[Mapping[str, object], ...]) -> Arity:
    variadic = bool(signature) and bool(signature[-1].get("variadic"))
    return (len(signature), None if variadic else len(signature))


#: By name of a refused function: the reason, and what to use instead.
REFUSED: Mapping[str, tuple[str, str]] = {
    "to_string": (
        "Python and TypeScript spell numbers and objects differently",
        "take the value as it is and add the normalizer `text`",
    ),
    "to_number": (
        'Python and TypeScript read different texts as numbers (" 12 ", "1_000", "0x10", "")',
        "take the value as it is and add the normalizer `number`",
    ),
}

#: By name of a function: its least and most arguments; None means no limit.
FUNCTIONS: Mapping[str, Arity] = {
    name: _count_arguments(entry["signature"])
    for name, entry in sorted(Functions.FUNCTION_TABLE.items())
    if name not in REFUSED
}

#: By name of a function: the index of its only argument that is an expression over elements, `&name`.
REFERENCES: Mapping[str, int] = {
    name: index
    for name, entry in sorted(Functions.FUNCTION_TABLE.items())
    for index, argument in enumerate(entry["signature"])
    if "expref" in argument["types"]
}
