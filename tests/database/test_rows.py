"""`rows`: one step result, many rows; and `on_absent`: what becomes of the rows of an earlier one."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.rows.grouping import Step

CUSTOMERS = "company.derive.customers"
HEAD = """
spec: 1
name: customers
title: Customers
operations: [company.derive.customers]
table: customers
row_name: customer
conflict: [org_id, company_domain, customer_name]
rows: "output.customers"
"""
FIELDS = """
company_domain: {type: text, path: "output.domain || context.domain", required: true, normalize: [domain]}
customer_name: {type: text, path: "item.name", required: true, normalize: [trim]}
revenue: {type: numeric, path: "item.revenue", on_missing: clear}
element: {type: jsonb, path: "item"}
"""


@pytest.fixture
def plan(world):
    return world.spec(FIELDS, head=HEAD)


@pytest.fixture
def replacing(world):
    return world.spec(FIELDS, head=HEAD, on_absent="delete")


def found(*customers, domain="acme.example"):
    elements = [{"name": item} if isinstance(item, str) else item for item in customers]
    return {"domain": domain, "customers": elements}


def names(world, plan, **of):
    return [row["customer_name"] for row in world.rows(plan) if of.items() <= row.items()]


def reasons(world, plan, step):
    return [(item["code"], item.get("element")) for item in world.ledger(plan)[step]["reasons"]]


# --- elements and rows ---


def test_elements_in_and_rows_out(world, plan):
    run = world.run()
    step = world.step(run, CUSTOMERS, found("A", "B", {"name": "C", "revenue": 1.10}))
    account = world.backfill(plan)
    assert account.outcomes == {"written": 1}
    assert names(world, plan) == ["A", "B", "C"]
    entry = world.ledger(plan)[step]
    assert (entry["element_count"], entry["row_count"], entry["reasons"]) == (3, 3, [])
    world.accounts(plan)


def test_a_bad_element_is_rejected_with_its_index_and_the_others_are_written(world, plan):
    step = world.step(world.run(), CUSTOMERS, found("A", {"name": " "}, {"name": "C", "revenue": "1,200"}, "D"))
    assert world.backfill(plan).outcomes == {"written": 1}
    assert names(world, plan) == ["A", "D"]
    entry = world.ledger(plan)[step]
    assert (entry["element_count"], entry["row_count"]) == (4, 2)
    assert reasons(world, plan, step) == [("missing_required", 1), ("wrong_type", 2)]


def test_an_element_the_database_refuses_is_rejected_with_its_index(world, plan):
    world.db.execute("alter table customers add constraint small check (revenue < 100)")
    step = world.step(
        world.run(), CUSTOMERS, found({}, "A", {"name": "B", "revenue": 1000}, {"name": "C", "revenue": 1})
    )
    other = world.step(world.run(), CUSTOMERS, found("A"))
    world.backfill(plan)
    assert world.outcomes(plan, step, other) == ["written", "written"]
    assert names(world, plan, org_id=world.steps[step][0].org) == ["A", "C"]
    assert reasons(world, plan, step) == [("missing_required", 0), ("refused_by_database", 2)]
    entry = world.ledger(plan)[step]
    assert (entry["element_count"], entry["row_count"]) == (4, 2)


def test_an_element_alone_is_named_too(world, plan):
    world.db.execute("alter table customers add constraint small check (revenue < 100)")
    step = world.step(world.run(), CUSTOMERS, found({"name": "B", "revenue": 1000}))
    world.backfill(plan)
    assert world.outcomes(plan, step) == ["rejected"]
    assert reasons(world, plan, step) == [("refused_by_database", 0)]


def test_repeats_of_a_key_in_one_array_are_reduced_to_the_last(world, plan):
    repeats = found({"name": "A", "revenue": 1}, "B", {"name": " A ", "revenue": 2}, {"name": "A"})
    step = world.step(world.run(), CUSTOMERS, repeats)
    world.backfill(plan)
    assert [(row["customer_name"], row["revenue"]) for row in world.rows(plan)] == [("A", None), ("B", None)]
    entry = world.ledger(plan)[step]
    assert (entry["outcome"], entry["element_count"], entry["row_count"]) == ("written", 4, 2)
    live = world.rows(plan)
    world.forget(plan)
    world.live(plan, step)
    assert world.rows(plan) == live


def test_nothing_is_written_of_what_gives_no_array(world, plan):
    run = world.run()
    outputs = [found(), {"domain": "acme.example"}, {"domain": "acme.example", "customers": "none"}, found({}, {})]
    steps = [world.step(run, CUSTOMERS, output, at=at) for at, output in enumerate(outputs)]
    world.backfill(plan)
    assert world.outcomes(plan, *steps) == ["filtered", "rejected", "rejected", "rejected"]
    assert [world.ledger(plan)[step]["element_count"] for step in steps] == [0, 0, 0, 2]
    assert world.rows(plan) == []
    world.accounts(plan)


def test_by_default_rows_of_an_earlier_result_stay(world, plan):
    run = world.run()
    for at, customers in enumerate([("A", "B"), ("B", "C"), ()]):
        world.step(run, CUSTOMERS, found(*customers), at=at)
    world.backfill(plan, batch_size=1)
    assert names(world, plan) == ["A", "B", "C"]


def test_operations_of_two_shapes_in_one_batch(world):
    head = """
