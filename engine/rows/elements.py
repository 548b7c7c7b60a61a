"""List the elements of `rows` in one document, each with the document from which its fields are read.

With nested `rows`, the elements of all inner arrays are numbered consecutively from 0. An outer element without an
inner array counts as one refused element, so that the account shows it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from engine.jmespath.path import EvaluationError
from engine.plan import OperationMapping
from engine.values.exact_json import Json


@dataclass(frozen=True, slots=True)
class Element:
    """One element: the document that has it as `item` (with `parent`), or the reason why it cannot become a row."""

    document: dict[str, Any]
    code: str = ""  # "" unless it is refused
    message: str = ""
    value: Json = None  # the value that should have been an array or an object


def list_elements(mapping: OperationMapping, document: dict[str, Any], outer: list[Any]) -> list[Element]:
    """Return the elements of `outer`, the array at `mapping.rows`; with nested rows, those of the array inside each."""
    if mapping.inner_rows is None:
        return [_build_element(mapping, document, {"item": item}) for item in outer]
    return [element for parent in outer for element in _list_inner_elements(mapping, document, parent)]


def _list_inner_elements(mapping: OperationMapping, document: dict[str, Any], parent: Json) -> Iterator[Element]:
    assert mapping.inner_rows is not None
    around = {**document, "item": parent}
    try:
        inner = mapping.inner_rows.search(around)
    except EvaluationError as error:
        message = f"`{mapping.inner_rows.text}` raised: {error.message}"
        yield Element(around, "path_failed", message, error.found)
        return
    if not isinstance(inner, list):
        message = f"`{mapping.inner_rows.text}` gives {describe_kind(inner)}, not an array"
        yield Element(around, "not_an_array", message, inner)
        return
    for item in inner:
        yield _build_element(mapping, document, {"item": item, "parent": parent})


def _build_element(mapping: OperationMapping, document: dict[str, Any], roots: dict[str, Json]) -> Element:
    element_document = {**document, **roots}
    item = roots["item"]
    if mapping.needs_objects and not isinstance(item, dict):
        message = f"the element is {describe_kind(item)}, not an object"
        return Element(element_document, "not_an_object", message, item)
    return Element(element_document)


def describe_kind(value: Json) -> str:
    """Return the JSON type of a value as words with an article, such as "an array"."""
    kinds = {type(None): "null", bool: "a boolean", str: "a string", dict: "an object", list: "an array"}
    return kinds.get(type(value), "a number")
