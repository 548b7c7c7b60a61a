"""What is folded as one has one name, in every process, however its key is spelled."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from engine.rows.extract import Extraction
from engine.rows.outcomes import ExtractionOutcome
from engine.rows.units import ORGANISATION_SLOTS, UNIT_SLOTS, build_unit, group_rows_by_unit, list_locks
from tests.engine.rows.test_fold import PLAN, REPLACING, build_row

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (Decimal("1.10"), Decimal("1.1")),
        (Decimal("1E+3"), Decimal("1000")),
        (Decimal("-0.0"), Decimal(0)),
        (Decimal("123456789012345678901234567890.50"), Decimal("123456789012345678901234567890.5")),
        (NOON, NOON.astimezone(timezone(timedelta(hours=2)))),
    ],
)
def test_equal_keys_are_one_unit(left: Any, right: Any) -> None:
    assert build_unit(PLAN, "o", build_row(left)) == build_unit(PLAN, "o", build_row(right))


@pytest.mark.parametrize(
    ("left", "right"),
    [("A", "a"), ("A", " A"), (None, ""), ("1", "1.0"), (Decimal("1.10"), Decimal("1.11")), ("null", None)],
)
def test_other_keys_are_other_units(left: Any, right: Any) -> None:
    assert build_unit(PLAN, "o", build_row(left)) != build_unit(PLAN, "o", build_row(right))


def test_organisations_have_units_of_their_own() -> None:
    assert build_unit(PLAN, "o", build_row("A")) != build_unit(PLAN, "p", build_row("A"))


def test_a_process_that_resumes_names_units_as_the_killed_one_did() -> None:
    program = (
        "from tests.engine.rows.test_units import *;"
        " print([build_unit(PLAN, 'o', build_row(s)).id for s in ('A', None, 'é')])"
    )
    outputs = [
        subprocess.check_output([sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed})
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]


def test_locks_are_few_and_in_one_order() -> None:
    units = [build_unit(PLAN, "o", build_row(f"S{at}")) for at in range(1000)]
    locks = list_locks(PLAN.name, units)
    assert len(locks) == UNIT_SLOTS and locks == sorted(locks)
    assert not set(locks) & set(list_locks("other", units))
    assert not set(locks) & set(list_locks(PLAN.name, [build_unit(PLAN, "p", build_row(f"S{at}")) for at in range(99)]))
    many = [build_unit(PLAN, f"organisation {at}", build_row(f"S{at % 9}")) for at in range(9000)]
    assert len(list_locks(PLAN.name, many)) == ORGANISATION_SLOTS * UNIT_SLOTS


def test_under_delete_the_rows_of_a_parent_are_one_unit_and_an_empty_list_has_it_too() -> None:
    rows = ({"domain": "a", "name": "x"}, {"domain": "a", "name": "y"})
    full = Extraction(ExtractionOutcome.ROW, rows, elements=2, indices=(0, 1), parent={"domain": "a"})
    empty = Extraction(ExtractionOutcome.ROW, elements=0, parent={"domain": "a"})
    ((unit, numbers),) = group_rows_by_unit(REPLACING, "o", full).items()
    assert numbers == [0, 1] and unit.parent == '{"domain":"a"}'
    assert group_rows_by_unit(REPLACING, "o", empty) == {unit: []}


def test_what_gives_no_row_contributes_to_nothing() -> None:
    for outcome in (ExtractionOutcome.FILTERED, ExtractionOutcome.REJECTED):
        assert group_rows_by_unit(PLAN, "o", Extraction(outcome)) == {}