spec: 1
name: customers
title: Customers
operations:
  company.derive.customers:
    rows: "output.customers"
  company.lookup.customer:
    when: "output.known"
    fields:
      customer_name: {path: "output.customer.name"}
      element: {path: "output.customer"}
table: customers
row_name: customer
conflict: [org_id, company_domain, customer_name]
"""
    fields = FIELDS.replace('path: "item.revenue"', 'path: "output.revenue"')
    fields = fields.replace('{type: jsonb, path: "item"}', '{type: jsonb, path: "item", normalize: [json_or_text]}')
    plan = world.spec(fields, head=head)
    run = world.run()
    one = {"known": True, "domain": "acme.example", "customer": {"name": "Z"}, "revenue": 7}
    steps = [
        world.step(run, CUSTOMERS, found("A", "B"), at=1),
        world.step(run, "company.lookup.customer", one, at=2),
        world.step(run, "company.lookup.customer", {**one, "known": False}, at=3),
        world.step(run, CUSTOMERS, found("Z"), at=4),
    ]
    world.backfill(plan)
    assert world.outcomes(plan, *steps) == ["written", "superseded", "filtered", "written"]
    assert names(world, plan) == ["A", "B", "Z"]
    world.accounts(plan)


def test_a_document_held_in_two_operations_is_taken_from_the_path_of_its_own(world):
    head = """
spec: 1
name: quotes
title: Quotes
operations:
  finance.fetch.quotes:
  finance.fetch.prices:
    fields:
      body: {path: "output.raw.content || output.raw"}
