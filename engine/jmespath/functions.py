"""The JMESPath functions and operators of a path, and what they answer.

In: nothing. Out: name -> number of arguments, the refused names with reason and advice, and the interpreter.
It must not know documents or specs.

The rule behind the table: Python (backfill, repair) and TypeScript (live) give the same answer, or the same refusal.
Where jmespath.py follows Python rather than JSON, the implementation here replaces it; where the two languages cannot
be brought together, the function is refused. Numbers that are computed are IEEE doubles in both.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jmespath import exceptions, functions, visitor

Arity = tuple[int, int | None]

_SAFE = 2**53  # beyond it a double no longer holds every integer


def equal(left: Any, right: Any) -> bool:
    """JSON's equality: deep, numbers by value, and a boolean is never a number (in Python, 1 == True)."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(equal(left[key], right[key]) for key in left)
    if _is_number(left) and _is_number(right):
        return _double(left) == _double(right)
    return bool(left == right)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _double(value: Any) -> float:
    """`value` as an IEEE double. Raises ValueError for a number too large for one."""
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"number `{str(value)[:40]}` does not fit a double")
    return number


def _computed(value: float) -> int | float:
    """A computed number: whole ones as integers, so that 3.0 reads `3` in both languages."""
    _double(value)
    return int(value) if value == int(value) and abs(value) <= _SAFE else value


def _total(values: Iterable[Any]) -> float:
    """Left to right in doubles: the built-in `sum` compensates on some Python versions, JavaScript never does."""
    total = 0.0
    for value in values:
        total += _double(value)
    return total


class Functions(functions.Functions):  # type: ignore[misc]
    """The standard functions, with those replaced on which Python is not JSON."""

    @functions.signature({"types": ["number"]})  # type: ignore[untyped-decorator]
    def _func_abs(self, value: Any) -> Any:
        return _computed(abs(_double(value)))

    @functions.signature({"types": ["number"]})  # type: ignore[untyped-decorator]
    def _func_ceil(self, value: Any) -> Any:
        return _computed(float(math.ceil(_double(value))))

    @functions.signature({"types": ["number"]})  # type: ignore[untyped-decorator]
    def _func_floor(self, value: Any) -> Any:
        return _computed(float(math.floor(_double(value))))

    @functions.signature({"types": ["array-number"]})  # type: ignore[untyped-decorator]
    def _func_sum(self, values: Any) -> Any:
        return _computed(_total(values))

    @functions.signature({"types": ["array-number"]})  # type: ignore[untyped-decorator]
    def _func_avg(self, values: Any) -> Any:
        return _computed(_total(values) / len(values)) if values else None

    @functions.signature({"types": ["array", "string"]}, {"types": []})  # type: ignore[untyped-decorator]
    def _func_contains(self, subject: Any, search: Any) -> Any:
        if isinstance(subject, list):
            return any(equal(item, search) for item in subject)
        if not isinstance(search, str):
            raise exceptions.JMESPathTypeError("contains", search, type(search).__name__, ["string"])
        return search in subject

    @functions.signature({"types": ["object"], "variadic": True})  # type: ignore[untyped-decorator]
    def _func_merge(self, *objects: Any) -> Any:
        """The base class checks the first argument alone."""
        merged: dict[str, Any] = {}
        for item in objects:
            if not isinstance(item, dict):
                raise exceptions.JMESPathTypeError("merge", item, type(item).__name__, ["object"])
            merged.update(item)
        return merged


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    """Numbers are compared as doubles, as JavaScript holds them; strings by code point; one with the other raises."""

    def compared(left: Any, right: Any) -> bool:
        if _is_number(left) and _is_number(right):
            return compare(_double(left), _double(right))
        return compare(left, right)

    return compared


class Interpreter(visitor.TreeInterpreter):  # type: ignore[misc]
    """Evaluates a parsed expression with the functions and the equality of this module."""

    COMPARATOR_FUNC = {  # noqa: RUF012 - the base class's own name and shape
        "eq": equal,
        "ne": lambda left, right: not equal(left, right),
        "lt": _ordered(operator.lt),
        "lte": _ordered(operator.le),
        "gt": _ordered(operator.gt),
        "gte": _ordered(operator.ge),
    }

    def __init__(self) -> None:
        super().__init__(visitor.Options(custom_functions=Functions()))


def _arity(signature: tuple[Mapping[str, object], ...]) -> Arity:
    variadic = bool(signature) and bool(signature[-1].get("variadic"))
    return (len(signature), None if variadic else len(signature))


#: name -> (reason, what to use instead)
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

#: name -> (least, most) number of arguments; no upper bound is None
FUNCTIONS: Mapping[str, Arity] = {
    name: _arity(entry["signature"]) for name, entry in sorted(Functions.FUNCTION_TABLE.items()) if name not in REFUSED
}

#: name -> which argument is an expression over elements, `&name`; in no other place is one taken
REFERENCES: Mapping[str, int] = {
    name: index
    for name, entry in sorted(Functions.FUNCTION_TABLE.items())
    for index, argument in enumerate(entry["signature"])
    if "expref" in argument["types"]
}
