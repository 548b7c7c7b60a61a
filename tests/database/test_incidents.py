"""What happened to the system this one grew out of, replayed. Each ends with closed accounts and the reason on record.

Two more are replayed where they happened, at the API and in the runner: the missing header and the missing endpoint.
"""

import json
from typing import Any

import pytest

from engine.plan import Plan
from engine.store.upsert import SourceRefused
from tests.database.conftest import World

COMPANY = "company.derive.intel_briefing"
PERSON = "person.derive.intel_briefing"
TITLES = "company.derive.icp_job_titles"
PROSPECTS = """
spec: 1
name: prospects
title: Prospects
operations: [company.search.prospects]
table: prospects
row_name: prospect
conflict: [org_id, company_domain, name]
rows: "output.results"
"""
PROSPECT = """
company_domain: {type: text, path: "context.company_domain || context.domain", required: true, normalize: [domain]}
name: {type: text, path: "item.name", required: true}
"""


def build_briefing(domain: str = "coreweave.example", **more: Any) -> dict[str, Any]:
    content = {"brief": f"SecurityPal on {domain}"}
    return {
        "domain": domain,
        "client_company_name": "SecurityPal",
        "parallel_raw_response": {"output": {"type": "json", "content": content}},
        **more,
    }


def assert_closed(world: World, plan: Plan, **wanted: Any) -> None:
    """The accounts of the plan close, nothing is pending, and they say what is wanted."""
    (words,) = world.read_accounts(plan)
    assert words["pending"] == 0
    assert {name: words[name] for name in wanted} == wanted


def read_reasons(world: World, plan: Plan, step: str) -> list[tuple[str, str | None]]:
    """The reasons the ledger holds of a step."""
    return [(reason["code"], reason["field"]) for reason in world.read_ledger(plan)[step]["reasons"]]


def test_every_persist_call_failed_for_22_days_and_every_run_was_green(world: World) -> None:
    """Nobody saw the empty table, since nothing counted what should be in it."""
    plan = world.specs["icp_job_titles"]
    org = world.add_org()
    runs = [world.add_run(org) for _ in range(5)]
    for at, run in enumerate(runs):
        world.add_step(run, TITLES, {"domain": f"d{at}.example", "parallel_raw_response": {"titles": []}}, at=at)
    (words,) = world.read_accounts(plan)
    assert (words["found"], words["written"], words["pending"]) == (5, 0, 5), "the number stays visible"
    world.repair_run(runs[0], plan)
    assert [words["pending"] for words in world.read_accounts(plan)] == [4], "a run that ends repairs itself"
    world.run_backfill(plan)
    assert len(world.read_rows(plan)) == 5
    assert_closed(world, plan, found=5, written=5)


def test_the_guards_field_was_absent_from_the_context(world: World) -> None:
    """A person's child run carries no company domain: the block did nothing and said nothing, 349 people were lost."""
    plan = world.create_spec(PROSPECT, head=PROSPECTS)
    run = world.add_run()
    output = {"results": [{"name": "Ada"}, {"name": "Bob"}]}
    lost = world.add_step(run, "company.search.prospects", output, context={"person_name": "Ada"})
    kept = world.add_step(run, "company.search.prospects", output, context={"domain": "acme.example"}, at=1)
    world.run_backfill(plan)
    assert world.read_outcomes(plan, lost, kept) == ["rejected", "written"]
    assert read_reasons(world, plan, lost) == [("missing_required", "company_domain")] * 2
    assert (world.read_ledger(plan)[lost]["element_count"], world.read_ledger(plan)[lost]["row_count"]) == (2, 0)
    assert_closed(world, plan, found=2, written=1, rejected=1)


def test_a_step_result_of_either_way_of_keeping_the_answer_gives_one_row(world: World) -> None:
    """Once the context held the output, and the answers of earlier steps; now it holds neither answer."""
    raw = {"output": {"content": {"n": 1}}}
    output = {"domain": "acme.example", "round": None, "parallel_raw_response": raw}
    carried = {"client": "Harbor", "round": "A", "domain": "before.example"}
    mapped = """
domain: {type: text, path: "context.domain", required: true}
client: {type: text, path: "context.client"}
round: {type: text, path: "context.round"}
kept: {type: jsonb, path: "output.parallel_raw_response.output.content || context.client"}
whole: {type: jsonb, path: "context"}
"""
    head = PROSPECTS.partition("rows:")[0].replace("company_domain, name", "domain")
    plan = world.create_spec(mapped, head=head)
    whole = {**carried, **output}
    old = {**whole, "parallel_raw_response": raw}
    new = {key: value for key, value in whole.items() if key != "parallel_raw_response"}
    for context in (old, new, {**carried, "parallel_raw_response": {"of": "an earlier step"}}, carried):
        world.add_step(world.add_run(world.add_org()), "company.search.prospects", output, context=context)
    world.run_backfill(plan)
    rows = world.read_rows(plan)
    assert len(rows) == 4
    for row in rows:
        assert (row["domain"], row["client"], row["round"]) == ("acme.example", "Harbor", None)
        assert (json.loads(row["kept"]), json.loads(row["whole"])) == ({"n": 1}, whole)