table: quotes
row_name: quote
conflict: [org_id, symbol]
"""
    plan = world.spec(
        'symbol: {type: text, path: "output.symbol", required: true}\nbody: {type: jsonb, path: "output.body"}',
        head=head,
    )
    run = world.run()
    trap = {"body": "not mine", "raw": "not mine"}
    world.step(run, "finance.fetch.quotes", {**trap, "symbol": "A", "body": {"n": 1}})
    world.step(run, "finance.fetch.prices", {**trap, "symbol": "B", "raw": {"content": [2]}})
    world.step(run, "finance.fetch.prices", {**trap, "symbol": "C", "raw": {"content": "", "n": 3}})
    world.backfill(plan)
    assert [json.loads(row["body"]) for row in world.rows(plan)] == [{"n": 1}, [2], {"n": 3, "content": ""}]


# --- on_absent: delete ---


def test_rows_whose_element_is_gone_are_deleted(world, replacing):
    run = world.run()
    first = world.step(run, CUSTOMERS, found("A", "B", "C"), at=1)
    world.backfill(replacing)
    second = world.step(run, CUSTOMERS, found("B", "D"), at=2)
    world.backfill(replacing)
    assert names(world, replacing) == ["B", "D"]
    assert world.outcomes(replacing, first, second) == ["written", "written"]
    assert reasons(world, replacing, second) == [("absent_deleted", None)]
    entry = world.ledger(replacing)[second]
    assert entry["reasons"][0]["message"].startswith("2 rows of earlier results were deleted")
    assert (entry["element_count"], entry["row_count"]) == (2, 2)


def test_only_rows_of_the_same_organisation_and_parent_are_compared(world, replacing):
    run, other = world.run(), world.run()
    world.step(run, CUSTOMERS, found("A", domain="acme.example"), at=1)
    world.step(run, CUSTOMERS, found("A", domain="other.example"), at=1)
    world.step(other, CUSTOMERS, found("A", domain="acme.example"), at=1)
    world.step(run, CUSTOMERS, found("B", domain="acme.example"), at=2)
    world.backfill(replacing)
    assert names(world, replacing, org_id=run.org, company_domain="acme.example") == ["B"]
    assert names(world, replacing, org_id=run.org, company_domain="other.example") == ["A"]
    assert names(world, replacing, org_id=other.org) == ["A"]


def test_an_empty_array_says_there_are_none(world, replacing):
    run = world.run()
    world.step(run, CUSTOMERS, found("A", "B"), at=1)
    world.backfill(replacing)
    none = world.step(run, CUSTOMERS, found(), at=2)
    still = world.step(run, CUSTOMERS, found(), at=3)
    world.backfill(replacing, batch_size=1)
    assert names(world, replacing) == []
    assert world.outcomes(replacing, none, still) == ["written", "unchanged"]
    assert reasons(world, replacing, none) == [("no_elements", None), ("absent_deleted", None)]
    assert reasons(world, replacing, still) == [("no_elements", None)]
    assert world.ledger(replacing)[none]["element_count"] == 0
    world.accounts(replacing)


def test_an_empty_array_of_nobody_is_rejected(world, replacing):
    run = world.run()
    world.step(run, CUSTOMERS, found("A"), at=1)
    step = world.step(run, CUSTOMERS, found(domain=" "), at=2)
    world.backfill(replacing)
    assert names(world, replacing) == ["A"]
    assert reasons(world, replacing, step) == [("missing_required", None)]


def test_what_gives_no_array_deletes_nothing(world, replacing):
    run = world.run()
    world.step(run, CUSTOMERS, found("A"), at=1)
    world.step(run, CUSTOMERS, {"domain": "acme.example"}, at=2)
    world.step(run, CUSTOMERS, {"domain": "acme.example", "customers": None}, at=3)
    world.backfill(replacing)
    assert names(world, replacing) == ["A"]


@pytest.mark.parametrize("bad", [{"name": ""}, {"name": "B", "revenue": 1000}], ids=["by the spec", "by the database"])
def test_a_result_with_a_rejected_element_deletes_nothing_and_says_so(world, replacing, bad):
    world.db.execute("alter table customers add constraint small check (revenue < 100)")
    run = world.run()
    world.step(run, CUSTOMERS, found("A", "B"), at=1)
    step = world.step(run, CUSTOMERS, found("C", bad), at=2)
    world.backfill(replacing)
    assert names(world, replacing) == ["A", "B", "C"]
    assert [code for code, _ in reasons(world, replacing, step)][1:] == ["absent_kept"]


def test_an_older_result_that_arrives_last_brings_nothing_back(world, replacing):
    run = world.run()
    newer = world.step(run, CUSTOMERS, found("B", "C"), at=2)
    world.backfill(replacing)
    before = world.run(run.org)
    older = world.step(before, CUSTOMERS, found("A", "B"), at=1)
    oldest = world.step(before, CUSTOMERS, found(), at=0)
    world.backfill(replacing)
    assert names(world, replacing) == ["B", "C"]
    assert world.outcomes(replacing, newer, older, oldest) == ["written", "superseded", "superseded"]
    assert world.ledger(replacing)[older]["row_count"] == 0
    world.accounts(replacing)


def test_an_older_result_brings_nothing_back_after_an_empty_one(world, replacing):
    run = world.run()
    none = world.step(run, CUSTOMERS, found(), at=2)
    world.backfill(replacing)
    older = world.step(run, CUSTOMERS, found("A"), at=1)
    others = world.step(run, CUSTOMERS, found("A", domain="other.example"), at=1)
    newer = world.step(run, CUSTOMERS, found("B"), at=3)
    world.backfill(replacing, limit=2)
    assert world.outcomes(replacing, none, older, others, newer) == ["unchanged", "superseded", "written", "pending"]
    world.backfill(replacing)
    assert [(row["company_domain"], row["customer_name"]) for row in world.rows(replacing)] == [
        ("acme.example", "B"),
        ("other.example", "A"),
    ]
    assert world.backfill(replacing, all=True).outcomes["written"] == 0
    world.accounts(replacing)


def test_both_in_one_batch(world, replacing):
    run = world.run()
    steps = [
        world.step(run, CUSTOMERS, found(*customers), at=at)
        for at, customers in enumerate([("A", "B"), ("B", "C"), (), ("C", "D"), ("D",)])
    ]
    world.backfill(replacing)
    assert names(world, replacing) == ["D"]
    assert world.backfill(replacing, all=True).outcomes["written"] == 0
    assert names(world, replacing) == ["D"]
    assert set(world.outcomes(replacing, *steps)) <= {"unchanged", "superseded"}


def test_a_live_upsert_deletes_nothing_and_the_repair_at_the_runs_end_does(world, replacing):
    first, second = world.run(), None
    second = world.run(first.org)
    world.step(first, CUSTOMERS, found("A", "B"), at=1)
    world.backfill(replacing)
    step = world.step(second, CUSTOMERS, found("B", "C"), at=2)
    assert world.live(replacing, step) == ["written", "written"]
    assert names(world, replacing) == ["A", "B", "C"]
    assert world.repair(second, replacing)[0].outcomes == {"written": 1}
    assert names(world, replacing) == ["B", "C"]
    assert world.repair(second, replacing)[0].outcomes == {"unchanged": 1}


def test_a_parent_key_may_be_null(world):
    fields = FIELDS.replace("required: true, normalize: [domain]", "normalize: [domain]")
    plan = world.spec(fields, head=HEAD, on_absent="delete")
    run = world.run()
    world.step(run, CUSTOMERS, found("A", domain=None), at=1)
    world.step(run, CUSTOMERS, found("A", domain="acme.example"), at=1)
    world.step(run, CUSTOMERS, found("B", domain=None), at=2)
    world.backfill(plan)
    assert [(row["company_domain"], row["customer_name"]) for row in world.rows(plan)] == [
        ("acme.example", "A"),
        (None, "B"),
    ]


def test_the_last_complete_result_is_what_stands_there_in_any_batches(world, replacing):
    """Oldest first, in batches of any size: the elements of the newest result, and nothing else."""
    org = world.org()
    results = st.lists(st.lists(st.sampled_from("ABCDE"), max_size=4), min_size=1, max_size=6)

    @settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(results, st.sampled_from([1, 2, 3, 500]), st.lists(st.sampled_from(["live", "repair", ""]), min_size=6))
    def law(results, batch_size, ways):
        world.db.execute("delete from submissions")
        world.forget(replacing)
        for at, customers in enumerate(results):
            run = world.run(org)
            step = world.step(run, CUSTOMERS, found(*customers), at=at)
            if ways[at] == "live":
                world.live(replacing, step)
            elif ways[at] == "repair":
                world.repair(run, replacing)
        world.backfill(replacing, batch_size=batch_size)
        assert names(world, replacing) == sorted(set(results[-1]))
        before = world.rows(replacing)
        assert world.backfill(replacing, all=True).outcomes["written"] == 0
        assert world.rows(replacing) == before
        world.accounts(replacing)

    law()


def test_a_step_says_the_strongest_thing_that_happened_to_a_row():
    from engine.rows.extract import Extraction

    step = Step("s", "o", "u", "r", None, "1", Extraction("row", rows=({}, {}, {}), elements=3))
    for outcome in ("superseded", "rejected", "unchanged"):
        step.outcomes.append(outcome)
    assert (step.outcome, step.rows_out) == ("unchanged", 1)
    step.deletion = "written"
    assert (step.outcome, step.rows_out) == ("written", 1)
