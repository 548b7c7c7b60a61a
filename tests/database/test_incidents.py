"""What happened to the system this one grew out of, replayed. Each ends with closed accounts and the reason on record.

Two more are replayed where they happened, at the API and in the runner: the missing header and the missing endpoint.
"""

import json

import pytest

from engine.store.upsert import SourceRefused

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


def briefing(domain="coreweave.example", client="SecurityPal", **more):
    content = {"brief": f"{client} on {domain}"}
    return {
        "domain": domain,
        "client_company_name": client,
        "parallel_raw_response": {"output": {"type": "json", "content": content}},
        **more,
    }


def closed(world, plan, **wanted):
    """The accounts of the plan close, nothing is pending, and they say what is wanted."""
    (words,) = world.accounts(plan)
    assert words["pending"] == 0
    assert {name: words[name] for name in wanted} == wanted


def on_record(world, plan, step):
    """The reasons the ledger holds of a step."""
    return [(reason["code"], reason["field"]) for reason in world.ledger(plan)[step]["reasons"]]


def test_every_persist_call_failed_for_22_days_and_every_run_was_green(world):
    """Nobody saw the empty table, since nothing counted what should be in it."""
    plan = world.specs["icp_job_titles"]
    org = world.org()
    runs = [world.run(org) for _ in range(5)]
    for at, run in enumerate(runs):
        world.step(run, TITLES, {"domain": f"d{at}.example", "parallel_raw_response": {"titles": []}}, at=at)
    (words,) = world.accounts(plan)
    assert (words["found"], words["written"], words["pending"]) == (5, 0, 5), "the number stays visible"
    world.repair(runs[0], plan)
    assert [words["pending"] for words in world.accounts(plan)] == [4], "a run that ends repairs itself"
    world.backfill(plan)
    assert len(world.rows(plan)) == 5
    closed(world, plan, found=5, written=5)


def test_the_guards_field_was_absent_from_the_context(world):
    """A person's child run carries no company domain: the block did nothing and said nothing, 349 people were lost."""
    plan = world.spec(PROSPECT, head=PROSPECTS)
    run = world.run()
    output = {"results": [{"name": "Ada"}, {"name": "Bob"}]}
    lost = world.step(run, "company.search.prospects", output, context={"person_name": "Ada"})
    kept = world.step(run, "company.search.prospects", output, context={"domain": "acme.example"}, at=1)
    world.backfill(plan)
    assert world.outcomes(plan, lost, kept) == ["rejected", "written"]
    assert on_record(world, plan, lost) == [("missing_required", "company_domain")] * 2
    assert (world.ledger(plan)[lost]["element_count"], world.ledger(plan)[lost]["row_count"]) == (2, 0)
    closed(world, plan, found=2, written=1, rejected=1)


def test_a_text_body(world):
    """The endpoint wanted an object; a report in prose was refused, or wrapped into another shape."""
    plan = world.specs["company_intel_briefings"]
    report = "# CoreWeave\n\nIt rents out graphics cards."
    run = world.run()
    text = world.step(run, COMPANY, briefing(parallel_raw_response={"output": {"type": "text", "content": report}}))
    array = world.step(run, COMPANY, briefing("b.example", parallel_raw_response={"output": {"content": [1, "two"]}}))
    bare = world.step(run, COMPANY, briefing("c.example", parallel_raw_response={"run": {"status": "completed"}}))
    for step in (text, array, bare):
        assert world.live(plan, step) == ["written"]
    live = world.rows(plan)
    assert [json.loads(row["raw_parallel_output"]) for row in live] == [
        [1, "two"],
        {"run": {"status": "completed"}},
        report,
    ]
    world.backfill(plan)
    assert world.rows(plan) == live, "one column, one shape, whichever way it came"
    closed(world, plan, found=3, unchanged=3)


def test_a_blank_overwrote_a_good_value(world):
    """Missing inputs came as `""`, which is not null, and replaced what was known."""
    plan = world.specs["company_intel_briefings"]
    org = world.org()
    good = world.step(world.run(org), COMPANY, briefing(company_name="CoreWeave", client_company_description="Trust"))
    blank = world.step(world.run(org), COMPANY, briefing(company_name="", client_company_description=" "), at=1)
    for step in (good, blank):
        world.live(plan, step)
    (live,) = world.rows(plan)
    assert (live["company_name"], live["client_company_description"]) == ("CoreWeave", "Trust")
    world.forget(plan)
    world.backfill(plan, batch_size=1)
    assert world.rows(plan) == [live]
    world.forget(plan)
    world.backfill(plan)
    assert world.rows(plan) == [live]
    closed(world, plan, found=2, written=2)


def test_null_in_the_key_doubled_rows(world):
    """NULL conflicts with nothing: the same research upserted twice made two rows."""
    plan = world.specs["person_intel_briefings"]
    run = world.run()
    output = {"full_name": "Jim Higgins", "parallel_raw_response": {"output": {"content": {"n": 1}}}}
    step = world.step(run, PERSON, {**output, "client_company_name": "", "person_current_company_name": None})
    assert [*world.live(plan, step), *world.live(plan, step)] == ["written", "unchanged"]
    world.backfill(plan)
    world.backfill(plan, all=True)
    (row,) = world.rows(plan)
    assert (row["person_current_company_name"], row["client_company_name"]) == (None, None)
    closed(world, plan, found=1, unchanged=1)


