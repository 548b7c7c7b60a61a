"""The last row of a key wins whole, and keys have one order."""

from decimal import Decimal

from engine.rows.keys import build_sort_key, select_last_of_key
from tests.engine.rows.test_fold import PLAN, build_row


def test_the_last_row_of_a_key_wins_whole_and_names_its_element() -> None:
    pairs = [(0, build_row("B", kept=1)), (1, build_row("A", kept=2)), (2, build_row("B", also_kept=3))]
    assert select_last_of_key(PLAN, pairs) == [(1, build_row("A", kept=2)), (2, build_row("B", also_kept=3))]


def test_keys_are_sorted_by_text_with_nulls_last() -> None:
    keys = [(None,), ("b",), (Decimal("1.10"),), ("a",), ("",)]
    assert sorted(keys, key=build_sort_key) == [("",), (Decimal("1.10"),), ("a",), ("b",), (None,)]
