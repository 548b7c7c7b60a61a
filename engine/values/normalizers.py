"""The normalizers that a spec may name: pure functions from one JSON value to another. Null stays null.

Each is idempotent: it returns its own output unchanged. So a stored value can be normalized again, a filter's value
becomes the stored value, and a row written twice is the same row. To refuse a value is to raise NormalizeError.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import wraps
from types import MappingProxyType

from engine.errors import EngineError
from engine.values import addresses
from engine.values.code_versions import compute_version
from engine.values.column_types import TYPES, CastError
from engine.values.exact_json import (
    ExactError,
    Json,
    JsonKind,
    json_kind,
    loads,
    parse_number,
    sort_keys_like_jsonb,
    write_chunks,
    write_number,
)


class NormalizeError(EngineError):
    """A value that a normalizer refuses. The message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalizer:
    """A named function on JSON values, and the JSON types that it accepts and returns. It maps null to null."""

    name: str
    function: Callable[[Json], Json]
    doc: str
    accepts: frozenset[JsonKind]
    returns: frozenset[JsonKind]
    libraries: tuple[str, ...] = ()  # the libraries on whose versions its results depend

    @property
    def version(self) -> str:
        """A text that changes when its code or one of its libraries changes."""
        return compute_version(self.function, self.libraries)

    def can_feed(self, after: Normalizer) -> bool:
        """Return whether `after` accepts some of the JSON types that this one returns."""
        return bool(self.returns & after.accepts)

    def fits_column(self, type_name: str) -> bool:
        """Return whether a column of the type accepts a JSON type that this one returns.

        `jsonb` accepts nearly every type, so for it only an array or object counts.
        """
        wanted = TYPES[type_name].takes
        return bool(self.returns & (_NESTED if type_name == "jsonb" else wanted))


def trim_string(value: Json) -> Json:
    """Cut white space off both ends of a string; leave other values alone."""
    return value.strip() if isinstance(value, str) else value


def lower_string(value: Json) -> Json:
    """Bring a string into lower case; leave other values alone."""
    return value.lower() if isinstance(value, str) else value


def convert_to_text(value: Json) -> Json:
    """Write a number, true or false as the text it has in JSON; leave strings alone; refuse arrays and objects."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return write_number(value)
    raise NormalizeError(f"expected a string, a number, true or false, found an {json_kind(value)}")


def read_json(value: Json) -> Json:
    """Read a string that holds JSON, also when it was encoded twice; leave other values alone; refuse other strings."""
    while isinstance(value, str):
        try:
            value = loads(value)
        except ExactError as error:
            raise NormalizeError(f"expected a string that holds JSON: {error}") from error
    return value


def read_json_or_text(value: Json) -> Json:
    """Read a string that holds a JSON object or array; leave everything else alone, reports in prose included."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return loads(value)
        except ExactError:
            return value
    return value


def wrap_in_list(value: Json) -> Json:
    """Wrap a value that is not an array into an array of one."""
    return value if value is None or isinstance(value, list) else [value]


def strip_think_blocks(value: Json) -> Json:
    """Cut the `<think>...</think>` blocks a string begins with; leave other values alone."""
    return _THINK.sub("", value) if isinstance(value, str) else value


def convert_blank_to_null(value: Json) -> Json:
    """Make null of a blank string, an empty array and an empty object; leave other values alone."""
    if isinstance(value, str):
        return value if value.strip() else None
    return None if value in ([], {}) else value


def convert_to_number(value: Json) -> Json:
    """Read a string that is a JSON number, digit for digit; leave numbers alone; refuse everything else (`1,200`)."""
    if value is None or _is_number(value):
        return value
    if not isinstance(value, str):
        raise NormalizeError(f"expected a number, found {_name_kind(value)}")
    if not _NUMBER.fullmatch(value.strip()):
        raise NormalizeError("expected a number as JSON writes it, such as `1200` or `-5.5e3`")
    return parse_number(value.strip())


def convert_to_number_or_null(value: Json) -> Json:
    """Do as `number`, but make null of what it refuses."""
    try:
        return convert_to_number(value)
    except NormalizeError:
        return None


