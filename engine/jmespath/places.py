"""Find the places in a document from which a path takes its value, including the indices of arrays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from engine.jmespath.grammar import Node
from engine.jmespath.path import CompiledPath, EvaluationError, Steps, is_truthy

#: Nodes whose value is computed from the whole value of their first operand.
_OVER_ARRAYS = ("projection", "value_projection", "filter_projection", "flatten", "slice")


def list_places(path: CompiledPath, document: dict[str, Any]) -> tuple[Steps, ...]:
    """Return the places from which `path` takes its value; for `a || b`, those of the first that has a value.

    A place is a tuple of keys and indices, all as text. For a projection or a function it is the last place before it,
    which contains the value. For `parse_json`, the place continues inside the parsed text.
    """
    return tuple(dict.fromkeys(_walk_node(path.ast, [()], document)))


def _walk_node(node: Node, bases: list[Steps], document: dict[str, Any]) -> list[Steps]:
    kind, children = node["type"], node.get("children", [])
    match kind:
        case "field":
            return [(*base, node["value"]) for base in bases]
        case "index":
            return [(*base, str(node["value"])) if node["value"] >= 0 else base for base in bases]
        case "current" | "identity":
            return bases
        case "literal" | "expref":
            return []
        case "subexpression" | "pipe" | "index_expression":
            return _walk_chain(children, bases, document)
        case "or_expression":
            return _walk_alternatives(children, bases, document)
    if kind in _OVER_ARRAYS:
        return _walk_node(children[0], bases, document) if children else bases
    return [place for child in children for place in _walk_node(child, bases, document)]


def _walk_chain(children: Iterable[Node], bases: list[Steps], document: dict[str, Any]) -> list[Steps]:
    """Return the places of a chain such as `a.b[0]`, up to the first step that computes a new value."""
    for child in children:
        bases = _walk_node(child, bases, document)
        is_call = child["type"] == "function_expression"
        if child["type"] in _OVER_ARRAYS or (is_call and child["value"] != "parse_json"):
            break
    return bases


def _walk_alternatives(children: list[Node], bases: list[Steps], document: dict[str, Any]) -> list[Steps]:
    """Return the places of the first alternative that has a value; inside another expression, those of all of them."""
    places = [_walk_node(child, bases, document) for child in children]
    if bases != [()]:
        return [place for part in places for place in part]
    for child, part in zip(children, places, strict=True):
        if _has_value(child, document):
            return part
    return places[-1]


def _has_value(node: Node, document: dict[str, Any]) -> bool:
    try:
        return is_truthy(CompiledPath("", node).search(document))
    except EvaluationError:
        return False
