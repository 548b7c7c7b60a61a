"""Missing, null and blank; insert and update; required, optional and key; keep and clear.

One table of truth, gone through live and in bulk: what each cell leaves in the row, and that both ways leave the same.
"""

import json
from itertools import product
from typing import Any, cast

import pytest

from engine.plan import Plan
from tests.database.conftest import QUOTES, World, build_head

FIELDS = """
symbol: {type: text, path: "output.symbol", required: true}
venue: {type: text, path: "output.venue"}
must: {type: text, path: "output.must", required: true}
kept: {type: text, path: "output.kept"}
cleared: {type: text, path: "output.cleared", on_missing: clear}
kept_body: {type: jsonb, path: "output.kept_body"}
cleared_body: {type: jsonb, path: "output.cleared_body", on_missing: clear}
required_body: {type: jsonb, path: "output.required_body", required: true}
kept_tags: {type: "text[]", path: "output.kept_tags", normalize: [blank_to_null]}
cleared_count: {type: integer, path: "output.cleared_count", on_missing: clear}
"""
HEAD = build_head("quotes", QUOTES, "symbol, venue")
FULL = {
    "symbol": "ACME",
    "venue": "XETRA",
    "must": "old",
    "kept": "old",
    "cleared": "old",
    "kept_body": {"old": 1},
    "cleared_body": {"old": 1},
    "required_body": {"old": 1},
    "kept_tags": ["old"],
    "cleared_count": 1,
}
ABSENT = object()
#: How a value may not be there.
HOW = {"missing": ABSENT, "null": None, "blank": "", "spaces": " \t\n"}
#: Of a document a blank string is a value, and a number is never a string.
TEXTS = ("symbol", "venue", "must", "kept", "cleared")


def build_output(field: str, how: str) -> dict[str, Any]:
    output = {**FULL, field: HOW[how]}
    return {name: value for name, value in output.items() if value is not ABSENT}


def expect_outcome(field: str, how: str, before: Any) -> tuple[str, Any]:
    """The outcome, and what the row says afterwards; None where there is none."""
    if field not in TEXTS and how in ("blank", "spaces"):
        if field == "kept_tags":
            return "written", before.get(field)  # blank_to_null makes it missing
        return ("rejected", None) if field == "cleared_count" else ("written", HOW[how])
    if field in ("symbol", "must", "required_body"):
        return "rejected", None
    if field == "venue":
        return "written", None
    return "written", before.get(field) if field.startswith("kept") else None


CELLS = [
    pytest.param(field, how, update, id=f"{'update' if update else 'insert'}-{field}-{how}")
    for update, field, how in product((False, True), FULL, HOW)
]


def test_every_cell_live_and_in_bulk(world: World) -> None:
    plan = world.create_spec(FIELDS, head=HEAD)
    cells: list[Any] = []
    for cell in CELLS:
        field, how, update = cast(tuple[str, str, bool], cell.values)
        runs = {way: world.add_run() for way in ("live", "bulk")}
        if update:
            first = {way: world.add_step(run, "finance.fetch.quotes", FULL, at=1) for way, run in runs.items()}
            assert world.upsert_live(plan, first["live"]) == ["written"]
        second = {
            way: world.add_step(run, "finance.fetch.quotes", build_output(field, how), at=2)
            for way, run in runs.items()
        }
        outcome, value = expect_outcome(field, how, FULL if update else {})
        cells.append((cell.id, runs, second, outcome, field, value, update))
        live = world.extract_step(plan, second["live"])
        assert (live.outcome == "row") == (outcome == "written"), cell.id
        if outcome == "written":
            assert world.upsert_live(plan, second["live"]) == ["written"], cell.id
    rows = group_rows_by_org(world, plan)
    # small batches: an update meets a stored row, and a repeat in its own batch
    account = world.run_backfill(plan, batch_size=7)
    assert account.pending == 0
    live_rows, rows = rows, group_rows_by_org(world, plan)
    assert all(rows[org] == found for org, found in live_rows.items()), "nothing to add to what was written live"
    for name, runs, second, outcome, field, value, update in cells:
        assert world.read_outcomes(plan, second["bulk"]) == [outcome], name
        bulk = rows.get(runs["bulk"].org, [])
        assert bulk == live_rows.get(runs["live"].org, []), name
        assert len(bulk) == count_expected_rows(field, outcome, update), name
        if outcome == "written":
            newest = [row for row in bulk if row["venue"] == (None if field == "venue" else "XETRA")]
            assert [parse_document(row[field]) for row in newest] == [value], name
    world.read_accounts(plan)


def count_expected_rows(field: str, outcome: str, update: bool) -> int:
    if outcome == "rejected":
        return int(update)
    return 2 if update and field == "venue" else 1  # another key is another row


def group_rows_by_org(world: World, plan: Plan) -> dict[str, list[dict[str, Any]]]:
    """The rows of each organisation, without what differs between two runs."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in world.read_rows(plan):
        own = ("org_id", "source_submission_id", "source_pipeline_run_id", "source_step_result_id")
        found.setdefault(row["org_id"], []).append({name: row[name] for name in row if name not in own})
    return found


def parse_document(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in ('"', "{"):
        return json.loads(value)
    return value
