"""Find the parts of a sample: values inside nested objects, JSON inside strings, the array that becomes rows.

A part is a `Place`: a value with its JMESPath from the root of the document.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from engine.draft.names import to_snake_case
from engine.values.exact_json import Json, loads, write_chunks

#: The keys that lead from one place to a place inside it.
KeyPath = tuple[str, ...]

#: Keys whose values are about the research, not its result.
SKIPPED_KEYS: Final = frozenset(
    (
        *("basis", "citations", "sources", "annotations", "grounding", "logprobs", "warnings", "usage", "tools"),
        *("messages", "steps", "choices", "candidates", "provider_attempts"),
    )
)
#: The depth down to which the keys of objects become columns, and the most keys of such an object.
_MAX_DEPTH: Final = 3
_MAX_KEYS: Final = 40


@dataclass(frozen=True, slots=True)
class Place:
    """A value of the sample with its path."""

    path: str
    value: Json

    def enter(self, keys: KeyPath) -> Place:
        """Return the place that `keys` lead to from this one; its value is None where there is none."""
        value = self.value
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return Place(build_path((*([self.path] if self.path else []),), keys), value)


def build_path(roots: Sequence[str], keys: Iterable[str] = ()) -> str:
    """Return the JMESPath to a value; each of `keys` is quoted unless it is an identifier, `roots` never are."""
    quoted = (key if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key) else json.dumps(key) for key in keys)
    return ".".join((*roots, *quoted))


def parse_text(text: Json) -> Json:
    """Parse the JSON object or array in a text; None for anything else."""
    if not isinstance(text, str) or text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        value = loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict | list) else None


def open_text(place: Place) -> Place | None:
    """Return the place of the JSON object or array inside a text, with `parse_json` in its path; None without one."""
    value = parse_text(place.value)
    return None if value in (None, {}, []) else Place(f"parse_json({place.path})", value)


def list_leaves(values: Sequence[Json], skipped: Iterable[KeyPath] = ()) -> Iterator[tuple[KeyPath, list[Json]]]:
    """Yield, for each value inside some objects, the keys that lead to it and its value in every object.

    Nested objects are entered; `skipped` are the key paths to leave out.
    """
    yield from _walk_leaves(values, (), frozenset(skipped))


def _walk_leaves(
    values: Sequence[Json], at: KeyPath, skipped: frozenset[KeyPath]
) -> Iterator[tuple[KeyPath, list[Json]]]:
    for key in dict.fromkeys(key for value in values if isinstance(value, dict) for key in value):
        keys = (*at, key)
        if keys in skipped:
            continue
        children = [value.get(key) if isinstance(value, dict) else None for value in values]
        present = [child for child in children if child is not None]
        is_way = any(skip[: len(keys)] == keys for skip in skipped)
        if is_way or (len(keys) < _MAX_DEPTH and key not in SKIPPED_KEYS and present and all(map(_is_part, present))):
            yield from _walk_leaves(children, keys, skipped)
        else:
            yield keys, children


def _is_part(value: Json) -> bool:
    """Return whether a value is an object whose keys can become columns: named like properties, and few enough."""
    return isinstance(value, dict) and 0 < len(value) <= _MAX_KEYS


def find_raw_body(output: Json) -> KeyPath | None:
    """Return the key of an output whose value is the provider's whole response; None when there is none."""
    for key, value in output.items() if isinstance(output, dict) else ():
        if "raw" in to_snake_case(key).split("_") and isinstance(value, dict | list | str) and value:
            return (key,)
    return None


def find_main_array(value: Json, skipped: Iterable[str] = ()) -> KeyPath | None:
    """Return the keys to the largest array of objects in a value, if it makes up at least half of the value, else None.

    () means the value itself. Keys in `skipped` are not entered and do not count.
    """
    skipped = frozenset(skipped)
    parts = value.items() if isinstance(value, dict) else ()
    whole = sum(measure_json(part) for key, part in parts if key not in skipped)
    sizes = {keys: measure_json(array) for keys, array in walk_arrays(value, skipped)}
    largest = max(sizes, key=lambda keys: sizes[keys], default=None)
    return largest if largest is not None and sizes[largest] * 2 >= whole else None


def walk_arrays(value: Json, skipped: frozenset[str] = frozenset(), at: KeyPath = ()) -> Iterator[tuple[KeyPath, Json]]:
    """Yield (keys, array) for each array of objects inside a value; `at` are the keys that lead to the value."""
    if isinstance(value, list):
        if value and all(isinstance(element, dict) and element for element in value):
            yield at, value
    elif isinstance(value, dict) and len(at) < 8:
        for key, child in value.items():
            if key not in SKIPPED_KEYS and key not in skipped:
                yield from walk_arrays(child, skipped, (*at, key))


def measure_json(value: Json) -> int:
    """Return the number of characters of `value` as JSON."""
    return sum(map(len, write_chunks(value)))
