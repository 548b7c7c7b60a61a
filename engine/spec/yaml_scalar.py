"""A scalar of a YAML text, and where each of its characters stands.

In: where a scalar starts and ends, how it is written, what it says. Out: the place in the text of its n-th character.
It must not know what the scalar means.

YAML folds lines, drops indentation and reads escapes: character 40 of a path is rarely the 40th after the quote. So the
text is walked token by token, each token giving none, one or several characters of the value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scalar:
    """A scalar between two indices of a text. `style` is its quote, `|` or `>`; None for a plain one."""

    start: int
    end: int
    style: str | None
    value: str


def seek(text: str, scalar: Scalar, offset: int) -> int:
    """The index in `text` of character `offset` of the scalar's value; the end of the scalar beyond its last."""
    tokens = _block(text, scalar) if scalar.style in ("|", ">") else _flow(text, scalar)
    for index, length in tokens:
        if offset < length:
            return index
        offset -= length
    return scalar.end - (1 if scalar.style in ('"', "'") else 0)


_BREAK = re.compile(r"[ \t]*(\r?\n[ \t]*)+")
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_ESCAPED_BREAK = re.compile(r"\\\r?\n[ \t]*")


def _flow(text: str, scalar: Scalar) -> Iterator[tuple[int, int]]:
    """(index, number of characters) of each token of a plain or quoted scalar."""
    index = scalar.start + (1 if scalar.style else 0)
    while index < scalar.end:
        end, length = _flow_token(text, scalar.style, index)
        yield index, length
        index = end


def _flow_token(text: str, style: str | None, index: int) -> tuple[int, int]:
    """Where the token at `index` ends, and how many characters it gives."""
    if style == '"' and (found := _ESCAPED_BREAK.match(text, index)):
        return found.end(), 0
    if style == '"' and (found := _ESCAPE.match(text, index)):
        return found.end(), 1
    if style == "'" and text.startswith("''", index):
        return index + 2, 1
    if found := _BREAK.match(text, index):
        return found.end(), max(found.group().count("\n") - 1, 1)  # one break is a space, the first of several nothing
    return index + 1, 1


def _block(text: str, scalar: Scalar) -> Iterator[tuple[int, int]]:
    """The same for a block: its characters, then the break behind each of its lines."""
    lines = list(_lines(text, scalar))
    for number, (index, content) in enumerate(lines):
        yield from ((index + column, 1) for column in range(len(content)))
        after = [line for _, line in lines[number + 1 :]]
        yield index + len(content), 0 if scalar.style == ">" and _swallowed(content, after) else 1


def _swallowed(line: str, after: list[str]) -> bool:
    """Whether folding drops the break behind `line`: the first of several between two lines of text."""
    following = next((item for item in after if item), "")
    several = bool(line and following) and not after[0]
    return several and line[0] not in " \t" and following[0] not in " \t"


def _lines(text: str, scalar: Scalar) -> Iterator[tuple[int, str]]:
    """(index, content) of each line of a block, its indentation taken off."""
    index = text.find("\n", scalar.start) + 1
    raw = text[index : scalar.end].split("\n")
    indent = _indentation(raw, scalar.value)
    for line in raw:
        yield index + min(indent, len(line)), line[indent:].rstrip("\r")
        index += len(line) + 1


def _indentation(raw: list[str], value: str) -> int:
    """How far a block is indented: what stands before its first line of text, less what the value keeps of that."""
    first = next((line for line in raw if line.strip()), "")
    kept = next((line for line in value.split("\n") if line.strip()), "")
    return _spaces(first) - _spaces(kept)


def _spaces(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