def test_the_same_key_twice_in_a_batch(world):
    """`ON CONFLICT DO UPDATE command cannot affect row a second time`, and the whole batch was gone."""
    plan = world.specs["company_intel_briefings"]
    run = world.run()
    first = world.step(run, COMPANY, briefing("https://www.CoreWeave.example/"))
    second = world.step(run, COMPANY, briefing("coreweave.example"), at=1)
    other = world.step(run, COMPANY, briefing("elastic.example"), at=2)
    world.backfill(plan)
    assert world.outcomes(plan, first, second, other) == ["superseded", "written", "written"]
    assert [row["company_domain"] for row in world.rows(plan)] == ["coreweave.example", "elastic.example"]
    closed(world, plan, found=3, written=2, superseded=1)


def test_the_older_run_arrived_last(world):
    """Researched twice, backfilled in no particular order: the last one written won, by chance the older."""
    plan = world.specs["company_intel_briefings"]
    org = world.org()
    older, newer = world.run(org), world.run(org)
    new = world.step(newer, COMPANY, briefing(processor="ultra"), at=60)
    assert world.live(plan, new) == ["written"]
    old = world.step(older, COMPANY, briefing(processor="pro"), at=0)
    assert world.live(plan, old) == ["superseded"]
    assert world.repair(older, plan)[0].outcomes == {"superseded": 1}
    world.backfill(plan)
    (row,) = world.rows(plan)
    assert (row["processor"], row["source_pipeline_run_id"]) == ("ultra", newer.id)
    closed(world, plan, found=2, superseded=1, unchanged=1)


def test_step_results_of_another_operation_with_the_same_keys(world):
    """The backfills tried every step that had the keys: one research landed in the other's table."""
    plans = [world.specs[name] for name in ("company_intel_briefings", "icp_job_titles")]
    run = world.run()
    world.step(run, COMPANY, briefing())
    world.step(run, "company.derive.pricing", briefing())
    for plan in plans:
        world.backfill(plan)
    assert [len(world.rows(plan)) for plan in plans] == [1, 0]
    (words,) = world.accounts(*plans)
    assert (words["spec"], words["found"], words["written"]) == ("company_intel_briefings", 1, 1)


def test_a_row_written_under_another_tenant(world):
    """The organisation was a constant of the script, or whatever the caller said; it is the run's."""
    plan = world.specs["company_intel_briefings"]
    mine, other = world.run(), world.run()
    step = world.step(mine, COMPANY, briefing(), org=other.org)
    world.backfill(plan)
    (row,) = world.rows(plan)
    assert row["org_id"] == mine.org
    (words,) = world.accounts(plan)
    assert (words["org_id"], words["found"], words["written"]) == (mine.org, 1, 1)
    values = dict(world.extracted(plan, step).rows[0])
    for source, column in ((mine.submission, "source_submission_id"), (mine.id, "source_pipeline_run_id")):
        with pytest.raises(SourceRefused, match=f"`{column}` does not belong"):
            world.upsert(plan, other.org, {**values, column: source})
    assert len(world.rows(plan)) == 1


def test_a_run_given_to_another_organisation_takes_its_research_along(world):
    plan = world.specs["company_intel_briefings"]
    run, heir = world.run(), world.org()
    step = world.step(run, COMPANY, briefing())
    world.backfill(plan)
    world.db.execute("update pipeline_runs set org_id = %s where id = %s", [heir, run.id])
    assert world.outcomes(plan, step) == ["pending"]
    world.backfill(plan)
    assert {row["org_id"] for row in world.rows(plan)} == {run.org, heir}, "what was the first one's stays its own"
    closed(world, plan, found=1, written=1)


def test_only_child_runs_or_only_runs_that_succeeded_were_backfilled(world):
    plan = world.specs["icp_job_titles"]
    root = world.run(status="failed")
    child = world.run(root.org, parent=root, status="canceled")
    for at, run in enumerate((root, child)):
        world.step(run, TITLES, {"domain": f"d{at}.example", "parallel_raw_response": "# Titles"}, at=at)
    world.backfill(plan)
    closed(world, plan, found=2, written=2)


def test_a_backfill_that_stops_in_the_middle_goes_on_where_it_stopped(world):
    """The scripts began again from the start, or left it at that."""
    plan = world.specs["icp_job_titles"]
    run = world.run()
    for at in range(10):
        world.step(run, TITLES, {"domain": f"d{at}.example", "parallel_raw_response": {"n": at}}, at=at)
    assert world.backfill(plan, limit=4).outcomes == {"written": 4}
    assert [words["pending"] for words in world.accounts(plan)] == [6]
    assert world.backfill(plan).outcomes == {"written": 6}
    closed(world, plan, found=10, written=10)