def test_a_text_body(world: World) -> None:
    """The endpoint wanted an object; a report in prose was refused, or wrapped into another shape."""
    plan = world.specs["company_intel_briefings"]
    report = "# CoreWeave\n\nIt rents out graphics cards."
    run = world.add_run()
    text = world.add_step(
        run, COMPANY, build_briefing(parallel_raw_response={"output": {"type": "text", "content": report}})
    )
    array = world.add_step(
        run, COMPANY, build_briefing("b.example", parallel_raw_response={"output": {"content": [1, "two"]}})
    )
    bare = world.add_step(
        run, COMPANY, build_briefing("c.example", parallel_raw_response={"run": {"status": "completed"}})
    )
    for step in (text, array, bare):
        assert world.upsert_live(plan, step) == ["written"]
    live = world.read_rows(plan)
    assert [json.loads(row["raw_parallel_output"]) for row in live] == [
        [1, "two"],
        {"run": {"status": "completed"}},
        report,
    ]
    world.run_backfill(plan)
    assert world.read_rows(plan) == live, "one column, one shape, whichever way it came"
    assert_closed(world, plan, found=3, written=3)


def test_a_blank_overwrote_a_good_value(world: World) -> None:
    """Missing inputs came as `""`, which is not null, and replaced what was known."""
    plan = world.specs["company_intel_briefings"]
    org = world.add_org()
    good = world.add_step(
        world.add_run(org), COMPANY, build_briefing(company_name="CoreWeave", client_company_description="Trust")
    )
    blank = world.add_step(
        world.add_run(org), COMPANY, build_briefing(company_name="", client_company_description=" "), at=1
    )
    for step in (good, blank):
        world.upsert_live(plan, step)
    (live,) = world.read_rows(plan)
    assert (live["company_name"], live["client_company_description"]) == ("CoreWeave", "Trust")
    world.delete_rows(plan)
    world.run_backfill(plan, batch_size=1)
    assert world.read_rows(plan) == [live]
    world.delete_rows(plan)
    world.run_backfill(plan)
    assert world.read_rows(plan) == [live]
    assert_closed(world, plan, found=2, written=1, superseded=1)


def test_null_in_the_key_doubled_rows(world: World) -> None:
    """NULL conflicts with nothing: the same research upserted twice made two rows."""
    plan = world.specs["person_intel_briefings"]
    run = world.add_run()
    output = {"full_name": "Jim Higgins", "parallel_raw_response": {"output": {"content": {"n": 1}}}}
    step = world.add_step(run, PERSON, {**output, "client_company_name": "", "person_current_company_name": None})
    assert [*world.upsert_live(plan, step), *world.upsert_live(plan, step)] == ["written", "unchanged"]
    world.run_backfill(plan)
    world.run_backfill(plan, all=True)
    (row,) = world.read_rows(plan)
    assert (row["person_current_company_name"], row["client_company_name"]) == (None, None)
    assert_closed(world, plan, found=1, written=1)


def test_the_same_key_twice_in_a_batch(world: World) -> None:
    """`ON CONFLICT DO UPDATE command cannot affect row a second time`, and the whole batch was gone."""
    plan = world.specs["company_intel_briefings"]
    run = world.add_run()
    first = world.add_step(run, COMPANY, build_briefing("https://www.CoreWeave.example/"))
    second = world.add_step(run, COMPANY, build_briefing("coreweave.example"), at=1)
    other = world.add_step(run, COMPANY, build_briefing("elastic.example"), at=2)
    world.run_backfill(plan)
    assert world.read_outcomes(plan, first, second, other) == ["superseded", "written", "written"]
    assert [row["company_domain"] for row in world.read_rows(plan)] == ["coreweave.example", "elastic.example"]
    assert_closed(world, plan, found=3, written=2, superseded=1)


