"""Tables and columns may have any name a spec allows, the words of our own SQL included."""

import pytest

from tests.database.conftest import QUOTES, World, build_head

WORDS = (  # noqa: SIM905 - a text of words, read as one
    "ordinal overtaken staged stored excluded arriving upserted owner answer deleted reasons newer known"
    " late source document documents output context held held_0 small scalars outcome wanted content found version"
    " shown page at ledger entry read rows_ value values select user order group table default offset_ at_time"
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
    first = world.add_step(world.add_run(), QUOTES, output, at=1)
    assert world.upsert_live(plan, first) == ["written"]
    live = world.read_rows(plan)
    world.delete_rows(plan)
    assert world.run_backfill(plan).outcomes == {"written": 1}
    assert world.read_rows(plan) == live
    assert world.upsert_live(plan, first) == ["unchanged"]
    assert world.run_backfill(plan, all=True).outcomes == {"unchanged": 1}


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
