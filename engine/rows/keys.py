"""The conflict key of a row, and the order of keys in which rows are locked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from engine.plan import Plan

Key = tuple[Any, ...]
Row = TypeVar("Row", bound=Mapping[str, Any])


def build_key(plan: Plan, row: Mapping[str, Any]) -> Key:
    """Return the values of the conflict columns without `org_id`, in conflict order."""
    return tuple(row[column.name] for column in plan.key_fields)


def select_last_of_key(plan: Plan, elements: Iterable[tuple[int, Row]]) -> list[tuple[int, Row]]:
    """Return the last (element, row) pair of each key, sorted by key.

    If every transaction locks rows in the same order, two of them cannot deadlock.
    """
    last = {build_key(plan, row): (index, row) for index, row in elements}
    return [last[key] for key in sorted(last, key=build_sort_key)]


def build_sort_key(key: Key) -> list[tuple[bool, str]]:
    """Return what to sort a key by: texts with nulls last, since Python cannot compare values of different types."""
    return [(part is None, str(part)) for part in key]
