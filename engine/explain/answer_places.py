"""Find the part of a provider's answer that a cell comes from, as a path: ("founders", "0", "name")."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from engine.jmespath.path import CompiledPath, Steps
from engine.jmespath.places import list_places
from engine.plan import OperationMapping
from engine.research.providers import ResearchProvider


def list_answer_places(
    provider: ResearchProvider,
    mapping: OperationMapping,
    paths: Iterable[CompiledPath],
    document: dict[str, Any],
    element: int | None,
) -> list[Steps]:
    """Return the paths, inside the answer's content, of the values that `paths` read; `()` is the whole content.

    `document` is that of the step result; `element` is the index of the cell's element, None without `rows`.
    """
    roots = _find_element_roots(mapping, document, element)
    places = []
    for path in paths:
        for place in list_places(path, {**document, **roots.values}):
            whole = roots.replace_root(place)
            if whole is not None and whole[: len(provider.content)] == provider.content:
                places.append(whole[len(provider.content) :])
    return list(dict.fromkeys(places))


class _ElementRoots:
    """The values of `item` and `parent` for one element, and the path of each in the document."""

    def __init__(self) -> None:
        self.places: dict[str, Steps] = {}
        self.values: dict[str, Any] = {}

    def replace_root(self, place: Steps) -> Steps | None:
        """Return a path with `item` or `parent` replaced by its path in the document; None if that is unknown."""
        if place and place[0] in self.values:
            around = self.places.get(place[0])
            return None if around is None else (*around, *place[1:])
        return place


def _find_element_roots(mapping: OperationMapping, document: dict[str, Any], element: int | None) -> _ElementRoots:
    """Return `item` and `parent` of the element with index `element`; neither if the spec has no `rows`."""
    roots = _ElementRoots()
    if mapping.rows is None or element is None:
        return roots
    for number, (place, value) in enumerate(_list_elements(mapping.rows, document)):
        if mapping.inner_rows is None:
            if number == element:
                _put_root(roots, "item", place, value)
                break
            continue
        around = {**document, "item": value}
        inner = list(_list_elements(mapping.inner_rows, around))
        if element < len(inner):
            inner_place, inner_value = inner[element]
            _put_root(roots, "parent", place, value)
            if inner_place is not None and inner_place[0] == "item":
                inner_place = None if place is None else (*place, *inner_place[1:])
            _put_root(roots, "item", inner_place, inner_value)
            break
        is_array = isinstance(mapping.inner_rows.search_or_none(around), list)
        element -= len(inner) if is_array else 1  # a value other than an array counts as one refused element
    return roots


def _put_root(roots: _ElementRoots, name: str, place: Steps | None, value: Any) -> None:
    roots.values[name] = value
    if place is not None:
        roots.places[name] = place


def _list_elements(rows: CompiledPath, document: dict[str, Any]) -> Iterator[tuple[Steps | None, Any]]:
    """Yield each element of the array at the path `rows`, with the element's path in the document.

    An array that is computed has no place of its own: its elements get the path of the first value it is computed from,
    or None if there is none.
    """
    elements = rows.search_or_none(document)
    if not isinstance(elements, list):
        return
    places = list_places(rows, document)
    is_plain = len(places) == 1 and _read_place(document, places[0]) is elements
    for index, value in enumerate(elements):
        if not places:
            yield None, value
        else:
            yield (*places[0], str(index)) if is_plain else places[0], value


def _read_place(document: Any, place: Steps) -> Any:
    for step in place:
        if isinstance(document, list):
            document = document[int(step)] if step.isdigit() and int(step) < len(document) else None
        else:
            document = document.get(step) if isinstance(document, dict) else None
    return document
