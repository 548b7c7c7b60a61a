"""Find where in a YAML text a character of a scalar's value stands.

YAML folds lines, drops indentation and decodes escapes, so character 40 of a value is rarely the 40th after the quote.
The text is therefore read token by token; each token gives none, one or several characters of the value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scalar:
    """A scalar between two indices of a text. `style` is its quote, or `|` or `>`; None for one without quotes."""

    start: int
    end: int
    style: str | None
    value: str


def find_character(text: str, scalar: Scalar, offset: int) -> int:
    """Return the index in `text` of character `offset` of the scalar's value; the scalar's end if it is shorter."""
    tokens = _walk_block_scalar(text, scalar) if scalar.style in ("|", ">") else _walk_flow_scalar(text, scalar)
    for index, length in tokens:
        if offset < length:
            return index
        offset -= length
    return scalar.end - (1 if scalar.style in ('"', "'") else 0)


_BREAK = re.compile(r"[ \t]*(\r?\n[ \t]*)+")
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_ESCAPED_BREAK = re.compile(r"\\\r?\n[ \t]*")


def _walk_flow_scalar(text: str, scalar: Scalar) -> Iterator[tuple[int, int]]:
    """Yield each token of a scalar, with or without quotes: its index in the text, and how many characters it gives."""
    index = scalar.start + (1 if scalar.style else 0)
    while index < scalar.end:
        end, length = _read_flow_token(text, scalar.style, index)
        yield index, length
        index = end


def _read_flow_token(text: str, style: str | None, index: int) -> tuple[int, int]:
    """Return the index at which the token at `index` ends, and how many characters it gives."""
    if style == '"' and (found := _ESCAPED_BREAK.match(text, index)):
        return found.end(), 0
    if style == '"' and (found := _ESCAPE.match(text, index)):
        return found.end(), 1
    if style == "'" and text.startswith("''", index):
        return index + 2, 1
    if found := _BREAK.match(text, index):
        return found.end(), max(found.group().count("\n") - 1, 1)  # one break is a space, of several the first nothing
    return index + 1, 1


def _walk_block_scalar(text: str, scalar: Scalar) -> Iterator[tuple[int, int]]:
    """Yield each token of a block scalar: the characters of each line, then the line break after it."""
    lines = list(_split_block_lines(text, scalar))
    for number, (index, content) in enumerate(lines):
        yield from ((index + column, 1) for column in range(len(content)))
        after = [line for _, line in lines[number + 1 :]]
        yield index + len(content), 0 if scalar.style == ">" and _is_break_dropped(content, after) else 1


def _is_break_dropped(line: str, after: list[str]) -> bool:
    """Return whether folding drops the line break after `line`: the first of several breaks between lines of text."""
    following = next((content for content in after if content), "")
    several = bool(line and following) and not after[0]
    return several and line[0] not in " \t" and following[0] not in " \t"


def _split_block_lines(text: str, scalar: Scalar) -> Iterator[tuple[int, str]]:
    """Yield each line of a block: its index in the text, and its content without the indentation of the block."""
    index = text.find("\n", scalar.start) + 1
    raw = text[index : scalar.end].split("\n")
    indent = _measure_indentation(raw, scalar.value)
    for line in raw:
        yield index + min(indent, len(line)), line[indent:].rstrip("\r")
        index += len(line) + 1


def _measure_indentation(raw: list[str], value: str) -> int:
    """Return the indentation of a block: the leading spaces of its first line of text, less those in the value."""
    first = next((line for line in raw if line.strip()), "")
    kept = next((line for line in value.split("\n") if line.strip()), "")
    return _count_leading_spaces(first) - _count_leading_spaces(kept)


def _count_leading_spaces(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
