"""Find the places of a prompt: `{{input}}` stands for an input, and a line whose inputs are all blank is left out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_PLACE = re.compile(r"\{\{([A-Za-z0-9_]+)\}\}")
#: Text that was probably meant as a place: anything between double braces on one line.
_NEAR_PLACE = re.compile(r"\{\{([^{}\n]*)\}\}")


@dataclass(frozen=True, slots=True)
class PromptPlace:
    """One `{{input}}` of a prompt, at the 0-based character `offset` of the name."""

    name: str
    offset: int


def list_places(prompt: str) -> list[PromptPlace]:
    """Return the places of a prompt in their order."""
    return [PromptPlace(match[1], match.start(1)) for match in _PLACE.finditer(prompt)]


def find_malformed_places(prompt: str) -> Iterator[PromptPlace]:
    """Yield the texts between double braces that are no name, such as `{{ company_name }}`."""
    for match in _NEAR_PLACE.finditer(prompt):
        if not _PLACE.fullmatch(match[0]):
            yield PromptPlace(match[1], match.start())


def find_single_braces(prompt: str, names: Iterable[str]) -> dict[str, int]:
    """Return which of `names` the prompt has between single braces, which fill nothing, with the first brace's offset.

    `{company_name}` is mostly meant as `{{company_name}}`.
    """
    offsets = {}
    for name in names:
        if match := re.search(rf"(?<!\{{)\{{{re.escape(name)}\}}(?!\}})", prompt):
            offsets[name] = match.start()
    return offsets


def find_line_and_column(text: str, offset: int) -> tuple[int, int]:
    """Return the 1-based line and column of character `offset`."""
    before = text[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1
