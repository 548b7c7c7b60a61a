"""The fold: newest wins, kept values come from the newest that has one, and only what is needed is read."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.plan import Plan
from engine.rows.extract import COPIED, Extraction, Reason
from engine.rows.fold import Contributor, UnitFold
from engine.rows.outcomes import ExtractionOutcome
from engine.rows.steps import MAX_BYTES, MAX_ROWS, BatchBuilder, Step, assign_writer, build_step
from engine.rows.units import UNIT_SLOTS
from tests.database.conftest import HEAD, compile_text

SPEC = f"""{HEAD}
fields:
  symbol: {{type: text, path: "output.symbol"}}
  kept: {{type: integer, path: "output.kept"}}
  also_kept: {{type: integer, path: "output.also_kept"}}
  cleared: {{type: integer, path: "output.cleared", on_missing: clear}}
"""
LISTS = """
spec: 1
name: lists
title: Lists
operations: [company.derive.lists]
table: lists
row_name: list_row
conflict: [org_id, domain, name]
rows: "output.items"
on_absent: delete
fields:
  domain: {type: text, path: "output.domain", required: true}
  name: {type: text, path: "item.name", required: true}
  note: {type: text, path: "item.note"}
"""


PLAN = compile_text(SPEC)
REPLACING = compile_text(LISTS)
START = datetime(2026, 1, 1, tzinfo=UTC)


def build_row(symbol: Any = "A", kept: Any = None, also_kept: Any = None, cleared: Any = None) -> dict[str, Any]:
    return {"symbol": symbol, "kept": kept, "also_kept": also_kept, "cleared": cleared}


def build_test_step(at: int, *rows: Any, of: Plan = PLAN, size: int = 0, **more: Any) -> Step:
    extraction = Extraction(ExtractionOutcome.ROW, rows, **{"elements": len(rows), **more})
    origin = {"submission_id": "u", "pipeline_run_id": "r", "version": "1"}
    recorded_at = START + timedelta(seconds=at)
    return build_step(of, extraction, org_id="o", size=size, id=f"s{at}", recorded_at=recorded_at, **origin)


def build_fold(*steps: Step, of: Plan = PLAN) -> UnitFold:
    (unit,) = {unit for step in steps for unit in step.units}
    contributors = [Contributor(step.id, step.recorded_at, step, step.units[unit], is_new=True) for step in steps]
    fold = UnitFold(of, unit, contributors)
    fold.sort_contributors()
    return fold


def build_list(at: int, *names: str, refused: int = 0, **notes: str) -> Step:
    rows = [{"domain": "a", "name": name, "note": notes.get(name)} for name in names]
    parent = {"domain": "a"}
    return build_test_step(at, *rows, of=REPLACING, elements=len(rows) + refused, parent=parent)


numbers = st.none() | st.integers(0, 3)
rows = st.builds(build_row, st.just("A"), numbers, numbers, numbers)


@settings(deadline=None)
@given(st.lists(rows, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_any_order_of_arrival_gives_the_row_of_one_upsert_after_the_other(arriving: Any, chance: Any) -> None:
    expected: dict[str, Any] = {}
    for row in arriving:
        kept = {name: expected.get(name) for name in ("kept", "also_kept") if row[name] is None}
        expected = {**row, **kept}
    steps = [build_test_step(at, row) for at, row in enumerate(arriving)]
    newest = steps[-1]
    chance.shuffle(steps)
    (folded,) = build_fold(*steps).fold_rows()
    assert folded.values == expected and folded.newest.step is newest


def test_at_equal_times_the_higher_id_is_newer() -> None:
    low, high = build_test_step(1, build_row(kept=1)), build_test_step(2, build_row(kept=2))
    high.recorded_at = low.recorded_at
    for steps in ((low, high), (high, low)):
        (folded,) = build_fold(*steps).fold_rows()
        assert folded.values["kept"] == 2


def test_a_refused_contribution_does_not_count() -> None:
    fold = build_fold(build_test_step(0, build_row(kept=1)), build_test_step(1, build_row(kept=2, cleared=9)))
    fold.contributors[1].refusals[0] = Reason("refused_by_database", None, "no")
    (folded,) = fold.fold_rows()
    assert folded.values == build_row(kept=1)
    fold.contributors[0].refusals[0] = Reason("refused_by_database", None, "no")
    assert fold.fold_rows() == []


def test_prefixes_are_what_each_contribution_leaves() -> None:
    fold = build_fold(*(build_test_step(at, build_row(kept=at or None, cleared=at)) for at in range(3)))
    left = [[row.values for row in fold.fold_rows_up_to(place)] for place in range(4)]
    assert left == [[build_row(cleared=0)], [build_row(kept=1, cleared=1)], [build_row(kept=2, cleared=2)], []]


def test_older_documents_are_read_only_while_a_kept_column_is_empty() -> None:
    newest = build_test_step(9, build_row(kept=1))
    fold = build_fold(newest)
    older = [Contributor(f"s{at}", START + timedelta(seconds=at)) for at in range(3)]
    fold.contributors[:0] = older
    assert fold.list_missing(1) == [older[2]]
    fold.attach_step(older[2], build_test_step(2, build_row(kept=7)))
    assert fold.list_missing(2) == [older[1], older[0]], "also_kept is empty still"
    fold.attach_step(older[1], build_test_step(1, build_row(also_kept=5)))
    assert fold.list_missing(4) == []
    (folded,) = fold.fold_rows()
    assert folded.values == build_row(kept=1, also_kept=5)


def test_a_contributor_that_no_longer_gives_the_key_drops_out() -> None:
    fold = build_fold(build_test_step(0, build_row("A")))
    gone, moved = (Contributor(f"s{at}", START + timedelta(seconds=at)) for at in (1, 2))
    fold.contributors += [gone, moved]
    assert fold.list_missing(9) == [moved, gone]
    fold.attach_step(gone, None)
    fold.attach_step(moved, build_test_step(2, build_row("B")))
    assert [each.step_id for each in fold.contributors] == ["s0"]


def test_a_held_value_is_staged_as_the_step_it_is_taken_from() -> None:
    (folded,) = build_fold(build_test_step(3, build_row(kept=COPIED)), build_test_step(7, build_row())).fold_rows()
    assert folded.values["kept"] == "s3"


def read_names(fold: UnitFold) -> list[str]:
    return sorted(row.values["name"] for row in fold.fold_rows())


def test_under_delete_the_newest_complete_result_and_what_came_after_count() -> None:
    lists = [build_list(0, "x", "y"), build_list(1, "y", "z"), build_list(2, "w", refused=1)]
    assert read_names(build_fold(*lists, of=REPLACING)) == ["w", "y", "z"]
    assert read_names(build_fold(*lists, build_list(3), of=REPLACING)) == []
    fold = build_fold(lists[0], lists[1], of=REPLACING)
    fold.contributors[1].refusals[0] = Reason("refused_by_database", None, "no")
    assert read_names(fold) == ["x", "y", "z"], "one of its elements was refused, so it does not speak for all"


def test_under_delete_values_are_not_kept_beyond_a_complete_result() -> None:
    fold = build_fold(build_list(0, "x", x="old"), build_list(1, "x"), build_list(2, "x", refused=1), of=REPLACING)
    (folded,) = fold.fold_rows()
    assert folded.values["note"] is None and folded.newest.step_id == "s2"


def test_under_delete_documents_are_read_back_to_the_first_complete_result() -> None:
    fold = build_fold(build_list(9, "x", refused=1), of=REPLACING)
    older = [Contributor(f"s{at}", START + timedelta(seconds=at)) for at in range(3)]
    fold.contributors[:0] = older
    fold.attach_step(fold.list_missing(1)[0], build_list(2, "y"))
    assert fold.list_missing(9) == []


# --- batches ---


def test_a_batch_is_full_at_its_size_at_so_many_rows_or_at_so_many_bytes() -> None:
    builder = BatchBuilder(3)
    cut = [builder.add_step(build_test_step(at, build_row(f"S{at}"))) for at in range(4)]
    assert [batch and len(batch) for batch in cut] == [None, None, 3, None]
    long = builder.add_step(build_test_step(4, *(build_row(f"L{at}") for at in range(MAX_ROWS))))
    assert long is not None and [step.id for step in long] == ["s3", "s4"]
    heavy = builder.add_step(build_test_step(5, build_row(), size=MAX_BYTES))
    assert heavy is not None and [step.id for step in heavy] == ["s5"]
    assert builder.take_batch() is None


def test_units_of_one_lock_go_to_one_writer() -> None:
    steps = [build_test_step(at, build_row(f"S{at}")) for at in range(200)]
    writers: dict[int, set[int]] = {}
    for step in steps:
        writers.setdefault(next(iter(step.units)).slot, set()).add(assign_writer(step, 2))
    assert len(writers) == UNIT_SLOTS and {len(each) for each in writers.values()} == {1}
    assert set().union(*writers.values()) == {0, 1}
    assert assign_writer(build_test_step(0), 2) == 0
