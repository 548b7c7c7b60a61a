"""The conflict key of a row: its values, and the order of rows by key."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from engine.plan import Plan
from engine.rows.extract import Row

Key = tuple[Any, ...]


def build_key(plan: Plan, row: Row) -> Key:
    """Return the values of the conflict columns without `org_id`, in conflict order."""
    return tuple(row[column.name] for column in plan.key_fields)


def select_last_of_key(plan: Plan, elements: Iterable[tuple[int, Row]]) -> list[tuple[int, Row]]:
    """Reduce (element, row) pairs to the last of each key, sorted by key.

    When every writer locks rows in one order, two of them cannot deadlock.
    """
    last = {build_key(plan, row): (index, row) for index, row in elements}
    return [last[key] for key in sorted(last, key=sort_key)]


def sort_key(key: Key) -> list[tuple[bool, str]]:
    """Return what orders keys by text, nulls last: values of one column may be of types that Python cannot compare."""
    return [(part is None, str(part)) for part in key]
