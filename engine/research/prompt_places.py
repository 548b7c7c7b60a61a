"""Find the `{{input}}` placeholders of a prompt.

A line of which all inputs are blank is left out of the sent prompt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_PLACE = re.compile(r"\{\{([A-Za-z0-9_]+)\}\}")
#: Text that was probably meant as a placeholder: anything between double braces on one line.
_NEAR_PLACE = re.compile(r"\{\{([^{}\n]*)\}\}")


@dataclass(frozen=True, slots=True)
class PromptPlace:
    """One placeholder `{{input}}` of a prompt; `offset` is the 0-based position of the name."""

    name: str
    offset: int


def list_places(prompt: str) -> list[PromptPlace]:
    """Return the placeholders of a prompt in their order."""
    return [PromptPlace(match[1], match.start(1)) for match in _PLACE.finditer(prompt)]


def find_malformed_places(prompt: str) -> Iterator[PromptPlace]:
    """Yield the texts between double braces that are not names, such as `{{ company_name }}`."""
    for match in _NEAR_PLACE.finditer(prompt):
        if not _PLACE.fullmatch(match[0]):
            yield PromptPlace(match[1], match.start())


def find_single_braces(prompt: str, names: Iterable[str]) -> dict[str, int]:
    """Return those of `names` that stand between single braces in the prompt, each with the offset of its brace.

    `{company_name}` stays as it is in the prompt; mostly `{{company_name}}` was meant.
    """
    offsets = {}
    for name in names:
        if match := re.search(rf"(?<!\{{)\{{{re.escape(name)}\}}(?!\}})", prompt):
            offsets[name] = match.start()
    return offsets
