"""Guess a column's type and normalizers from the values of one sample.

Every guess is tried with the engine's own normalizers and casts before it is returned, so it accepts the sample.
What one sample cannot tell is listed as a doubt of the guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from engine.draft.places import parse_text
from engine.values.column_types import TYPES, CastError, is_missing
from engine.values.exact_json import Json, json_kind, write_number
from engine.values.normalizers import NORMALIZERS, NormalizeError

#: Word in a key, normalizer for its values, pattern that the values must match; the most specific word comes first.
_KEY_NORMALIZERS: Final = (
    ("linkedin", "linkedin_url", r"(?i)linkedin\.com"),
    ("email", "email", "@"),
    ("domain", "domain", r"\."),
    ("phone", "phone", r"\d"),
    ("website", "url", r"(?i)^(https?://|www\.)"),
    ("url", "url", r"(?i)^(https?://|www\.)"),
    ("link", "url", r"(?i)^(https?://|www\.)"),
    ("", "url", r"(?i)^https?://\S+$"),
    ("", "email", r"^[^@\s]+@[^@\s]+\.[a-z]+$"),
)
#: Word in a column's name, normalizers for its values: for columns without a sample.
NAME_NORMALIZERS: Final = (
    ("linkedin", ("linkedin_url",)),
    ("email", ("email",)),
    ("domain", ("domain",)),
    ("website", ("url",)),
    ("url", ("url",)),
)
_TIMESTAMP_KEY: Final = re.compile(r"(_at|_on|date|time|created|updated|timestamp)")
_COUNT_KEY: Final = re.compile(r"(count|number|total|size|employees|headcount|year|rank|position|tokens)")
_MONEY_KEY: Final = re.compile(r"(^|_)(usd|eur|gbp|amount|price|cost|revenue|valuation)(_|$)")
#: Ranges of Unix times between 2001 and 2096, in seconds and in milliseconds.
_EPOCHS: Final = (("epoch_seconds", 10**9, 4 * 10**9), ("epoch_milliseconds", 10**12, 4 * 10**12))


@dataclass(slots=True)
class Guess:
    """A column type and normalizers for some values. `doubts` lists what the sample cannot tell."""

    type: str
    normalize: tuple[str, ...] = ()
    doubts: list[str] = field(default_factory=list)

    def accepts_value(self, value: Json) -> bool:
        """Return whether `value` passes the normalizers and the cast of the type, and is not missing."""
        return self.convert_value(value) is not None

    def convert_value(self, value: Json) -> Any:
        """Return `value` as it would be stored; None when it is missing or refused."""
        try:
            for name in self.normalize:
                value = NORMALIZERS[name].function(value)
            return None if is_missing(value, TYPES[self.type]) else TYPES[self.type].cast(value)
        except (NormalizeError, CastError):
            return None


def guess_column(key: str, values: Sequence[Json]) -> Guess:
    """Guess the column of a key: the narrowest type that accepts all its `values`, one per array element.

    Null and blank values are ignored. If there are no others, the type is `text`; if no type fits, `jsonb`; both with a
    doubt.
    """
    present = [value for value in values if value is not None and not (isinstance(value, str) and not value.strip())]
    if not present:
        return Guess("text", doubts=["the sample has no value here, so the type is a guess"])
    fitting = (guess for guess in _list_candidates(key, present) if all(map(guess.accepts_value, present)))
    return next(fitting, Guess("jsonb", doubts=["the sample's values are of several kinds"]))


def _list_candidates(key: str, values: Sequence[Json]) -> Iterator[Guess]:
    """Yield possible guesses, from the narrowest type to the widest; the caller tries them."""
    kinds = {json_kind(value) for value in values}
    if kinds == {"boolean"}:
        yield Guess("boolean")
    elif kinds == {"number"}:
        yield from _guess_numbers(key, values)
    elif kinds == {"string"}:
        yield from _guess_strings(key, [str(value) for value in values])
    elif kinds == {"array"}:
        yield from (Guess("text[]"), Guess("jsonb"))
    elif kinds == {"object"}:
        yield Guess("jsonb")
    elif kinds == {"array", "string"}:
        yield Guess("text[]", ("list",), ["some values are single strings, some are arrays"])
    elif not kinds & {"array", "object"}:
        yield Guess("text", ("text",), ["some values are strings, some are not"])


def _guess_numbers(key: str, values: Sequence[Any]) -> Iterator[Guess]:
    for name, low, high in _EPOCHS:
        if _TIMESTAMP_KEY.search(key) and all(low < value < high for value in values):
            yield Guess("timestamptz", (name,), ["the number looks like a moment"])
    whole = all(re.fullmatch(r"-?\d+", write_number(value)) for value in values)
    if (
        whole and not _MONEY_KEY.search(key) and (len(values) > 1 or _COUNT_KEY.search(key))
    ):  # a single whole number may be one of a column of fractions (0.9, 1, 0.7)
        yield Guess("bigint")
    yield Guess("numeric")


def _guess_strings(key: str, values: Sequence[str]) -> Iterator[Guess]:
    yield Guess("date", doubts=["a date in any other spelling rejects the row"])
    yield Guess("timestamptz", doubts=["a time in any other spelling rejects the row"])
    if all(value.lstrip().startswith("<think>") for value in values):
        yield from (Guess("jsonb", ("strip_think", "json")), Guess("text", ("strip_think",)))
    if all(value.lstrip()[:1] in ("{", "[") and isinstance(parse_text(value), dict | list) for value in values):
        yield Guess("jsonb", ("json",), ["the string holds JSON"])
    doubts = []
    for word, normalizer, pattern in _KEY_NORMALIZERS:
        if word not in key or not all(re.search(pattern, value) for value in values):
            continue
        guess = Guess("text", (normalizer,))
        if not all(map(guess.accepts_value, values)):
            doubts.append(f"`{normalizer}` refuses a value of the sample")
        yield guess
    yield Guess("text", doubts=doubts)


def is_site(values: Sequence[Json]) -> bool:
    """Return whether all values other than null name a web site from which a domain can be taken."""
    present = [value for value in values if value is not None]
    guess = Guess("text", ("domain",))
    return bool(present) and all(isinstance(value, str) and guess.accepts_value(value) for value in present)
