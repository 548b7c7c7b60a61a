"""Repeats of a key in one batch: what is written leaves what one upsert after the other would have left."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from engine import plan
from engine.rows.extract import HELD, Extraction, Reason
from engine.rows.grouping import MOST_ROWS, Batch, Filling, Step, assign_writer, group, rounds
from engine.spec import yaml_source
from engine.spec.checks import check

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
PLAN = plan.compile(check([yaml_source.parse(SPEC, "specs/quotes.yaml")]).specs[0][1], "quotes.yaml")
START = datetime(2026, 1, 1, tzinfo=UTC)


def step(at, *rows, outcome="row", reasons=()):
    found = Extraction(outcome, tuple(rows), tuple(reasons))
    return Step(f"s{at}", "o", "u", "r", START + timedelta(seconds=at), "1", found)


def row(symbol="A", kept=None, also_kept=None, cleared=None):
    return {"symbol": symbol, "kept": kept, "also_kept": also_kept, "cleared": cleared}


def upsert(table, at, arriving):
    """The upsert's rule, in Python: newer or as old overwrites, `keep` keeps, `clear` clears."""
    stored_at, stored = table.get(arriving["symbol"], (None, None))
    if stored_at is not None and stored_at > at:
        return
    if stored:
        kept = {name: stored[name] for name in ("kept", "also_kept") if arriving[name] is None}
        arriving = {**arriving, **kept}
    table[arriving["symbol"]] = (at, arriving)


numbers = st.none() | st.integers(0, 3)
rows = st.builds(row, st.sampled_from("AB") | st.none(), numbers, numbers, numbers)


@settings(deadline=None)
@given(st.lists(rows, max_size=8), st.lists(st.tuples(st.integers(0, 8), rows), max_size=2))
def test_rounds_leave_what_single_upserts_would_have_left(arriving, before):
    one_by_one, in_rounds = {}, {}
    for table in (one_by_one, in_rounds):
        for at, stored in sorted(before, key=lambda item: item[0]):
            upsert(table, at, stored)
    steps = [step(at, item) for at, item in enumerate(arriving)]
    for at, item in enumerate(arriving):
        upsert(one_by_one, at, item)
    for turn in rounds(PLAN, group(PLAN, steps)):
        keys = [item.key for item in turn]
        assert len(keys) == len(set(keys)), "a key once in each round"
        for item in turn:
            upsert(in_rounds, int(item.newest.step.id[1:]), item.newest.values)
            item.settle("written")
    assert in_rounds == one_by_one
    assert all(len(item.outcomes) == 1 for item in steps), "every row has an outcome"


def test_most_batches_are_one_round():
    steps = [step(0, row(kept=1)), step(1, row(kept=2)), step(2, row("B"))]
    ((first, second),) = rounds(PLAN, group(PLAN, steps))
    assert [len(first.candidates), len(second.candidates)] == [2, 1]


def test_groups_stand_in_the_order_of_their_keys():
    symbols = ["b", None, "B", "10", "9", "é", ""]
    groups = group(PLAN, [step(at, row(symbol)) for at, symbol in enumerate(symbols)])
    assert [item.key[1] for item in groups] == ["", "10", "9", "B", "b", "é", None]


def test_a_batch_is_full_at_its_size_or_at_so_many_rows_of_lists():
    filling = Filling(PLAN, 3)
    cut = [filling.add(step(at, row(f"S{at}"))) for at in range(4)]
    assert [batch and len(batch.steps) for batch in cut] == [None, None, 3, None]
    long = [row(f"L{at}") for at in range(MOST_ROWS)]
    assert [item.id for item in filling.add(step(4, *long)).steps] == ["s3", "s4"]
    assert filling.cut() is None


def test_what_one_key_has_to_do_with_goes_to_one_writer():
    written = [Decimal("1.10"), Decimal("1.1")]
    assert len({assign_writer(PLAN, step(at, row(number)), 1000) for at, number in enumerate(written)}) == 1
    assert assign_writer(PLAN, step(0, outcome="filtered"), 2) == assign_writer(PLAN, step(1, outcome="rejected"), 2)
    assert {assign_writer(PLAN, step(at, row(f"S{at}")), 2) for at in range(20)} == {0, 1}


def test_a_process_that_resumes_deals_out_as_the_killed_one_did():
    program = (
        "from tests.engine.rows.test_grouping import *;"
        " print([assign_writer(PLAN, step(0, row(s)), 9) for s in ('A', None, 'é')])"
    )
    said = [
        subprocess.check_output([sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed})
        for seed in ("1", "2")
    ]
    assert said[0] == said[1]


def test_steps_without_rows_are_in_no_group():
    reason = Reason("missing_required", "symbol", "missing")
    steps = [step(0, outcome="rejected", reasons=[reason]), step(1, outcome="filtered"), step(2, row())]
    batch = Batch.of(PLAN, steps)
    assert [item.newest.step.id for item in batch.groups] == ["s2"]
    assert [item.outcome for item in steps[:2]] == ["rejected", "filtered"]
    assert [item.id for item in batch.only({"s0", "s1"}).steps] == ["s0", "s1"]
    assert not batch.only({"s0", "s1"}).groups


def test_a_refused_row_leaves_those_behind_it():
    steps = [step(0, row(kept=1)), step(1, row(kept=2))]
    ((found,),) = rounds(PLAN, group(PLAN, steps))
    behind = found.refuse(Reason("refused_by_database", None, "no"))
    assert [item.step.id for item in behind.candidates] == ["s0"] and behind.refuse(Reason("x", None, "no")) is None
    assert [item.outcome for item in steps] == ["rejected", "rejected"]


def test_a_held_value_is_staged_as_the_step_it_is_taken_from():
    (found,) = group(PLAN, [step(7, row(kept=HELD))])
    assert found.newest.values["kept"] == "s7"
