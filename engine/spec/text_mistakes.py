"""Find mistakes in the text of a spec that a YAML parser misses, or notices only later in the text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TextMistake:
    """A mistake at a character of a text; `index` counts from 0."""

    index: int
    message: str
    hint: str


#: Invisible characters that change how a text is displayed: control characters, and marks of text direction.
_HIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_MERGE_CONFLICT = re.compile(r"^<{7} .*$", re.MULTILINE)
_WRONG_INDENT = re.compile("^[ \t]*([\u00a0\u1680\u2000-\u200b\u202f\u205f\u3000\ufeff])", re.MULTILINE)
#: A value that begins with a double quote and does not end on its line.
_OPEN_QUOTE = re.compile(r"""^[ \t]*(?:- )?[\w.-]+:[ \t]+(")(?:[^"\\\n]|\\[^\n])*\\?$""", re.MULTILINE)
#: A path without quotes that begins with a bracket, so that YAML reads a list or a mapping.
_BARE_PATH = re.compile(r"[ \t]*(?:path|rows|when):[ \t]*[\[{]")


def find_merge_conflict(text: str) -> TextMistake | None:
    """Return the first marker of an unresolved git merge as a mistake; None without one."""
    found = _MERGE_CONFLICT.search(text)
    if found is None:
        return None
    hint = "choose one of the two sides, and take out the lines with `<<<<<<<`, `=======` and `>>>>>>>`"
    return TextMistake(found.start(), f"a merge conflict is not resolved, `{found[0]}`", hint)


def find_hidden_characters(text: str) -> Iterator[TextMistake]:
    """Yield a mistake for each invisible character that changes how the text is displayed."""
    for found in _HIDDEN.finditer(text):
        message = f"the character U+{ord(found[0]):04X} is not seen, and changes how the text is read"
        yield TextMistake(found.start(), message, "take it out, its escape too")


def find_cause(text: str, end: int) -> TextMistake | None:
    """Return the likely cause of a syntax error that the parser noticed before character `end`; None if unknown."""
    if found := _WRONG_INDENT.search(text, 0, end):
        message = f"U+{ord(found[1]):04X}, which looks like a space, stands in the indentation"
        return TextMistake(found.start(1), message, "replace it by a plain space")
    opened = [found for found in _OPEN_QUOTE.finditer(text) if found.start() < end]
    if opened:
        return TextMistake(opened[-1].start(1), "the quote that begins here is not closed", "close the quote")
    return None


def is_bare_path(line: str) -> bool:
    """Return whether the first line of a text has a path without quotes that begins with a bracket."""
    return _BARE_PATH.match(line) is not None
