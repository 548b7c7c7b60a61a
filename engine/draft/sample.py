"""What one sample of an output tells: the array that becomes rows, the raw body, a type and normalizers per value.

Every guess is tried with the engine's own normalizers and casts before it is returned, so the sample itself always
fits. What one sample cannot tell is listed among the doubts of a guess.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from engine.draft.names import to_snake_case
from engine.values.column_types import TYPES, CastError, is_missing
from engine.values.exact_json import Json, json_kind, loads, write_chunks, write_number
from engine.values.normalizers import NORMALIZERS, NormalizeError

#: Keys from the root of an output to a part of it.
KeyPath = tuple[str, ...]

#: Keys whose values are about the research, not its result.
_SKIPPED_KEYS: Final = frozenset(
    (
        *("basis", "citations", "sources", "annotations", "grounding", "logprobs", "warnings", "usage", "tools"),
        *("messages", "steps", "choices", "candidates", "provider_attempts"),
    )
)
#: Word in a key -> a normalizer its values may take, and a pattern they must match. The most telling word comes first.
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
_TIMESTAMP_KEY: Final = re.compile(r"(_at|_on|date|time|created|updated|timestamp)")
_COUNT_KEY: Final = re.compile(r"(count|number|total|size|employees|headcount|year|rank|position|tokens)")
#: Seconds and milliseconds between 2001 and 2096.
_EPOCHS: Final = (("epoch_seconds", 10**9, 4 * 10**9), ("epoch_milliseconds", 10**12, 4 * 10**12))


@dataclass(slots=True)
class Guess:
    """A column type and normalizers for some values. `doubts` lists what the sample does not tell."""

    type: str
    normalize: tuple[str, ...] = ()
    doubts: list[str] = field(default_factory=list)

    def accepts_value(self, value: Json) -> bool:
        """Return whether `value` passes the normalizers and the cast of the type, and is not missing then."""
        try:
            for name in self.normalize:
                value = NORMALIZERS[name].function(value)
            return not is_missing(value, TYPES[self.type]) and TYPES[self.type].cast(value) is not None
        except (NormalizeError, CastError):
            return False


def guess_column(key: str, values: Sequence[Json]) -> Guess:
    """Return the narrowest type that takes all `values` of a key, one per element; null and blank tell nothing."""
    present = [value for value in values if value is not None and not (isinstance(value, str) and not value.strip())]
    if not present:
        return Guess("text", doubts=["the sample has no value here, so the type is a guess"])
    fitting = (guess for guess in _list_candidates(key, present) if all(map(guess.accepts_value, present)))
    return next(fitting, Guess("jsonb", doubts=["the sample's values are of several kinds"]))


def _list_candidates(key: str, values: Sequence[Json]) -> Iterator[Guess]:
    """Yield guesses from the narrowest to the widest, not yet tried."""
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
    if whole and (len(values) > 1 or _COUNT_KEY.search(key)):  # a single 1 may be the 1 of 0.9, 1, 0.7
        yield Guess("bigint")
    yield Guess("numeric")


def _guess_strings(key: str, values: Sequence[str]) -> Iterator[Guess]:
    yield Guess("date", doubts=["a date in any other spelling rejects the row"])
    yield Guess("timestamptz", doubts=["a time in any other spelling rejects the row"])
    if all(value.lstrip().startswith("<think>") for value in values):
        yield from (Guess("jsonb", ("strip_think", "json")), Guess("text", ("strip_think",)))
    if all(value.lstrip()[:1] in ("{", "[") and isinstance(_parse_json(value), dict | list) for value in values):
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


def _parse_json(text: str) -> Json:
    try:
        return loads(text)
    except ValueError:
        return None


# --- the parts of an output -----------------------------------------------------------------------------------------


def build_path(keys: KeyPath) -> str:
    """Return the JMESPath to a value, each key quoted unless it is an identifier."""
    return ".".join(key if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key) else json.dumps(key) for key in keys)


def find_raw_body(output: Json) -> KeyPath | None:
    """Return the key under which an output keeps the provider's whole answer; None when there is none."""
    for key, value in output.items() if isinstance(output, dict) else ():
        if "raw" in to_snake_case(key).split("_") and isinstance(value, dict | list | str) and value:
            return (key,)
    return None


def find_main_array(output: Json, raw: KeyPath | None) -> KeyPath | None:
    """Return the keys to the largest array of objects outside the raw body, if it is at least half of the output.

    `()` is the output itself. Return None when there is no such array.
    """
    skipped = {raw[0]} if raw else set()
    parts = output.items() if isinstance(output, dict) else ()
    whole = sum(_measure_json(value) for key, value in parts if key not in skipped)
    sizes = {keys: _measure_json(array) for keys, array in _walk_arrays(output, (), skipped)}
    largest = max(sizes, key=lambda keys: sizes[keys], default=None)
    return largest if largest is not None and sizes[largest] * 2 >= whole else None


def find_other_arrays(output: Json, chosen: KeyPath | None) -> list[KeyPath]:
    """Return the keys to every array of objects but the chosen one, those of the raw body included."""
    return [keys for keys, _ in _walk_arrays(output, (), set()) if keys != chosen]


def _walk_arrays(value: Json, at: KeyPath, skipped: set[str]) -> Iterator[tuple[KeyPath, list[Json]]]:
    """Yield each array of objects below `value`, which stands under the keys `at`, with its own keys."""
    if isinstance(value, list):
        if value and all(isinstance(element, dict) and element for element in value):
            yield at, value
    elif isinstance(value, dict) and len(at) < 8:
        for key, child in value.items():
            if key not in _SKIPPED_KEYS and key not in skipped:
                yield from _walk_arrays(child, (*at, key), skipped)


def _measure_json(value: Json) -> int:
    """Return the number of characters of `value` as JSON."""
    return sum(map(len, write_chunks(value)))
