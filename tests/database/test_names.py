"""Tables and columns may have any name a spec allows, the words of our own SQL included."""

import pytest

WORDS = (  # noqa: SIM905 - a text of words, read as one
    "ordinal overtaken staged stored excluded arriving upserted owner answer deleted reasons newer known"
    " late source document documents output context held held_0 small scalars outcome wanted content found version"
    " shown page at ledger entry read rows_ value values select user order group table default offset_ at_time"
).split()
LONG = "a_name_as_long_as_postgres_keeps_it_and_not_one_letter_longer_x"


@pytest.mark.parametrize("many", [False, True], ids=["one row", "rows"])
def test_columns_named_after_the_words_of_our_sql(world, many):
    root = "item" if many else "output"
    lines = ['number: {type: text, path: "output.symbol"}', f'parent: {{type: text, path: "{root}.key"}}']
    names = [*WORDS, LONG]
    lines += [f'{name}: {{type: text, path: "{root}.text", filter: true}}' for name in names[::2]]
    lines += [f'{name}: {{type: jsonb, path: "{root}.body"}}' for name in names[1::2]]
    head = HEAD + ('rows: "output.elements"\non_absent: delete\n' if many else "")
    plan = world.spec("\n".join(lines), head=head)
    element = {"key": "K", "text": "as it is", "body": {"n": 1}}
    output = {"symbol": "A", "elements": [element], **element}
    first = world.step(world.run(), "finance.fetch.quotes", output, at=1)
    assert world.live(plan, first) == ["written"]
    live = world.rows(plan)
    world.forget(plan)
    assert world.backfill(plan).outcomes == {"written": 1}
    assert world.rows(plan) == live
    assert world.live(plan, first) == ["unchanged"]
    assert world.backfill(plan, all=True).outcomes == {"unchanged": 1}


HEAD = """
spec: 1
name: quotes
title: Quotes
operations: [finance.fetch.quotes]
table: quotes
row_name: quote
conflict: [org_id, number, parent]
"""


@pytest.mark.parametrize("table", ["arriving", "owner", "upserted", "answer", "order", "document", LONG])
def test_tables_named_after_the_words_of_our_sql(world, table):
    head = HEAD.replace("table: quotes", f"table: {table}").replace("number, parent", "symbol")
    plan = world.plan(
        'symbol: {type: text, path: "output.symbol"}\nbody: {type: jsonb, path: "output.body"}', head=head
    )
    world.table(plan)
    step = world.step(world.run(), "finance.fetch.quotes", {"symbol": "A", "body": [1]})
    assert world.live(plan, step) == ["written"]
    assert world.live(plan, step) == ["unchanged"]
    assert world.backfill(plan).outcomes == {"unchanged": 1}
