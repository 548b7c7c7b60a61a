"""The normalizers a spec may name: small pure functions from one JSON value to another.

In: a JSON value. Out: a JSON value, or a NormalizeError. Null stays null.
Must not know: specs, columns' values in the database, the network, the clock.

Each is idempotent: what it gave, it gives back unchanged. That is what lets a stored value be normalized again, a
filter be compared with a column, and a row written twice be the same row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from types import MappingProxyType

from engine.errors import EngineError
from engine.values import addresses
from engine.values.column_types import TYPES, CastError
from engine.values.exact_json import ExactError, Json, kind, loads, number_text
from engine.values.exact_json import number as read_number


class NormalizeError(EngineError):
    """A value that a normalizer cannot do anything with. The message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalizer:
    """A named function on JSON values, with the kinds of JSON it takes and gives (null it always takes and gives)."""

    name: str
    function: Callable[[Json], Json]
    doc: str
    accepts: frozenset[str]
    returns: frozenset[str]

    def feeds(self, after: Normalizer) -> bool:
        """Whether `after` can take anything that this one gives."""
        return bool(self.returns & after.accepts)

    def fits(self, type_name: str) -> bool:
        """Whether a column of the type can hold anything this one gives; a `jsonb` column is for more than scalars."""
        wanted = TYPES[type_name].takes
        return bool(self.returns & (_NESTED if type_name == "jsonb" else wanted))


def trim(value: Json) -> Json:
    """Cut white space off both ends of a string; leave other values alone."""
    return value.strip() if isinstance(value, str) else value


def lower(value: Json) -> Json:
    """Bring a string into lower case; leave other values alone."""
    return value.lower() if isinstance(value, str) else value


def text(value: Json) -> Json:
    """Write a number, true or false as the text it has in JSON; leave strings alone; refuse arrays and objects."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return number_text(value)
    raise NormalizeError(f"expected a string, a number, true or false, found an {kind(value)}")


def json(value: Json) -> Json:
    """Read a string that holds JSON, also when it was encoded twice; leave other values alone; refuse other strings."""
    while isinstance(value, str):
        try:
            value = loads(value)
        except ExactError as error:
            raise NormalizeError(f"expected a string that holds JSON: {error}") from error
    return value


def json_or_text(value: Json) -> Json:
    """Read a string that holds a JSON object or array; leave everything else alone, reports in prose included."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return loads(value)
        except ExactError:
            return value
    return value


def as_list(value: Json) -> Json:
    """Wrap a value that is not an array into an array of one."""
    return value if value is None or isinstance(value, list) else [value]


def strip_think(value: Json) -> Json:
    """Cut the `<think>...</think>` blocks a string begins with; leave other values alone."""
    return _THINK.sub("", value) if isinstance(value, str) else value


def blank_to_null(value: Json) -> Json:
    """Make null of a blank string, an empty array and an empty object; leave other values alone."""
    if isinstance(value, str):
        return value if value.strip() else None
    return None if value in ([], {}) else value


def number(value: Json) -> Json:
    """Read a string that is a JSON number, digit for digit; leave numbers alone; refuse everything else (`1,200`)."""
    if value is None or _is_number(value):
        return value
    if not isinstance(value, str):
        raise NormalizeError(f"expected a number, found {_a(value)}")
    if not _NUMBER.fullmatch(value.strip()):
        raise NormalizeError("expected a number as JSON writes it, such as `1200` or `-5.5e3`")
    return read_number(value.strip())


def number_or_null(value: Json) -> Json:
    """Do as `number`, but make null of what it refuses."""
    try:
        return number(value)
    except NormalizeError:
        return None


def epoch_seconds(value: Json) -> Json:
    """Turn seconds since 1970 into a timestamp in UTC; leave timestamps alone."""
    return _from_epoch(value, 1)


