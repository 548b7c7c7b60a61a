"""Infer from the form of an expression which JSON types it can give."""

from __future__ import annotations

from typing import Any, Final

from engine.jmespath.grammar import Node
from engine.values.exact_json import JsonKind, json_kind

Kinds = frozenset[JsonKind]

_NULL: Final = frozenset({JsonKind.NULL})
_ARRAY: Final = frozenset({JsonKind.ARRAY})
_BOOLEAN: Final = frozenset({JsonKind.BOOLEAN})
_NUMBER: Final = frozenset({JsonKind.NUMBER})
_STRING: Final = frozenset({JsonKind.STRING})
_OBJECT: Final = frozenset({JsonKind.OBJECT})
_NODE_KINDS: Final = {
    **dict.fromkeys(("projection", "filter_projection", "value_projection", "flatten", "multi_select_list"), _ARRAY),
    "multi_select_dict": _OBJECT,
    "comparator": _BOOLEAN,
    "not_expression": _BOOLEAN,
}
_FUNCTION_KINDS: Final = {
    **dict.fromkeys(("abs", "avg", "ceil", "floor", "length", "sum"), _NUMBER),
    **dict.fromkeys(("contains", "ends_with", "starts_with"), _BOOLEAN),
    **dict.fromkeys(("keys", "map", "sort", "sort_by", "to_array", "values"), _ARRAY),
    **dict.fromkeys(("join", "type"), _STRING),
    "merge": _OBJECT,
}


def infer_kinds(node: Node) -> Kinds | None:
    """Return the JSON types other than null that an expression can give; None if that depends on the document."""
    kind, children = node["type"], node.get("children", ())
    if kind == "literal":
        return frozenset({JsonKind(json_kind(node["value"]))}) - _NULL
    if kind == "function_expression":
        return _FUNCTION_KINDS.get(node["value"])
    if kind in ("pipe", "subexpression"):
        return infer_kinds(children[-1])
    if kind in ("or_expression", "and_expression"):
        return _unite_kinds(*map(infer_kinds, children))
    return _NODE_KINDS.get(kind)


def _unite_kinds(*kinds: Any) -> Kinds | None:
    return None if None in kinds else frozenset().union(*kinds)