def test_the_older_run_arrived_last(world: World) -> None:
    """Researched twice, backfilled in no particular order: the last one written won, by chance the older."""
    plan = world.specs["company_intel_briefings"]
    org = world.add_org()
    older, newer = world.add_run(org), world.add_run(org)
    new = world.add_step(newer, COMPANY, build_briefing(processor="ultra"), at=60)
    assert world.upsert_live(plan, new) == ["written"]
    old = world.add_step(older, COMPANY, build_briefing(processor="pro"), at=0)
    assert world.upsert_live(plan, old) == ["superseded"]
    assert world.repair_run(older, plan)[0].outcomes == {"superseded": 1}
    world.run_backfill(plan)
    (row,) = world.read_rows(plan)
    assert (row["processor"], row["source_pipeline_run_id"]) == ("ultra", newer.id)
    assert_closed(world, plan, found=2, superseded=1, written=1)


def test_step_results_of_another_operation_with_the_same_keys(world: World) -> None:
    """The backfills tried every step that had the keys: one research landed in the other's table."""
    plans = [world.specs[name] for name in ("company_intel_briefings", "icp_job_titles")]
    run = world.add_run()
    world.add_step(run, COMPANY, build_briefing())
    world.add_step(run, "company.derive.pricing", build_briefing())
    for plan in plans:
        world.run_backfill(plan)
    assert [len(world.read_rows(plan)) for plan in plans] == [1, 0]
    (words,) = world.read_accounts(*plans)
    assert (words["spec"], words["found"], words["written"]) == ("company_intel_briefings", 1, 1)


def test_a_row_written_under_another_tenant(world: World) -> None:
    """The organisation was a constant of the script, or whatever the caller said; it is the run's."""
    plan = world.specs["company_intel_briefings"]
    mine, other = world.add_run(), world.add_run()
    step = world.add_step(mine, COMPANY, build_briefing(), org=other.org)
    world.run_backfill(plan)
    (row,) = world.read_rows(plan)
    assert row["org_id"] == mine.org
    (words,) = world.read_accounts(plan)
    assert (words["org_id"], words["found"], words["written"]) == (mine.org, 1, 1)
    values = dict(world.extract_step(plan, step).rows[0])
    for source, column in ((mine.submission, "source_submission_id"), (mine.id, "source_pipeline_run_id")):
        with pytest.raises(SourceRefused, match=f"`{column}` does not belong"):
            world.upsert_rows(plan, other.org, {**values, column: source})
    assert len(world.read_rows(plan)) == 1


def test_a_run_given_to_another_organisation_takes_its_research_along(world: World) -> None:
    plan = world.specs["company_intel_briefings"]
    run, heir = world.add_run(), world.add_org()
    step = world.add_step(run, COMPANY, build_briefing())
    world.run_backfill(plan)
    world.db.execute("update pipeline_runs set org_id = %s where id = %s", [heir, run.id])
    assert world.read_outcomes(plan, step) == ["pending"]
    world.run_backfill(plan)
    assert {row["org_id"] for row in world.read_rows(plan)} == {heir}, "it leaves no trace behind"
    assert_closed(world, plan, found=1, written=1)


def test_only_child_runs_or_only_runs_that_succeeded_were_backfilled(world: World) -> None:
    plan = world.specs["icp_job_titles"]
    root = world.add_run(status="failed")
    child = world.add_run(root.org, parent=root, status="canceled")
    for at, run in enumerate((root, child)):
        world.add_step(run, TITLES, {"domain": f"d{at}.example", "parallel_raw_response": "# Titles"}, at=at)
    world.run_backfill(plan)
    assert_closed(world, plan, found=2, written=2)


def test_a_backfill_that_stops_in_the_middle_goes_on_where_it_stopped(world: World) -> None:
    """The scripts began again from the start, or left it at that."""
    plan = world.specs["icp_job_titles"]
    run = world.add_run()
    for at in range(10):
        world.add_step(run, TITLES, {"domain": f"d{at}.example", "parallel_raw_response": {"n": at}}, at=at)
    assert world.run_backfill(plan, limit=4).outcomes == {"written": 4}
    assert [words["pending"] for words in world.read_accounts(plan)] == [6]
    assert world.run_backfill(plan).outcomes == {"written": 6}
    assert_closed(world, plan, found=10, written=10)