def convert_to_boolean(value: Json) -> Json:
    """Read a word for true or false (`active`, `Yes`, `off`, 1, 0); leave booleans alone; refuse other words."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str) and not value.strip():
        return None
    word = value.strip().lower() if isinstance(value, str) else ""
    if _is_number(value) and value in (0, 1):
        word = "1" if value else "0"
    if word not in _BOOLEAN_WORDS:
        raise NormalizeError("expected a word for true or false, such as `yes`, `active`, `1`, `no`, `inactive`, `0`")
    return _BOOLEAN_WORDS[word]


def compute_fingerprint(value: Json) -> Json:
    """Compute a hash of any JSON value, which does not depend on how numbers are written or keys ordered.

    Such a hash stays as it is, and a blank string becomes null. It distinguishes elements that have nothing else to
    distinguish them.
    """
    if isinstance(value, str) and (not value.strip() or _FINGERPRINT.fullmatch(value)):
        return value if value.strip() else None
    if value is None:
        return None
    digest = hashlib.sha256()
    for chunk in write_chunks(sort_keys_like_jsonb(value)):
        text = _write_plain_decimal(chunk) if chunk[0] in "-0123456789" else chunk
        digest.update(text.encode("utf-8", "surrogatepass"))
    return f"sha256:{digest.hexdigest()}"


def _write_plain_decimal(text: str) -> str:
    """Return one text for equal numbers: 1.10, 1.1 and 11e-1 give the same."""
    try:
        sign, digits, exponent = Decimal(text).as_tuple()
    except InvalidOperation:  # the exponent is too large for Decimal
        return text
    kept = "".join(map(str, digits)).lstrip("0").rstrip("0")
    shift = len("".join(map(str, digits)).lstrip("0")) - len(kept) + int(exponent)
    return f"{'-' if sign else ''}{kept}e{shift}" if kept else "0"


def convert_epoch_seconds(value: Json) -> Json:
    """Turn seconds since 1970 into a timestamp in UTC; leave timestamps alone."""
    return _convert_epoch(value, 1)


def convert_epoch_milliseconds(value: Json) -> Json:
    """Turn milliseconds since 1970 into a timestamp in UTC; leave timestamps alone."""
    return _convert_epoch(value, 1000)


def _convert_epoch(value: Json, per_second: int) -> Json:
    if value is None or _is_timestamp(value):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise NormalizeError(f"expected a number or a timestamp with its offset, found {_name_kind(value)}")
    try:
        count = Decimal(write_number(value))
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


def _name_kind(value: Json) -> str:
    kind = json_kind(value)
    return f"an {kind}" if kind[0] in "ao" else f"a {kind}"


def _wrap_string_function(function: Callable[[str], str]) -> Callable[[Json], Json]:
    """Build a normalizer that calls `function` on strings; blank strings become null, other types are refused."""

    @wraps(function)
    def normalize(value: Json) -> Json:
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        if not isinstance(value, str):
            raise NormalizeError(f"expected a string, found {_name_kind(value)}")
        try:
            return function(value) or None
        except addresses.AddressError as error:
            raise NormalizeError(str(error)) from error

    return normalize


_EPOCH = datetime(1970, 1, 1)  # in UTC; the `Z` is added when the timestamp is written
_NEVER = 10**20  # microseconds beyond year 9999; avoids computing with huge numbers
_THINK = re.compile(r"\A(?:\s*<think>.*?</think>\s*)+", re.DOTALL)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_FINGERPRINT = re.compile(r"sha256:[0-9a-f]{64}")
_TRUE_WORDS = ("true", "t", "yes", "y", "on", "1", "active", "enabled")
_FALSE_WORDS = ("false", "f", "no", "n", "off", "0", "inactive", "disabled")
_BOOLEAN_WORDS = {**dict.fromkeys(_TRUE_WORDS, True), **dict.fromkeys(_FALSE_WORDS, False)}
_ANY = frozenset(JsonKind) - {JsonKind.NULL}
_NESTED = frozenset({JsonKind.ARRAY, JsonKind.OBJECT})
_SCALAR = _ANY - _NESTED
_STRING = frozenset({JsonKind.STRING})
_ARRAY = frozenset({JsonKind.ARRAY})
_NUMERAL = frozenset({JsonKind.NUMBER})
_READABLE = _STRING | _NUMERAL
_BOOLEAN = frozenset({JsonKind.BOOLEAN})


def _build_normalizer(
    name: str,
    function: Callable[..., Json],
    accepts: frozenset[JsonKind],
    returns: frozenset[JsonKind],
    *,
    strings: bool = False,
    libraries: tuple[str, ...] = (),
) -> Normalizer:
    doc = (function.__doc__ or "").split("\n\n")[0].strip()
    body = _wrap_string_function(function) if strings else function  # type: ignore[arg-type]
    return Normalizer(name=name, function=body, doc=doc, accepts=accepts, returns=returns, libraries=libraries)


_NORMALIZERS = (
    _build_normalizer("domain", addresses.normalize_domain, _STRING, _STRING, strings=True, libraries=("idna",)),
    _build_normalizer(
        "registrable_domain",
        addresses.normalize_registrable_domain,
        _STRING,
        _STRING,
        strings=True,
        libraries=("idna", "tldextract"),  # tldextract contains the public suffix list
    ),
    _build_normalizer("linkedin_url", addresses.normalize_linkedin_url, _STRING, _STRING, strings=True),
    _build_normalizer("url", addresses.normalize_url, _STRING, _STRING, strings=True, libraries=("idna",)),
    _build_normalizer(
        "email", addresses.normalize_email, _STRING, _STRING, strings=True, libraries=("email-validator", "idna")
    ),
    _build_normalizer("phone", addresses.normalize_phone, _STRING, _STRING, strings=True, libraries=("phonenumbers",)),
    _build_normalizer("trim", trim_string, _ANY, _ANY),
    _build_normalizer("lower", lower_string, _ANY, _ANY),
    _build_normalizer("text", convert_to_text, _SCALAR, _STRING),
    _build_normalizer("json", read_json, _ANY, _ANY - _STRING),
    _build_normalizer("json_or_text", read_json_or_text, _ANY, _ANY),
    _build_normalizer("list", wrap_in_list, _ANY, _ARRAY),
    _build_normalizer("strip_think", strip_think_blocks, _ANY, _ANY),
    _build_normalizer("blank_to_null", convert_blank_to_null, _ANY, _ANY),
    _build_normalizer("number", convert_to_number, _READABLE, _NUMERAL),
    _build_normalizer("number_or_null", convert_to_number_or_null, _ANY, _NUMERAL),
    _build_normalizer("epoch_seconds", convert_epoch_seconds, _READABLE, _STRING),
    _build_normalizer("epoch_milliseconds", convert_epoch_milliseconds, _READABLE, _STRING),
    _build_normalizer("boolean_word", convert_to_boolean, _BOOLEAN | _READABLE, _BOOLEAN),
    _build_normalizer("fingerprint", compute_fingerprint, _ANY, _STRING),
)

NORMALIZERS: Mapping[str, Normalizer] = MappingProxyType({row.name: row for row in _NORMALIZERS})
