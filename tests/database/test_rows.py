"""`rows`: one step result, many rows; and `on_absent`: what becomes of the rows of an earlier one."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.plan import Plan
from engine.rows.outcomes import Outcome
from engine.rows.steps import Step
from tests.conftest import count_examples
from tests.database.conftest import World

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
def plan(world: World) -> Plan:
    return world.create_spec(FIELDS, head=HEAD)


@pytest.fixture
def replacing(world: World) -> Plan:
    return world.create_spec(FIELDS, head=HEAD, on_absent="delete")


def build_output(*customers: Any, domain: str = "acme.example") -> dict[str, Any]:
    elements = [{"name": item} if isinstance(item, str) else item for item in customers]
    return {"domain": domain, "customers": elements}


def read_names(world: World, plan: Plan, **of: Any) -> list[Any]:
    return [row["customer_name"] for row in world.read_rows(plan) if of.items() <= row.items()]


def read_reasons(world: World, plan: Plan, step: str) -> list[tuple[str, int | None]]:
    return [(item["code"], item.get("element")) for item in world.read_ledger(plan)[step]["reasons"]]


# --- elements and rows ---


def test_elements_in_and_rows_out(world: World, plan: Plan) -> None:
    run = world.add_run()
    step = world.add_step(run, CUSTOMERS, build_output("A", "B", {"name": "C", "revenue": 1.10}))
    account = world.run_backfill(plan)
    assert account.outcomes == {"written": 1}
    assert read_names(world, plan) == ["A", "B", "C"]
    entry = world.read_ledger(plan)[step]
    assert (entry["element_count"], entry["row_count"], entry["reasons"]) == (3, 3, [])
    world.read_accounts(plan)


def test_a_bad_element_is_rejected_with_its_index_and_the_others_are_written(world: World, plan: Plan) -> None:
    step = world.add_step(
        world.add_run(), CUSTOMERS, build_output("A", {"name": " "}, {"name": "C", "revenue": "1,200"}, "D")
    )
    assert world.run_backfill(plan).outcomes == {"written": 1}
    assert read_names(world, plan) == ["A", "D"]
    entry = world.read_ledger(plan)[step]
    assert (entry["element_count"], entry["row_count"]) == (4, 2)
    assert read_reasons(world, plan, step) == [("missing_required", 1), ("wrong_type", 2)]


def test_an_element_the_database_refuses_is_rejected_with_its_index(world: World, plan: Plan) -> None:
    world.db.execute("alter table customers add constraint small check (revenue < 100)")
    step = world.add_step(
        world.add_run(), CUSTOMERS, build_output({}, "A", {"name": "B", "revenue": 1000}, {"name": "C", "revenue": 1})
    )
    other = world.add_step(world.add_run(), CUSTOMERS, build_output("A"))
    world.run_backfill(plan)
    assert world.read_outcomes(plan, step, other) == ["written", "written"]
    assert read_names(world, plan, org_id=world.steps[step][0].org) == ["A", "C"]
    assert read_reasons(world, plan, step) == [("missing_required", 0), ("refused_by_database", 2)]
    entry = world.read_ledger(plan)[step]
    assert (entry["element_count"], entry["row_count"]) == (4, 2)


def test_an_element_alone_is_named_too(world: World, plan: Plan) -> None:
    world.db.execute("alter table customers add constraint small check (revenue < 100)")
    step = world.add_step(world.add_run(), CUSTOMERS, build_output({"name": "B", "revenue": 1000}))
    world.run_backfill(plan)
    assert world.read_outcomes(plan, step) == ["rejected"]
    assert read_reasons(world, plan, step) == [("refused_by_database", 0)]


def test_repeats_of_a_key_in_one_array_are_reduced_to_the_last(world: World, plan: Plan) -> None:
    repeats = build_output({"name": "A", "revenue": 1}, "B", {"name": " A ", "revenue": 2}, {"name": "A"})
    step = world.add_step(world.add_run(), CUSTOMERS, repeats)
    world.run_backfill(plan)
    assert [(row["customer_name"], row["revenue"]) for row in world.read_rows(plan)] == [("A", None), ("B", None)]
    entry = world.read_ledger(plan)[step]
    assert (entry["outcome"], entry["element_count"], entry["row_count"]) == ("written", 4, 2)
    live = world.read_rows(plan)
    world.delete_rows(plan)
    world.upsert_live(plan, step)
    assert world.read_rows(plan) == live


def test_nothing_is_written_of_what_gives_no_array(world: World, plan: Plan) -> None:
    run = world.add_run()
    outputs = [
        build_output(),
        {"domain": "acme.example"},
        {"domain": "acme.example", "customers": "none"},
        build_output({}, {}),
    ]
    steps = [world.add_step(run, CUSTOMERS, output, at=at) for at, output in enumerate(outputs)]
    world.run_backfill(plan)
    assert world.read_outcomes(plan, *steps) == ["filtered", "rejected", "rejected", "rejected"]
    assert [world.read_ledger(plan)[step]["element_count"] for step in steps] == [0, 0, 0, 2]
    assert world.read_rows(plan) == []
    world.read_accounts(plan)


def test_by_default_rows_of_an_earlier_result_stay(world: World, plan: Plan) -> None:
    run = world.add_run()
    for at, customers in enumerate([("A", "B"), ("B", "C"), ()]):
        world.add_step(run, CUSTOMERS, build_output(*customers), at=at)
    world.run_backfill(plan, batch_size=1)
    assert read_names(world, plan) == ["A", "B", "C"]


def test_operations_of_two_shapes_in_one_batch(world: World) -> None:
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
    plan = world.create_spec(fields, head=head)
    run = world.add_run()
    one = {"known": True, "domain": "acme.example", "customer": {"name": "Z"}, "revenue": 7}
    steps = [
        world.add_step(run, CUSTOMERS, build_output("A", "B"), at=1),
        world.add_step(run, "company.lookup.customer", one, at=2),
        world.add_step(run, "company.lookup.customer", {**one, "known": False}, at=3),
        world.add_step(run, CUSTOMERS, build_output("Z"), at=4),
    ]
    world.run_backfill(plan)
    assert world.read_outcomes(plan, *steps) == ["written", "superseded", "filtered", "written"]
    assert read_names(world, plan) == ["A", "B", "Z"]
    world.read_accounts(plan)


def test_a_document_held_in_two_operations_is_taken_from_the_path_of_its_own(world: World) -> None:
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
    plan = world.create_spec(
        'symbol: {type: text, path: "output.symbol", required: true}\nbody: {type: jsonb, path: "output.body"}',
        head=head,
    )
    run = world.add_run()
    trap = {"body": "not mine", "raw": "not mine"}
    world.add_step(run, "finance.fetch.quotes", {**trap, "symbol": "A", "body": {"n": 1}})
    world.add_step(run, "finance.fetch.prices", {**trap, "symbol": "B", "raw": {"content": [2]}})
    world.add_step(run, "finance.fetch.prices", {**trap, "symbol": "C", "raw": {"content": "", "n": 3}})
    world.run_backfill(plan)
    assert [json.loads(row["body"]) for row in world.read_rows(plan)] == [{"n": 1}, [2], {"n": 3, "content": ""}]


# --- on_absent: delete ---


def test_rows_whose_element_is_gone_are_deleted(world: World, replacing: Plan) -> None:
    run = world.add_run()
    first = world.add_step(run, CUSTOMERS, build_output("A", "B", "C"), at=1)
    world.run_backfill(replacing)
    second = world.add_step(run, CUSTOMERS, build_output("B", "D"), at=2)
    world.run_backfill(replacing)
    assert read_names(world, replacing) == ["B", "D"]
    assert world.read_outcomes(replacing, first, second) == ["written", "written"]
    assert read_reasons(world, replacing, second) == [("absent_deleted", None)]
    entry = world.read_ledger(replacing)[second]
    assert entry["reasons"][0]["message"].startswith("2 rows of earlier results were deleted")
    assert (entry["element_count"], entry["row_count"]) == (2, 2)


def test_only_rows_of_the_same_organisation_and_parent_are_compared(world: World, replacing: Plan) -> None:
    run, other = world.add_run(), world.add_run()
    world.add_step(run, CUSTOMERS, build_output("A", domain="acme.example"), at=1)
    world.add_step(run, CUSTOMERS, build_output("A", domain="other.example"), at=1)
    world.add_step(other, CUSTOMERS, build_output("A", domain="acme.example"), at=1)
    world.add_step(run, CUSTOMERS, build_output("B", domain="acme.example"), at=2)
    world.run_backfill(replacing)
    assert read_names(world, replacing, org_id=run.org, company_domain="acme.example") == ["B"]
    assert read_names(world, replacing, org_id=run.org, company_domain="other.example") == ["A"]
    assert read_names(world, replacing, org_id=other.org) == ["A"]


def test_an_empty_array_says_there_are_none(world: World, replacing: Plan) -> None:
    run = world.add_run()
    world.add_step(run, CUSTOMERS, build_output("A", "B"), at=1)
    world.run_backfill(replacing)
    none = world.add_step(run, CUSTOMERS, build_output(), at=2)
    still = world.add_step(run, CUSTOMERS, build_output(), at=3)
    world.run_backfill(replacing, batch_size=1)
    assert read_names(world, replacing) == []
    assert world.read_outcomes(replacing, none, still) == ["written", "unchanged"]
    assert read_reasons(world, replacing, none) == [("no_elements", None), ("absent_deleted", None)]
    assert read_reasons(world, replacing, still) == [("no_elements", None)]
    assert world.read_ledger(replacing)[none]["element_count"] == 0
    world.read_accounts(replacing)


def test_an_empty_array_of_nobody_is_rejected(world: World, replacing: Plan) -> None:
    run = world.add_run()
    world.add_step(run, CUSTOMERS, build_output("A"), at=1)
    step = world.add_step(run, CUSTOMERS, build_output(domain=" "), at=2)
    world.run_backfill(replacing)
    assert read_names(world, replacing) == ["A"]
    assert read_reasons(world, replacing, step) == [("missing_required", None)]


def test_what_gives_no_array_deletes_nothing(world: World, replacing: Plan) -> None:
    run = world.add_run()
    world.add_step(run, CUSTOMERS, build_output("A"), at=1)
    world.add_step(run, CUSTOMERS, {"domain": "acme.example"}, at=2)
    world.add_step(run, CUSTOMERS, {"domain": "acme.example", "customers": None}, at=3)
    world.run_backfill(replacing)
    assert read_names(world, replacing) == ["A"]


@pytest.mark.parametrize("bad", [{"name": ""}, {"name": "B", "revenue": 1000}], ids=["by the spec", "by the database"])
def test_a_result_with_a_rejected_element_deletes_nothing_and_says_so(world: World, replacing: Plan, bad: Any) -> None:
    world.db.execute("alter table customers add constraint small check (revenue < 100)")
    run = world.add_run()
    world.add_step(run, CUSTOMERS, build_output("A", "B"), at=1)
    step = world.add_step(run, CUSTOMERS, build_output("C", bad), at=2)
    world.run_backfill(replacing)
    assert read_names(world, replacing) == ["A", "B", "C"]
    assert [code for code, _ in read_reasons(world, replacing, step)][1:] == ["absent_kept"]


def test_an_older_result_that_arrives_last_brings_nothing_back(world: World, replacing: Plan) -> None:
    run = world.add_run()
    newer = world.add_step(run, CUSTOMERS, build_output("B", "C"), at=2)
    world.run_backfill(replacing)
    before = world.add_run(run.org)
    older = world.add_step(before, CUSTOMERS, build_output("A", "B"), at=1)
    oldest = world.add_step(before, CUSTOMERS, build_output(), at=0)
    world.run_backfill(replacing)
    assert read_names(world, replacing) == ["B", "C"]
    assert world.read_outcomes(replacing, newer, older, oldest) == ["written", "superseded", "superseded"]
    assert world.read_ledger(replacing)[older]["row_count"] == 2, "its rows, superseded as they are"
    world.read_accounts(replacing)


def test_an_older_result_brings_nothing_back_after_an_empty_one(world: World, replacing: Plan) -> None:
    run = world.add_run()
    none = world.add_step(run, CUSTOMERS, build_output(), at=2)
    world.run_backfill(replacing)
    older = world.add_step(run, CUSTOMERS, build_output("A"), at=1)
    others = world.add_step(run, CUSTOMERS, build_output("A", domain="other.example"), at=1)
    newer = world.add_step(run, CUSTOMERS, build_output("B"), at=3)
    world.run_backfill(replacing, limit=2)
    assert world.read_outcomes(replacing, none, older, others, newer) == [
        "unchanged",
        "superseded",
        "written",
        "pending",
    ]
    world.run_backfill(replacing)
    assert [(row["company_domain"], row["customer_name"]) for row in world.read_rows(replacing)] == [
        ("acme.example", "B"),
        ("other.example", "A"),
    ]
    assert world.run_backfill(replacing, all=True).outcomes["written"] == 0
    world.read_accounts(replacing)


def test_both_in_one_batch(world: World, replacing: Plan) -> None:
    run = world.add_run()
    steps = [
        world.add_step(run, CUSTOMERS, build_output(*customers), at=at)
        for at, customers in enumerate([("A", "B"), ("B", "C"), (), ("C", "D"), ("D",)])
    ]
    world.run_backfill(replacing)
    assert read_names(world, replacing) == ["D"]
    assert world.run_backfill(replacing, all=True).outcomes["written"] == 0
    assert read_names(world, replacing) == ["D"]
    assert set(world.read_outcomes(replacing, *steps)) == {"written", "superseded"}, "what was written stays written"


def test_a_live_upsert_replaces_rows_as_the_repair_at_the_runs_end_does(world: World, replacing: Plan) -> None:
    first, second = world.add_run(), None
    second = world.add_run(first.org)
    world.add_step(first, CUSTOMERS, build_output("A", "B"), at=1)
    world.run_backfill(replacing)
    step = world.add_step(second, CUSTOMERS, build_output("B", "C"), at=2)
    assert world.upsert_live(replacing, step) == ["written", "written"]
    assert read_names(world, replacing) == ["B", "C"], "the step result that it names says that there is no A"
    assert world.repair_run(second, replacing)[0].outcomes == {"unchanged": 1}


def test_a_parent_key_may_be_null(world: World) -> None:
    fields = FIELDS.replace("required: true, normalize: [domain]", "normalize: [domain]")
    plan = world.create_spec(fields, head=HEAD, on_absent="delete")
    run = world.add_run()
    world.add_step(run, CUSTOMERS, build_output("A", domain=None), at=1)
    world.add_step(run, CUSTOMERS, build_output("A", domain="acme.example"), at=1)
    world.add_step(run, CUSTOMERS, build_output("B", domain=None), at=2)
    world.run_backfill(plan)
    assert [(row["company_domain"], row["customer_name"]) for row in world.read_rows(plan)] == [
        ("acme.example", "A"),
        (None, "B"),
    ]


@pytest.mark.law
def test_the_last_complete_result_is_what_stands_there_in_any_batches(world: World, replacing: Plan) -> None:
    """Oldest first, in batches of any size: the elements of the newest result, and nothing else."""
    org = world.add_org()
    results = st.lists(st.lists(st.sampled_from("ABCDE"), max_size=4), min_size=1, max_size=6)

    @settings(
        deadline=None, max_examples=count_examples(10, 250), suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(results, st.sampled_from([1, 2, 3, 500]), st.lists(st.sampled_from(["live", "repair", ""]), min_size=6))
    def check_law(results: Any, batch_size: int, ways: Any) -> None:
        world.db.execute("delete from submissions")
        world.delete_rows(replacing)
        for at, customers in enumerate(results):
            run = world.add_run(org)
            step = world.add_step(run, CUSTOMERS, build_output(*customers), at=at)
            if ways[at] == "live":
                world.upsert_live(replacing, step)
            elif ways[at] == "repair":
                world.repair_run(run, replacing)
        world.run_backfill(replacing, batch_size=batch_size)
        assert read_names(world, replacing) == sorted(set(results[-1]))
        before = world.read_rows(replacing)
        assert world.run_backfill(replacing, all=True).outcomes["written"] == 0
        assert world.read_rows(replacing) == before
        world.read_accounts(replacing)

    check_law()


def test_a_step_says_the_strongest_thing_that_happened_to_a_row() -> None:
    from engine.rows.extract import Extraction

    step = Step("s", "o", "u", "r", None, "1", Extraction("row", rows=({}, {}, {}), elements=4, duplicates=1))
    step.outcomes = dict(enumerate(map(Outcome, ("superseded", "rejected", "unchanged"))))
    assert (step.outcome, step.row_count, step.refused_count) == ("unchanged", 2, 1)
    step.deletion_outcome = Outcome.WRITTEN
    assert (step.outcome, step.row_count, step.refused_count) == ("written", 2, 1)
