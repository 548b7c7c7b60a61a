"""Rows of one key in a batch leave in the table what single upserts in sequence would have left."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from engine import plan
from engine.rows.extract import HELD, Extraction, Reason
from engine.rows.grouping import MAX_ROWS, Batch, BatchBuilder, Step, assign_writer, group_by_key, split_into_rounds
from engine.spec import yaml_source
from engine.spec.checks import check_sources

SPEC = """
spec: 1
name: quotes
title: Quotes
operations: [finance.fetch.quotes]
table: quotes
row_name: quote
conflict: [org_id, symbol]
fields:
  symbol: {type: text, path: "output.symbol"}
  kept: {type: integer, path: "output.kept"}
  also_kept: {type: integer, path: "output.also_kept"}
  cleared: {type: integer, path: "output.cleared", on_missing: clear}
"""
CHECKED = check_sources([yaml_source.parse_source(SPEC, "specs/quotes.yaml")])
PLAN = plan.compile_spec(CHECKED.specs[0][1], "quotes.yaml", CHECKED.paths)
START = datetime(2026, 1, 1, tzinfo=UTC)


def build_step(at: Any, *rows: Any, outcome: Any = "row", reasons: Any = ()) -> Step:
    extraction = Extraction(outcome, tuple(rows), tuple(reasons))
    return Step(f"s{at}", "o", "u", "r", START + timedelta(seconds=at), "1", extraction)


def build_row(symbol: str = "A", kept: Any = None, also_kept: Any = None, cleared: Any = None) -> dict[str, Any]:
    return {"symbol": symbol, "kept": kept, "also_kept": also_kept, "cleared": cleared}


def apply_upsert(table: dict[str, Any], at: Any, arriving: Any) -> None:
    """Apply the upsert's rule: a source at least as new overwrites, `keep` keeps a missing value, `clear` clears it."""
    stored_at, stored = table.get(arriving["symbol"], (None, None))
    if stored_at is not None and stored_at > at:
        return
    if stored:
        kept = {name: stored[name] for name in ("kept", "also_kept") if arriving[name] is None}
        arriving = {**arriving, **kept}
    table[arriving["symbol"]] = (at, arriving)


numbers = st.none() | st.integers(0, 3)
rows = st.builds(build_row, st.sampled_from("AB") | st.none(), numbers, numbers, numbers)


@settings(deadline=None)
@given(st.lists(rows, max_size=8), st.lists(st.tuples(st.integers(0, 8), rows), max_size=2))
def test_rounds_leave_what_single_upserts_would_have_left(arriving: Any, before: Any) -> None:
    one_by_one: dict[str, Any] = {}
    in_rounds: dict[str, Any] = {}
    for table in (one_by_one, in_rounds):
        for at, stored in sorted(before, key=lambda item: item[0]):
            apply_upsert(table, at, stored)
    steps = [build_step(at, item) for at, item in enumerate(arriving)]
    for at, item in enumerate(arriving):
        apply_upsert(one_by_one, at, item)
    for round_ in split_into_rounds(PLAN, group_by_key(PLAN, steps)):
        keys = [item.key for item in round_]
        assert len(keys) == len(set(keys)), "a key once in each round"
        for item in round_:
            apply_upsert(in_rounds, int(item.newest.step.id[1:]), item.newest.values)
            item.record_outcome("written")
    assert in_rounds == one_by_one
    assert all(len(item.outcomes) == 1 for item in steps), "every row has an outcome"


def test_most_batches_are_one_round() -> None:
    steps = [build_step(0, build_row(kept=1)), build_step(1, build_row(kept=2)), build_step(2, build_row("B"))]
    ((first, second),) = split_into_rounds(PLAN, group_by_key(PLAN, steps))
    assert [len(first.candidates), len(second.candidates)] == [2, 1]


def test_groups_stand_in_the_order_of_their_keys() -> None:
    symbols = ["b", None, "B", "10", "9", "é", ""]
    groups = group_by_key(PLAN, [build_step(at, build_row(symbol)) for at, symbol in enumerate(symbols)])
    assert [item.key[1] for item in groups] == ["", "10", "9", "B", "b", "é", None]


def test_a_batch_is_full_at_its_size_or_at_so_many_rows_of_lists() -> None:
    builder = BatchBuilder(PLAN, 3)
    cut = [builder.add_step(build_step(at, build_row(f"S{at}"))) for at in range(4)]
    assert [batch and len(batch.steps) for batch in cut] == [None, None, 3, None]
    long = [build_row(f"L{at}") for at in range(MAX_ROWS)]
    assert [item.id for item in builder.add_step(build_step(4, *long)).steps] == ["s3", "s4"]
    assert builder.take_batch() is None


def test_what_one_key_has_to_do_with_goes_to_one_writer() -> None:
    written = [Decimal("1.10"), Decimal("1.1")]
    assert len({assign_writer(PLAN, build_step(at, build_row(number)), 1000) for at, number in enumerate(written)}) == 1
    assert assign_writer(PLAN, build_step(0, outcome="filtered"), 2) == assign_writer(
        PLAN, build_step(1, outcome="rejected"), 2
    )
    assert {assign_writer(PLAN, build_step(at, build_row(f"S{at}")), 2) for at in range(20)} == {0, 1}


def test_a_process_that_resumes_deals_out_as_the_killed_one_did() -> None:
    program = (
        "from tests.engine.rows.test_grouping import *;"
        " print([assign_writer(PLAN, build_step(0, build_row(s)), 9) for s in ('A', None, 'é')])"
    )
    outputs = [
        subprocess.check_output([sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed})
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]


def test_steps_without_rows_are_in_no_group() -> None:
    reason = Reason("missing_required", "symbol", "missing")
    steps = [
        build_step(0, outcome="rejected", reasons=[reason]),
        build_step(1, outcome="filtered"),
        build_step(2, build_row()),
    ]
    batch = Batch.build(PLAN, steps)
    assert [item.newest.step.id for item in batch.groups] == ["s2"]
    assert [item.outcome for item in steps[:2]] == ["rejected", "filtered"]
    assert [item.id for item in batch.select_steps({"s0", "s1"}).steps] == ["s0", "s1"]
    assert not batch.select_steps({"s0", "s1"}).groups


def test_a_refused_row_leaves_those_behind_it() -> None:
    steps = [build_step(0, build_row(kept=1)), build_step(1, build_row(kept=2))]
    ((group,),) = split_into_rounds(PLAN, group_by_key(PLAN, steps))
    behind = group.reject_newest(Reason("refused_by_database", None, "no"))
    assert [item.step.id for item in behind.candidates] == ["s0"] and behind.reject_newest(
        Reason("x", None, "no")
    ) is None
    assert [item.outcome for item in steps] == ["rejected", "rejected"]


def test_a_held_value_is_staged_as_the_step_it_is_taken_from() -> None:
    (group,) = group_by_key(PLAN, [build_step(7, build_row(kept=HELD))])
    assert group.newest.values["kept"] == "s7"