def epoch_milliseconds(value: Json) -> Json:
    """Turn milliseconds since 1970 into a timestamp in UTC; leave timestamps alone."""
    return _from_epoch(value, 1000)


def _from_epoch(value: Json, per_second: int) -> Json:
    if value is None or _is_timestamp(value):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise NormalizeError(f"expected a number or a timestamp with its offset, found {_a(value)}")
    try:
        count = Decimal(number_text(value))
        micros = round(count * 1_000_000 / per_second) if count.adjusted() < 20 else _NEVER
        moment = _EPOCH + timedelta(microseconds=micros)
    except ArithmeticError as error:
        raise NormalizeError("the moment is not within the years 1 to 9999; check the unit") from error
    return moment.isoformat() + "Z"


def _is_timestamp(value: Json) -> bool:
    try:
        TYPES["timestamptz"].cast(value)
    except CastError:
        return False
    return True


def _is_number(value: Json) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _a(value: Json) -> str:
    word = kind(value)
    return f"an {word}" if word[0] in "ao" else f"a {word}"


def _on_text(function: Callable[[str], str]) -> Callable[[Json], Json]:
    """The normalizer that runs `function` on strings; blank strings are null, other kinds are refused."""

    def normalize(value: Json) -> Json:
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        if not isinstance(value, str):
            raise NormalizeError(f"expected a string, found {_a(value)}")
        try:
            return function(value) or None
        except addresses.AddressError as error:
            raise NormalizeError(str(error)) from error

    return normalize


_EPOCH = datetime(1970, 1, 1)  # in UTC, which `Z` says when the timestamp is written
_NEVER = 10**20  # microseconds; larger numbers are not worth reckoning with
_THINK = re.compile(r"\A(?:\s*<think>.*?</think>\s*)+", re.DOTALL)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_ANY = frozenset({"boolean", "number", "string", "array", "object"})
_NESTED = frozenset({"array", "object"})
_SCALAR = _ANY - _NESTED
_STRING = frozenset({"string"})
_ARRAY = frozenset({"array"})
_NUMERAL = frozenset({"number"})
_READABLE = _STRING | _NUMERAL


def _row(
    name: str, function: Callable[..., Json], accepts: frozenset[str], returns: frozenset[str], *, strings: bool = False
) -> Normalizer:
    doc = (function.__doc__ or "").split("\n\n")[0].strip()
    body = _on_text(function) if strings else function  # type: ignore[arg-type]
    return Normalizer(name=name, function=body, doc=doc, accepts=accepts, returns=returns)


_ROWS = (
    _row("domain", addresses.domain, _STRING, _STRING, strings=True),
    _row("registrable_domain", addresses.registrable_domain, _STRING, _STRING, strings=True),
    _row("linkedin_url", addresses.linkedin_url, _STRING, _STRING, strings=True),
    _row("url", addresses.url, _STRING, _STRING, strings=True),
    _row("email", addresses.email, _STRING, _STRING, strings=True),
    _row("phone", addresses.phone, _STRING, _STRING, strings=True),
    _row("trim", trim, _ANY, _ANY),
    _row("lower", lower, _ANY, _ANY),
    _row("text", text, _SCALAR, _STRING),
    _row("json", json, _ANY, _ANY - _STRING),
    _row("json_or_text", json_or_text, _ANY, _ANY),
    _row("list", as_list, _ANY, _ARRAY),
    _row("strip_think", strip_think, _ANY, _ANY),
    _row("blank_to_null", blank_to_null, _ANY, _ANY),
    _row("number", number, _READABLE, _NUMERAL),
    _row("number_or_null", number_or_null, _ANY, _NUMERAL),
    _row("epoch_seconds", epoch_seconds, _READABLE, _STRING),
    _row("epoch_milliseconds", epoch_milliseconds, _READABLE, _STRING),
)

NORMALIZERS: Mapping[str, Normalizer] = MappingProxyType({row.name: row for row in _ROWS})
