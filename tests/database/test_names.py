"""Tables and columns may have any name a spec allows, the words of our own SQL included."""

import json

import pytest

from engine.backfill.preview import Preview
from engine.backfill.run import run_backfill
from engine.sql.step_results import Scope
from tests.api.loopback import internal_headers, read_data, run_api
from tests.database.conftest import QUOTES, World, build_head

WORDS = (  # noqa: SIM905 - a text of words, read as one
    "ordinal overtaken staged stored excluded arriving upserted owner answer deleted reasons newer known"
    " late source document documents output context copied copied_0 small scalars outcome wanted content found version"
    " shown page at ledger entry read rows_ value values select user order group table default offset_ at_time"
    " unit spec lock cells step_id"
).split()
LONG = "a_name_as_long_as_postgres_keeps_it_and_not_one_letter_longer_x"


@pytest.mark.parametrize("many", [False, True], ids=["one row", "rows"])
def test_columns_named_after_the_words_of_our_sql(world: World, many: bool) -> None:
    root = "item" if many else "output"
    lines = ['number: {type: text, path: "output.symbol"}', f'parent: {{type: text, path: "{root}.key"}}']
    names = [*WORDS, LONG]
    lines += [f'{name}: {{type: text, path: "{root}.text", filter: true}}' for name in names[::2]]
    lines += [f'{name}: {{type: jsonb, path: "{root}.body"}}' for name in names[1::2]]
    head = HEAD + ('rows: "output.elements"\non_absent: delete\n' if many else "")
    plan = world.create_spec("\n".join(lines), head=head)
    element = {"key": "K", "text": "as it is", "body": {"n": 1}}
    output = {"symbol": "A", "elements": [element], **element}
    run = world.add_run()
    first = world.add_step(run, QUOTES, output, at=1)
    assert world.upsert_live(plan, first) == ["written"]
    live = world.read_rows(plan)
    world.delete_rows(plan)
    assert world.run_backfill(plan).outcomes == {"written": 1}
    assert world.read_rows(plan) == live
    assert world.upsert_live(plan, first) == ["unchanged"]
    assert world.run_backfill(plan, all=True).outcomes == {"unchanged": 1}
    (row,) = world.extract_step(plan, first).rows
    for outcome in ("written", "unchanged"):
        (by_hand,) = world.upsert_rows(plan, run.org, {**row, "parent": "of no step result"})
        assert by_hand.outcome == outcome
    world.delete_rows(plan)
    preview = Preview(plan)
    world.loop.run(run_backfill(world.dsn, plan, Scope(), dry_run=True, preview=preview))
    (added,) = preview.as_dict()["added"]
    assert len(added["cells"]) == len(names), "each column is shown"


HEAD = build_head("quotes", QUOTES, "number, parent")


@pytest.mark.parametrize("table", ["arriving", "owner", "upserted", "answer", "order", "document", LONG])
def test_tables_named_after_the_words_of_our_sql(world: World, table: str) -> None:
    head = HEAD.replace("table: quotes", f"table: {table}").replace("number, parent", "symbol")
    plan = world.compile_plan(
        'symbol: {type: text, path: "output.symbol"}\nbody: {type: jsonb, path: "output.body"}', head=head
    )
    world.create_table(plan)
    step = world.add_step(world.add_run(), QUOTES, {"symbol": "A", "body": [1]})
    assert world.upsert_live(plan, step) == ["written"]
    assert world.upsert_live(plan, step) == ["unchanged"]
    assert world.run_backfill(plan, all=True).outcomes == {"unchanged": 1}


def test_more_columns_and_paths_than_a_function_takes_arguments(world: World) -> None:
    names = [f"c{number}" for number in range(120)]
    lines = [f'{name}: {{type: text, path: "output.{name}"}}' for name in names]
    head = HEAD.replace("number, parent", "c0") + f"search: [{', '.join(names)}]\n"
    plan = world.create_spec("\n".join([*lines, 'body: {type: jsonb, path: "output"}']), head=head)
    run = world.add_run()
    world.add_step(run, "finance.fetch.quotes", {name: f"word {name}" for name in names})
    world.run_backfill(plan)
    with run_api(world.dsn, (plan,)) as api:
        for words, found in (("c0 c119", [{"c7": "word c7"}]), ("c0 c120", [])):
            assert read_data(api.query("quotes", run.org, {"q": words, "fields": ["c7"]})) == found
        headers = {**internal_headers(run.org), "accept": "application/x-ndjson"}
        exported = api.post("/api/v1/quotes/export", {"fields": [f"body.{name}" for name in names]}, headers=headers)
        assert json.loads(exported.text) == {f"body.{name}": f"word {name}" for name in names}
