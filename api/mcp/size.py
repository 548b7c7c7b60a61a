"""Shorten an answer to a size in bytes, since an agent's context is limited and its owner pays for every token."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from api.http.errors import Fault
from engine.values import exact_json
from engine.values.exact_json import Json

#: The limits to try in turn: characters of a string, entries of a list or object, levels of nesting.
_STEPS: Final = ((4000, 200, 11), (1500, 60, 7), (600, 40, 5), (240, 30, 4), (120, 20, 3), (60, 12, 2), (30, 6, 1))


def measure_text(text: bytes) -> int:
    """Return the bytes that a JSON text takes as a string inside a JSON message."""
    return len(msgspec.json.encode(text.decode()))


def shorten_answer(text: bytes, most: int) -> bytes:
    """Shorten `data` of an answer until `measure_text` gives at most `most`; each cut says how much is missing.

    `meta` stays whole: a part of a cursor would be refused. Raises Fault 422 when the answer is too large even with the
    strictest limits.
    """
    if measure_text(text) <= most:
        return text
    answer = exact_json.loads(text)
    assert isinstance(answer, dict)
    for shortened in _shorten_stepwise(answer["data"]):
        text = exact_json.dumps({**answer, "data": shortened})
        if measure_text(text) <= most:
            return text
    hint = "name `fields`, a smaller `limit`, or a larger `max_bytes`"
    raise Fault("answer_too_large", f"the answer does not fit {most} bytes", hint=hint)


def shorten_error(text: bytes, most: int) -> bytes:
    """Shorten the JSON text of an error until `measure_text` gives at most `most`.

    It repeats what was sent, which may be what `exact_json` does not read, such as a NUL.
    """
    if measure_text(text) <= most:
        return text
    shortened = map(msgspec.json.encode, _shorten_stepwise(msgspec.json.decode(text)))
    return next(text for text in shortened if measure_text(text) <= most)


def _shorten_stepwise(value: Json) -> Iterator[Json]:
    for characters, entries, levels in _STEPS:
        yield _shorten_value(value, characters, entries, levels)


def _shorten_value(value: Json, characters: int, entries: int, levels: int) -> Json:
    if isinstance(value, str):
        return value if len(value) <= characters else f"{value[:characters]}… (+{len(value) - characters} characters)"
    if not isinstance(value, list | dict) or not value:
        return value
    if levels == 0:
        return f"… ({len(value)} {'keys' if isinstance(value, dict) else 'entries'})"
    left_out = len(value) - entries
    if isinstance(value, list):
        shown = [_shorten_value(entry, characters, entries, levels - 1) for entry in value[:entries]]
        return [*shown, f"… (+{left_out} entries)"] if left_out > 0 else shown
    names = list(value)[:entries]
    pairs = {name: _shorten_value(value[name], characters, entries, levels - 1) for name in names}
    return {**pairs, "…": f"+{left_out} keys"} if left_out > 0 else pairs
