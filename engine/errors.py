"""What can be wrong, and how it is said.

In: a place, a code, a sentence, advice. Out: the two lines an editor can open.
It must not know how the mistake was found. Every code is explained once, in CODES; `docs/errors.md` is written from it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EngineError(Exception):
    """Base of every error the engine raises on purpose. `hint` says what to do about it."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint naming the known word closest to `name`, or all the known ones when none is close."""
    words = sorted(known)
    close = difflib.get_close_matches(name, words, n=1, cutoff=0.6)
    if close:
        return f"did you mean `{close[0]}`?"
    return "known: " + ", ".join(f"`{word}`" for word in words) if words else ""
