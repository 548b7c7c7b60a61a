"""One sample of an output -> what its parts look like.

In: JSON values. Out: guesses: the array that becomes rows, the raw body, a type and normalizers for each value, and
what one sample cannot tell. It must not know how a spec is written. Every guess is tried with the engine's own
normalizers and casts before it is made, so the sample itself always fits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from engine.draft.names import snake
from engine.values.column_types import TYPES, CastError, missing
from engine.values.exact_json import Json, chunks, kind, loads, number_text
from engine.values.normalizers import NORMALIZERS, NormalizeError

Steps = tuple[str, ...]

#: What stands under these keys is about the research, not its result.
_NOISE: Final = frozenset(
    (
        *("basis", "citations", "sources", "annotations", "grounding", "logprobs", "warnings", "usage", "tools"),
        *("messages", "steps", "choices", "candidates", "provider_attempts"),
    )
)
#: What a word in a key promises, most telling first; the value has to keep it.
_PROMISES: Final = (
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
_MOMENT: Final = re.compile(r"(_at|_on|date|time|created|updated|timestamp)")
_COUNT: Final = re.compile(r"(count|number|total|size|employees|headcount|year|rank|position|tokens)")
#: Seconds and milliseconds between 2001 and 2096.
_EPOCHS: Final = (("epoch_seconds", 10**9, 4 * 10**9), ("epoch_milliseconds", 10**12, 4 * 10**12))


@dataclass(slots=True)
class Guess:
    """What a column for some values would be. `doubts` says what the sample does not tell."""

    type: str
    normalize: tuple[str, ...] = ()
    doubts: list[str] = field(default_factory=list)

    def takes(self, value: Json) -> bool:
        """Whether the engine makes a value of the type from `value`."""
        try:
            for name in self.normalize:
                value = NORMALIZERS[name].function(value)
            return not missing(value, TYPES[self.type]) and TYPES[self.type].cast(value) is not None
        except (NormalizeError, CastError):
            return False


def guess(key: str, values: Sequence[Json]) -> Guess:
    """Return the column for the values a key has in the sample, one per element; null and blank tell nothing."""
    told = [value for value in values if value is not None and not (isinstance(value, str) and not value.strip())]
    if not told:
        return Guess("text", doubts=["the sample has no value here, so the type is a guess"])
    fitting = (one for one in _candidates(key, told) if all(map(one.takes, told)))
    return next(fitting, Guess("jsonb", doubts=["the sample's values are of several kinds"]))


def _candidates(key: str, told: Sequence[Json]) -> Iterator[Guess]:
    """Guesses from the narrowest to the widest; the first that takes every value is made."""
    kinds = {kind(value) for value in told}
    if kinds == {"boolean"}:
        yield Guess("boolean")
    elif kinds == {"number"}:
        yield from _numbers(key, told)
    elif kinds == {"string"}:
        yield from _strings(key, [str(value) for value in told])
    elif kinds == {"array"}:
        yield from (Guess("text[]"), Guess("jsonb"))
    elif kinds == {"object"}:
        yield Guess("jsonb")
    elif kinds == {"array", "string"}:
        yield Guess("text[]", ("list",), ["some values are single strings, some are arrays"])
    elif not kinds & {"array", "object"}:
        yield Guess("text", ("text",), ["some values are strings, some are not"])


def _numbers(key: str, told: Sequence[Any]) -> Iterator[Guess]:
    for name, low, high in _EPOCHS:
        if _MOMENT.search(key) and all(low < value < high for value in told):
            yield Guess("timestamptz", (name,), ["the number looks like a moment"])
    whole = all(re.fullmatch(r"-?\d+", number_text(value)) for value in told)
    if whole and (len(told) > 1 or _COUNT.search(key)):  # a single 1 may be the 1 of 0.9, 1, 0.7
        yield Guess("bigint")
    yield Guess("numeric")


def _strings(key: str, told: Sequence[str]) -> Iterator[Guess]:
    yield Guess("date", doubts=["a date in any other spelling rejects the row"])
    yield Guess("timestamptz", doubts=["a time in any other spelling rejects the row"])
    if all(value.lstrip().startswith("<think>") for value in told):
        yield from (Guess("jsonb", ("strip_think", "json")), Guess("text", ("strip_think",)))
    if all(value.lstrip()[:1] in ("{", "[") and isinstance(_read(value), dict | list) for value in told):
        yield Guess("jsonb", ("json",), ["the string holds JSON"])
    doubts = []
    for word, normalizer, shape in _PROMISES:
        if word not in key or not all(re.search(shape, value) for value in told):
            continue
        one = Guess("text", (normalizer,))
        if not all(map(one.takes, told)):
            doubts.append(f"`{normalizer}` refuses a value of the sample")
        yield one
    yield Guess("text", doubts=doubts)


def _read(text: str) -> Json:
    try:
        return loads(text)
    except ValueError:
        return None


# --- the parts of an output -----------------------------------------------------------------------------------------


def path(steps: Steps) -> str:
    """Return the JMESPath of some keys, quoted where they are no plain words."""
    return ".".join(step if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", step) else json.dumps(step) for step in steps)


def raw_body(output: Json) -> Steps | None:
    """Return the key under which an output keeps the provider's whole answer, None when it has none."""
    for key, value in output.items() if isinstance(output, dict) else ():
        if "raw" in snake(key).split("_") and isinstance(value, dict | list | str) and value:
            return (key,)
    return None


def main_array(output: Json, raw: Steps | None) -> Steps | None:
    """Return the keys to the array of objects that is most of an output, its raw body aside; None when there is none.

    `()` is the output itself.
    """
    aside = {raw[0]} if raw else set()
    arrays = list(_arrays(output, (), aside))
    whole = sum(_size(value) for key, value in output.items() if key not in aside) if isinstance(output, dict) else 0
    largest = max(arrays, key=lambda found: _size(found[1]), default=None)
    return largest[0] if largest and _size(largest[1]) * 2 >= whole else None


def other_arrays(output: Json, chosen: Steps | None) -> list[Steps]:
    """Return the keys to every other array of objects, the raw body included: one might be what is wanted."""
    return [steps for steps, _ in _arrays(output, (), set()) if steps != chosen]


def _arrays(value: Json, at: Steps, aside: set[str]) -> Iterator[tuple[Steps, list[Json]]]:
    if isinstance(value, list):
        if value and all(isinstance(element, dict) and element for element in value):
            yield at, value
    elif isinstance(value, dict) and len(at) < 8:
        for key, child in value.items():
            if key not in _NOISE and key not in aside:
                yield from _arrays(child, (*at, key), aside)


def _size(value: Json) -> int:
    return sum(map(len, chunks(value)))
