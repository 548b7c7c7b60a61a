"""Rows of one key are folded to the row that single upserts in sequence would have left."""

from decimal import Decimal

from engine.rows.keys import can_fill, fold_elements, group_by_key
from tests.engine.rows.test_grouping import PLAN, build_row


def test_the_last_row_of_a_key_wins_and_names_its_element() -> None:
    pairs = [(0, build_row("B", kept=1)), (1, build_row("A", kept=2)), (2, build_row("B", kept=3))]
    assert fold_elements(PLAN, pairs) == [(1, build_row("A", kept=2)), (2, build_row("B", kept=3))]


def test_a_keep_field_that_the_last_row_misses_comes_from_the_row_before() -> None:
    rows = [build_row(kept=1, cleared=1), build_row(also_kept=2), build_row(cleared=None)]
    assert fold_elements(PLAN, enumerate(rows)) == [(2, build_row(kept=1, also_kept=2, cleared=None))]
    assert can_fill(PLAN, rows[0], rows[1])
    assert not can_fill(PLAN, build_row(cleared=1), build_row())


def test_groups_are_sorted_by_key_with_nulls_last() -> None:
    keys = [(None,), ("b",), (Decimal("1.10"),), ("a",), (Decimal("1.1"),)]
    groups = group_by_key(enumerate(keys), lambda item: item[1])
    assert [[index for index, _ in items] for _, items in groups] == [[2, 4], [3], [1], [0]]
