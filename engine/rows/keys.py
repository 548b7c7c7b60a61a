"""Rows with the same conflict key: how they are grouped, in which order, and what the last of them keeps.

Bulk merges and calls with several rows use the same two rules. The last row of a key wins, and a field with
`on_missing: keep` that it misses keeps the value of the row before it, as single upserts in sequence would leave it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce
from typing import Any, TypeVar

from engine.plan import Plan
from engine.rows.extract import Row

Item = TypeVar("Item")
Element = TypeVar("Element")
Key = tuple[Any, ...]


def build_key(plan: Plan, row: Row) -> Key:
    """Return the values of the conflict columns without `org_id`, in conflict order."""
    return tuple(row[column.name] for column in plan.key_fields)


def group_by_key(items: Iterable[Item], find_key: Callable[[Item], Key]) -> list[tuple[Key, list[Item]]]:
    """Group `items` by key, each group in the order of `items`.

    The groups are sorted by key: when every writer locks rows in one order, two of them cannot deadlock.
    """
    groups: dict[Key, list[Item]] = {}
    for item in items:
        groups.setdefault(find_key(item), []).append(item)
    return sorted(groups.items(), key=lambda group: _sort_key(group[0]))


def fold_elements(plan: Plan, elements: Iterable[tuple[Element, Row]]) -> list[tuple[Element, Row]]:
    """Reduce (element, row) pairs to one per key, sorted by key: the last element with the row single upserts leave."""

    def fold_pair(earlier: tuple[Element, Row], later: tuple[Element, Row]) -> tuple[Element, Row]:
        return later[0], _fill_kept_fields(plan, earlier[1], later[1])

    groups = group_by_key(elements, lambda pair: build_key(plan, pair[1]))
    return [reduce(fold_pair, pairs) for _, pairs in groups]


def can_fill(plan: Plan, earlier: Row, later: Row) -> bool:
    """Return whether `earlier` has a value for an `on_missing: keep` field that `later` misses."""
    return any(earlier[name] is not None and later[name] is None for name in _list_kept_fields(plan))


def _fill_kept_fields(plan: Plan, earlier: Row, later: Row) -> Row:
    return {**later, **{name: earlier[name] for name in _list_kept_fields(plan) if later[name] is None}}


def _list_kept_fields(plan: Plan) -> list[str]:
    return [column.name for column in plan.fields if column.on_missing == "keep"]


def _sort_key(key: Key) -> list[tuple[bool, str]]:
    """Order keys by text, nulls last: values of one column may be of types that Python cannot compare."""
    return [(part is None, str(part)) for part in key]
