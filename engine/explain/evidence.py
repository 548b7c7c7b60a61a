"""Choose a provider's evidence for a cell: the basis entries about the part of the answer that the cell comes from.

The basis is the provider's list of evidence; an entry names a part of the answer as `founders.0.name`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from engine.jmespath.path import Steps
from engine.research.providers import ResearchProvider
from engine.values.exact_json import Json

#: An index in brackets: some providers write `founders[0].name` instead of `founders.0.name`.
_INDEX: Final = re.compile(r"\[(\d+)\]")


def choose_evidence(
    provider: ResearchProvider, basis: Json, places: Iterable[Steps], value: Json
) -> list[dict[str, Json]]:
    """Return the entries of `basis` about each path in `places`; then those about its nearest ancestor that has some.

    For an object or array, the entries about its parts follow. A provider may leave indices out (`founders.name`
    instead of `founders.0.name`); such an entry is used if no entry has the index.
    """
    entries = list(_list_named_entries(provider, basis))
    chosen: dict[int, dict[str, Any]] = {}
    for place in places:
        for entry in _list_entries(entries, place, has_parts=isinstance(value, dict | list)):
            chosen[id(entry)] = entry
    return [_build_evidence(entry) for entry in chosen.values()]


def _list_named_entries(provider: ResearchProvider, basis: Json) -> Iterator[tuple[Steps, dict[str, Any]]]:
    """Yield each entry that names a part of the answer, with the path of that part; `()` is the whole answer."""
    for entry in basis if isinstance(basis, list) else ():
        name = entry.get("field") if isinstance(entry, dict) else None
        if isinstance(entry, dict) and isinstance(name, str):
            yield () if name in provider.whole_names else tuple(_INDEX.sub(r".\1", name).split(".")), entry


def _list_entries(
    entries: Sequence[tuple[Steps, dict[str, Any]]], place: Steps, *, has_parts: bool
) -> Iterator[dict[str, Any]]:
    yield from _find_entries(entries, place)
    for end in range(len(place) - 1, -1, -1):
        if found := _find_entries(entries, place[:end]):
            yield from found
            break
    if has_parts:
        yield from (entry for steps, entry in entries if len(steps) > len(place) and steps[: len(place)] == place)


def _find_entries(entries: Sequence[tuple[Steps, dict[str, Any]]], place: Steps) -> list[dict[str, Any]]:
    found = [entry for steps, entry in entries if steps == place]
    plain = tuple(step for step in place if not step.isdigit())
    return found or [entry for steps, entry in entries if plain and plain != place and steps == plain]


def _build_evidence(entry: dict[str, Any]) -> dict[str, Json]:
    citations = entry.get("citations")
    return {
        "field": _read_text(entry.get("field")) or "",
        "citations": citations if isinstance(citations, list) else [],
        "reasoning": _read_text(entry.get("reasoning")),
        "confidence": _read_text(entry.get("confidence")),
    }


def _read_text(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() else None
