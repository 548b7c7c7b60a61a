"""Rows are a function of the research: what is corrected, remapped, moved or deleted takes its traces with it."""

import threading
import time
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from engine.backfill.versions import SpecOutdated, register_versions
from engine.plan import Plan
from engine.rows.extract import Rejected
from engine.store.errors import StoreRefused
from tests.api.loopback import run_api
from tests.database.conftest import THINGS, World, build_head

HEAD = build_head("things", THINGS, "version")
FIELDS = """
version: {type: text, path: "output.version", normalize: [text], required: true}
score: {type: numeric, path: "output.score"}
note: {type: text, path: "output.note"}
"""
LISTS = """
spec: 1
name: lists
title: Lists
operations: [company.derive.lists]
table: lists
row_name: list_row
conflict: [org_id, domain, name]
rows: "output.items"
on_absent: delete
"""
ITEMS = """
domain: {type: text, path: "output.domain", required: true}
name: {type: text, path: "item.name", required: true}
note: {type: text, path: "item.note"}
"""


@pytest.fixture
def plan(world: World) -> Plan:
    return world.create_spec(FIELDS, head=HEAD)


def read(world: World, plan: Plan, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in world.read_rows(plan)]


def correct(world: World, step: str, old: str, new: str) -> None:
    world.db.execute(
        "update step_results set output_payload = replace(output_payload::text, %s, %s)::jsonb where id = %s",
        [old, new, step],
    )


def assert_settled(world: World, plan: Plan) -> None:
    """The table is that of a fresh backfill, and nothing is pending."""
    rows, accounts = world.read_rows(plan), world.read_accounts(plan)
    assert all(account["pending"] == account["stale_rows"] == 0 for account in accounts), accounts
    for account in accounts:
        assert account["elements"] == account["rows"] + account["duplicates"] + account["refused"], account
    world.delete_rows(plan)
    world.db.execute("delete from row_lineage")
    world.run_backfill(plan)
    assert world.read_rows(plan) == rows


# --- corrections ---


def test_a_value_that_is_corrected_away_is_cleared(world: World, plan: Plan) -> None:
    step = world.add_step(world.add_run(), THINGS, {"version": "v", "note": "wrong person", "score": 1})
    world.run_backfill(plan)
    correct(world, step, '"note": "wrong person", ', "")
    world.run_backfill(plan)
    assert read(world, plan, "version", "note") == [("v", None)]
    assert_settled(world, plan)


def test_a_key_that_is_corrected_leaves_no_row_behind(world: World, plan: Plan) -> None:
    step = world.add_step(world.add_run(), THINGS, {"version": "wrong", "score": 1})
    world.run_backfill(plan)
    correct(world, step, "wrong", "right")
    assert world.read_accounts(plan)[0]["stale_rows"] == 1
    world.run_backfill(plan)
    assert read(world, plan, "version") == [("right",)]
    assert_settled(world, plan)


def test_a_remapped_path_and_a_new_normalizer_leave_nothing_of_the_old_spec(world: World, plan: Plan) -> None:
    world.add_step(world.add_run(), THINGS, {"version": "V", "note": "mapped by spec 1"})
    world.run_backfill(plan)
    remapped = world.compile_plan(FIELDS.replace("output.note", "output.notes"), head=HEAD)
    world.run_backfill(remapped)
    assert read(world, plan, "version", "note") == [("V", None)]
    lowered = world.compile_plan(FIELDS.replace("[text]", "[text, lower]"), head=HEAD)
    world.run_backfill(lowered)
    assert read(world, plan, "version", "note") == [("v", "mapped by spec 1")]
    assert_settled(world, lowered)


def test_a_renamed_element_takes_its_row_along(world: World) -> None:
    lists = world.create_spec(ITEMS, head=LISTS)
    output = {"domain": "a.com", "items": [{"name": "x"}, {"name": "wrong"}]}
    step = world.add_step(world.add_run(), "company.derive.lists", output)
    world.run_backfill(lists)
    correct(world, step, "wrong", "right")
    world.run_backfill(lists)
    assert read(world, lists, "name") == [("right",), ("x",)]
    assert_settled(world, lists)


def test_a_result_that_is_found_no_more_takes_its_row_along(world: World, plan: Plan) -> None:
    step = world.add_step(world.add_run(), THINGS, {"version": "v"})
    world.run_backfill(plan)
    correct(world, step, '"found"', '"not_found"')
    world.run_backfill(plan)
    assert world.read_rows(plan) == [] and world.read_accounts(plan) == []


def test_a_run_given_to_another_company_makes_its_rows_anew(world: World) -> None:
    fields = FIELDS + 'firm: {type: uuid, path: "run.company_id"}\n'
    plan = world.create_spec(fields, head=HEAD)
    run = world.add_run()
    firms = [uuid.uuid4() for _ in range(3)]
    for firm in firms:
        world.db.execute("insert into companies (id, org_id, name) values (%s, %s, %s)", [firm, run.org, str(firm)])
    step = world.add_step(run, THINGS, {"version": "v"})
    give = "update pipeline_runs set company_id = %s where id = %s"
    world.db.execute(give, [firms[0], run.id])
    world.run_backfill(plan)
    assert read(world, plan, "firm") == [(firms[0],)]

    # Its step results may have been given away before.
    world.db.execute("update step_results set company_id = %s", [firms[1]])
    world.run_backfill(plan)
    world.db.execute(give, [firms[1], run.id])
    assert world.read_outcomes(plan, step) == ["pending"]
    assert world.repair_run(run, plan)[0].outcomes == {"written": 1}
    assert read(world, plan, "firm") == [(firms[1],)]

    # A backfill that has read the company of before leaves the step result pending.
    with psycopg.connect(world.dsn) as giving:
        giving.execute(give, [firms[2], run.id])
        backfill = threading.Thread(target=world.run_backfill, args=(plan,), kwargs={"all": True})
        backfill.start()
        waiting = (
            "select count(*) as n from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        )
        deadline = time.monotonic() + 20
        while not world.db.execute(waiting).fetchone()["n"]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        giving.commit()
    backfill.join()
    world.run_backfill(plan)
    assert read(world, plan, "firm") == [(firms[2],)]
    assert_settled(world, plan)


def test_a_run_given_to_another_company_keeps_the_rows_of_a_step_that_is_being_executed(
    world: World, plan: Plan
) -> None:
    run, firm = world.add_run(status="running"), uuid.uuid4()
    world.db.execute("insert into companies (id, org_id, name) values (%s, %s, 'Firm')", [firm, run.org])
    step = world.add_step(run, THINGS, {"version": "v"}, status="running")
    assert world.upsert_live(plan, step) == ["written"]
    (row,) = world.db.execute("select id from things").fetchall()
    world.db.execute("update pipeline_runs set company_id = %s where id = %s", [firm, run.id])
    world.run_backfill(plan)
    assert world.db.execute("select id from things").fetchall() == [row]
    world.db.execute("update step_results set status = 'succeeded' where id = %s", [step])
    world.run_backfill(plan)
    assert world.db.execute("select id from things").fetchall() == [row]
    assert_settled(world, plan)


def test_a_correction_of_a_contribution_that_is_not_the_newest(world: World, plan: Plan) -> None:
    run = world.add_run()
    older = world.add_step(run, THINGS, {"version": "v", "note": "typo", "score": 1}, at=1)
    world.add_step(run, THINGS, {"version": "v", "score": 2}, at=2)
    world.run_backfill(plan)
    correct(world, older, "typo", "mended")
    world.run_backfill(plan)
    assert read(world, plan, "note", "score") == [("mended", 2)]
    assert_settled(world, plan)


# --- moves and deletions ---


def test_a_deleted_step_result_takes_its_traces_from_rows_of_others(world: World, plan: Plan) -> None:
    org = world.add_org()
    first, second = world.add_run(org), world.add_run(org)
    world.add_step(first, THINGS, {"version": "v", "note": "first", "score": 1}, at=1)
    world.add_step(second, THINGS, {"version": "v", "note": "second"}, at=2)
    alone = world.add_step(second, THINGS, {"version": "alone", "note": "second"}, at=2)
    world.run_backfill(plan)
    world.db.execute("delete from submissions where id = %s", [second.submission])
    world.run_backfill(plan)
    assert read(world, plan, "version", "note", "source_step_result_id") == [
        ("alone", "second", None),
        ("v", "first", world.db.execute("select id::text from step_results").fetchone()["id"]),
    ], f"the row that {alone} alone made stays as it stands"
    assert [account["stale_rows"] for account in world.read_accounts(plan)] == [0]


def test_a_row_that_is_gone_or_edited_comes_back_with_all(world: World, plan: Plan) -> None:
    run = world.add_run()
    for at in range(2):
        world.add_step(run, THINGS, {"version": f"v{at}", "score": at}, at=at)
    world.run_backfill(plan)
    rows = world.read_rows(plan)
    world.db.execute("delete from things where version = 'v0'")
    world.db.execute("update things set note = 'edited', score = 99")
    world.run_backfill(plan, all=True)
    assert world.read_rows(plan) == rows


# --- order ---


def test_an_older_kept_value_counts_whenever_it_arrives(world: World, plan: Plan) -> None:
    run = world.add_run()
    older = world.add_step(run, THINGS, {"version": "v", "note": "from A", "score": 1}, at=1)
    newer = world.add_step(run, THINGS, {"version": "v", "score": 2}, at=2)
    world.upsert_live(plan, newer)
    assert world.upsert_live(plan, older) == ["superseded"]
    assert read(world, plan, "note", "score") == [("from A", 2)]
    assert_settled(world, plan)


def test_at_equal_times_the_higher_id_wins_in_any_order(world: World, plan: Plan) -> None:
    run = world.add_run()
    steps = [world.add_step(run, THINGS, {"version": "v", "note": note}) for note in ("one", "two")]
    low, high = sorted(steps)
    note = "one" if high == steps[0] else "two"
    world.upsert_live(plan, high)
    world.upsert_live(plan, low)
    assert read(world, plan, "note", "source_step_result_id") == [(note, high)]
    assert_settled(world, plan)


def test_an_edit_of_what_is_no_result_moves_nothing(world: World, plan: Plan) -> None:
    run = world.add_run()
    old = world.add_step(run, THINGS, {"version": "v", "note": "old"}, at=1)
    world.add_step(run, THINGS, {"version": "v", "note": "new"}, at=2)
    world.db.execute(
        "update step_results set finished_at = null, created_at = created_at + step_position * interval '1s'"
    )
    world.run_backfill(plan)
    world.db.execute("update step_results set duration_ms = 5 where id = %s", [old])
    world.run_backfill(plan, all=True)
    assert read(world, plan, "note") == [("new",)]


def test_a_time_far_ahead_is_held_to_the_clock(world: World, plan: Plan) -> None:
    run = world.add_run()
    step = world.add_step(run, THINGS, {"version": "v", "note": "from 2999"})
    world.db.execute("update step_results set finished_at = '2999-01-01' where id = %s", [step])
    (row,) = world.db.execute("select recorded_at < now() + interval '1 minute' as held from step_results")
    assert row["held"]
    world.run_backfill(plan)
    before = world.read_rows(plan)
    world.db.execute("update step_results set finished_at = finished_at, duration_ms = 1")
    world.run_backfill(plan, all=True)
    assert world.read_rows(plan) == before


# --- live ---


def test_how_far_ahead_a_source_lies_is_told_by_the_clock_of_the_database(world: World, plan: Plan) -> None:
    """Its clock is an hour ahead of ours; a step result has its time from it, and so has what a runner posts."""
    run = world.add_run()
    world.db.execute("create schema shifted")
    world.db.execute("grant usage on schema shifted to public")
    for clock in ("clock_timestamp", "now"):
        world.db.execute(
            f"create function shifted.{clock}() returns timestamptz language sql"
            f" as $$ select pg_catalog.{clock}() + interval '1 hour' $$".encode()
        )
    world.loop.run(world.own.execute("set search_path = shifted, pg_catalog, public"))
    row = {"version": "v", "note": "from an hour ahead", "score": None}
    times = [datetime.now(UTC) + timedelta(minutes=minutes) for minutes in (64, 66)]
    (stored,) = world.upsert_rows(plan, run.org, {**row, "source_recorded_at": times[0]})
    assert stored.outcome == "written"
    step = world.add_step(run, THINGS, {"version": "v", "note": "recorded"})
    for named in ({}, {"source_step_result_id": step}):
        with pytest.raises(Rejected, match="five minutes ahead of the database's clock"):
            world.upsert_rows(plan, run.org, {**row, **named, "source_recorded_at": times[1]})
    assert read(world, plan, "note", "source_recorded_at") == [("from an hour ahead", times[0])]


def test_an_upsert_that_names_its_step_result_answers_what_is_stored(world: World, plan: Plan) -> None:
    run = world.add_run()
    step = world.add_step(run, THINGS, {"version": "v", "note": "stored", "score": 1})
    sources = {"source_step_result_id": step, "source_recorded_at": world.steps[step][2] + timedelta(days=9)}
    (row,) = world.upsert_rows(plan, run.org, {"version": "v", "note": "claimed", "score": 1, **sources})
    assert row.outcome == "written" and b'"note":"stored"' in row.json
    assert [(reason["code"], reason["field"]) for reason in world.read_ledger(plan)[step]["reasons"]] == [
        ("claim_differs", "note")
    ]
    assert_settled(world, plan)


def test_an_upsert_may_give_the_keys_of_a_document_in_another_order(world: World) -> None:
    """JavaScript moves keys that are numbers to the front; the ledger said that the posted value was another one."""
    body = 'body: {type: jsonb, path: "output.body", normalize: [json_or_text]}'
    plan = world.create_spec(f"{FIELDS}{body}", head=HEAD)
    run = world.add_run()
    step = world.add_step(run, THINGS, '{"version": "v", "body": {"zip": [{"b": 1.10, "10": 1}], "10": 1, "": 2}}')
    posted = '{"version": "v", "score": null, "note": null, "source_step_result_id": "%s", "body": %s}'
    with run_api(world.dsn, (plan,)) as api:
        for document, reasons in (
            ('{"10": 1, "": 2, "zip": [{"10": 1, "b": 1.10}]}', []),
            ('{"10": 1, "": 2, "zip": [{"10": 1, "b": 1.1}]}', [("claim_differs", "body")]),
        ):
            answer = api.upsert(plan.slug, (posted % (step, document)).encode(), run.org)
            assert answer.status_code == 200, answer.text
            noted = [(reason["code"], reason["field"]) for reason in world.read_ledger(plan)[step]["reasons"]]
            assert noted == reasons, document


def test_an_upsert_whose_step_result_is_deleted_at_once_answers_what_is_stored(world: World) -> None:
    """It is deleted as its rows are committed, before the posted document is compared with its own."""
    plan = world.create_spec(f'{FIELDS}body: {{type: jsonb, path: "output.body"}}', head=HEAD)
    world.db.execute(
        "create function delete_source() returns trigger language plpgsql as $$ begin"
        " delete from step_results where id = new.source_step_result_id; return null; end $$"
    )
    world.db.execute(
        "create constraint trigger delete_source after insert on things deferrable initially deferred"
        " for each row execute function delete_source()"
    )
    step = world.add_step(world.add_run(), THINGS, {"version": "v", "note": "n", "body": {"a": 1}})
    assert world.upsert_live(plan, step) == ["written"]
    assert read(world, plan, "note", "body") == [("n", '{"a": 1}')]


def test_an_upsert_of_a_step_that_still_runs_is_written_as_given_and_folded_later(world: World, plan: Plan) -> None:
    run = world.add_run()
    step = world.add_step(run, THINGS, {"version": "right", "note": "stored"}, status="running")
    world.upsert_rows(plan, run.org, {"version": "claimed", "note": "given", "source_step_result_id": step})
    assert read(world, plan, "version", "source_step_result_id") == [("claimed", step)]
    world.db.execute("update step_results set status = 'succeeded'")
    world.run_backfill(plan)
    assert read(world, plan, "version", "note") == [("right", "stored")]
    assert_settled(world, plan)


def test_an_upsert_of_a_person_lasts_until_the_next_sweep(world: World, plan: Plan) -> None:
    run = world.add_run()
    step = world.add_step(run, THINGS, {"version": "v", "note": "researched", "score": 1})
    world.run_backfill(plan)
    world.upsert_rows(plan, run.org, {"version": "v", "note": "a person's", "score": None})
    world.upsert_rows(plan, run.org, {"version": "new", "note": "a person's"})
    assert read(world, plan, "version", "note") == [("new", "a person's"), ("v", "a person's")]
    assert world.read_outcomes(plan, step) == ["pending"]
    world.run_backfill(plan)
    assert read(world, plan, "version", "note") == [("new", "a person's"), ("v", "researched")]


def test_a_swallowed_row_is_one_clear_error(world: World, plan: Plan) -> None:
    world.db.execute("""
        create function swallow() returns trigger language plpgsql as $$ begin return null; end $$;
        create trigger swallow before insert on things for each row execute function swallow();
    """)
    with pytest.raises(StoreRefused, match="did not keep it"):
        world.upsert_rows(plan, world.add_org(), {"version": "v"})


def test_a_swallowed_change_is_not_called_unchanged(world: World, plan: Plan) -> None:
    run = world.add_run()
    row = {"version": "v", "note": "before", "score": 1, "source_recorded_at": datetime(2026, 1, 1, tzinfo=UTC)}
    assert [stored.outcome for stored in world.upsert_rows(plan, run.org, row)] == ["written"]
    world.db.execute("""
        create function swallow() returns trigger language plpgsql as $$ begin return null; end $$;
        create trigger swallow before update on things for each row execute function swallow();
    """)
    for change in ({"note": "after"}, {"source_recorded_at": datetime(2026, 1, 2, tzinfo=UTC)}):
        with pytest.raises(StoreRefused, match="did not keep it"):
            world.upsert_rows(plan, run.org, {**row, **change})
    assert [stored.outcome for stored in world.upsert_rows(plan, run.org, row)] == ["unchanged"]
    late = {**row, "note": "late", "source_recorded_at": datetime(2025, 1, 1, tzinfo=UTC)}
    assert [stored.outcome for stored in world.upsert_rows(plan, run.org, late)] == ["superseded"]

    step = world.add_step(run, THINGS, {"version": "v", "note": "after"})
    world.run_backfill(plan)
    assert world.read_outcomes(plan, step) == ["rejected"]
    world.db.execute("drop trigger swallow on things")
    assert world.run_backfill(plan).outcomes == {"written": 1}
    assert read(world, plan, "note") == [("after",)]


@pytest.mark.parametrize(
    "change",
    [
        "alter table things alter score type numeric(10, 2)",
        """create function tidy() returns trigger language plpgsql as $$
           begin new.note = lower(new.note); return new; end $$;
           create trigger tidy before insert or update on things for each row execute function tidy()""",
    ],
)
def test_a_row_that_the_table_changes_may_be_sent_again(world: World, plan: Plan, change: str) -> None:
    """It is written again, as by a backfill: what was sent differs from what is stored."""
    world.db.execute(change)
    org, row = world.add_org(), {"version": "v", "note": "Note", "score": Decimal("1.1")}
    for _ in range(2):
        assert [stored.outcome for stored in world.upsert_rows(plan, org, row)] == ["written"]
    assert len(world.read_rows(plan)) == 1
    older = {**row, "source_recorded_at": datetime(2025, 1, 1, tzinfo=UTC)}
    assert [stored.outcome for stored in world.upsert_rows(plan, org, older)] == ["superseded"]


# --- elements ---


def test_the_last_of_a_key_wins_whole_and_the_others_are_duplicates(world: World) -> None:
    lists = world.create_spec(ITEMS, head=LISTS.replace("on_absent: delete\n", ""))
    items = [{"name": "x", "note": "first"}, {"name": "y"}, {"name": "x"}, "no object", {"name": " "}]
    step = world.add_step(world.add_run(), "company.derive.lists", {"domain": "a.com", "items": items})
    world.run_backfill(lists)
    assert read(world, lists, "name", "note") == [("x", None), ("y", None)]
    entry = world.read_ledger(lists)[step]
    counts = [entry[f"{name}_count"] for name in ("element", "row", "duplicate", "refused")]
    assert counts == [5, 2, 1, 2]
    found = {(reason["code"], reason.get("element")) for reason in entry["reasons"]}
    assert found == {("duplicate", 0), ("not_an_object", 3), ("missing_required", 4)}
    before = world.count_writes(lists)
    assert world.run_backfill(lists, all=True).outcomes == {"unchanged": 1}
    assert world.count_writes(lists) == before, "twice is once"


# --- refusals ---


def test_what_the_database_refused_comes_again_with_rejected(world: World, plan: Plan) -> None:
    world.db.execute("alter table things add constraint nn check (score < 10)")
    run = world.add_run()
    world.add_step(run, THINGS, {"version": "a", "score": 50})
    world.add_step(run, THINGS, {"version": "b", "score": 5})
    account = world.run_backfill(plan)
    assert account.outcomes["rejected"] or account.elements["refused"]
    world.db.execute("alter table things drop constraint nn")
    account = world.run_backfill(plan, rejected=True)
    assert (account.found, account.outcomes) == (1, {"written": 1})
    assert_settled(world, plan)


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1)])
def test_contributions_are_admitted_oldest_first_in_any_order_of_arrival(world: World, plan: Plan, order: Any) -> None:
    """The first alone is refused, and with what the second kept of it both would be: the second counts alone."""
    world.db.execute("alter table things add constraint scored check (note is null or score is not null)")
    run = world.add_run()
    outputs = {1: {"note": "alone"}, 2: {"score": 7}, 3: {"note": "late", "score": 8}}
    for at in order:
        world.add_step(run, THINGS, {"version": "v", **outputs[at]}, at=at)
        world.run_backfill(plan)
    world.run_backfill(plan)
    assert read(world, plan, "note", "score") == [("late", 8)]
    assert sorted(entry["outcome"] == "rejected" for entry in world.read_ledger(plan).values()) == [False, False, True]
    assert_settled(world, plan)


@pytest.mark.parametrize(
    "constraint",
    [
        "add constraint one_note unique (note) deferrable initially deferred",
        "add constraint known foreign key (note) references known_notes (note) deferrable initially deferred",
    ],
)
@pytest.mark.parametrize("batch_size", [1, 500])
def test_a_deferred_constraint_refuses_its_row_alone(
    world: World, plan: Plan, constraint: str, batch_size: int
) -> None:
    """It fails the commit, which does not say whose fault it is; the others of the batch waited for ever."""
    world.db.execute("create table known_notes (note text primary key)")
    world.db.execute("insert into known_notes values ('one'), ('two')")
    world.db.execute(f"alter table things {constraint}")
    run = world.add_run()
    steps = []
    for at, (version, note) in enumerate(
        [("a", "one"), ("b", "one" if "unique" in constraint else "no"), ("c", "two")]
    ):
        steps.append(world.add_step(run, THINGS, {"version": version, "note": note}, at=at))
        if at == 0:  # two writers may fold two batches in any order
            world.run_backfill(plan)
    world.run_backfill(plan, batch_size=batch_size)
    assert world.read_outcomes(plan, *steps) == ["written", "rejected", "written"]
    assert world.upsert_live(plan, steps[1]) == []
    world.db.execute(f"alter table things drop constraint {constraint.split()[2]}")
    assert world.run_backfill(plan).outcomes == {"written": 1}
    assert_settled(world, plan)


def test_a_posted_row_that_a_deferred_constraint_refuses_is_told_so(world: World, plan: Plan) -> None:
    world.db.execute("alter table things add constraint one_note unique (note) deferrable initially deferred")
    org = world.add_org()
    row = {"version": "a", "note": "one", "score": None}
    world.upsert_rows(plan, org, row)
    for _ in range(2):
        with pytest.raises(StoreRefused, match="one_note"):
            world.upsert_rows(plan, org, {**row, "version": "b"})
    assert read(world, plan, "version") == [("a",)]


def test_rows_may_exchange_what_a_deferred_constraint_keeps_apart(world: World, plan: Plan) -> None:
    world.db.execute("alter table things add constraint one_note unique (note) deferrable initially deferred")
    run = world.add_run()
    for at, (version, note) in enumerate([("a", "one"), ("b", "two"), ("a", "two"), ("b", "one")]):
        world.add_step(run, THINGS, {"version": version, "note": note}, at=at)
        if at == 1:
            world.run_backfill(plan)
    world.run_backfill(plan)
    assert read(world, plan, "version", "note") == [("a", "two"), ("b", "one")]


def test_one_unreadable_step_result_stops_nothing(world: World) -> None:
    plan = world.create_spec(
        'name: {type: text, path: "output.name", required: true}\n'
        'body: {type: jsonb, path: "output.body", normalize: [json_or_text]}',
        head=HEAD.replace("version", "name"),
    )
    run = world.add_run()
    deep = "[" * 4000 + "1" + "]" * 4000
    bad = world.add_step(run, THINGS, f'{{"name": "deep", "body": {deep}}}')
    good = world.add_step(run, THINGS, {"name": "good", "body": {"a": 1}}, at=1)
    edge = "[" * 900 + "]" * 900
    readable = world.add_step(run, THINGS, f'{{"name": "edge", "body": {edge}}}', at=2)
    world.run_backfill(plan)
    assert world.read_outcomes(plan, bad, good, readable) == ["rejected", "written", "written"]
    assert [reason["code"] for reason in world.read_ledger(plan)[bad]["reasons"]] == ["unreadable"]
    assert [account.outcomes for account in world.repair_run(run, plan)] == [{"rejected": 1, "unchanged": 2}]


@pytest.mark.parametrize("numbers", [("1.10", "1.1", "1.100"), ("1", "1.00", "1e0"), ("-0.0", "0", "0.0")])
def test_a_numeric_key_has_one_spelling(world: World, numbers: tuple[str, ...]) -> None:
    """Postgres regards them as one key: whichever comes first, the row is that of a fresh backfill."""
    plan = world.create_spec(
        FIELDS.replace(
            'type: text, path: "output.version", normalize: [text]', 'type: numeric, path: "output.version"'
        ),
        head=HEAD,
    )
    run = world.add_run()
    for at, number in enumerate(numbers):
        step = world.add_step(run, THINGS, f'{{"version": {number}, "score": {number}, "note": "{at}"}}', at=at)
        assert world.upsert_live(plan, step) == ["written"]
    ((version, note),) = read(world, plan, "version", "note")
    assert (str(version), note) == (min(numbers, key=len), "2")
    assert_settled(world, plan)


# --- versions ---


def test_an_older_version_of_a_spec_leaves_its_work_pending(world: World, plan: Plan) -> None:
    run = world.add_run()
    world.add_step(run, THINGS, {"version": "v", "note": "n"})
    newer = world.compile_plan(FIELDS.replace("output.note", "output.notes"), head=HEAD)
    world.run_backfill(plan)
    world.run_backfill(newer)
    with pytest.raises(SpecOutdated, match="things"):
        world.run_backfill(plan)
    (account,) = world.repair_run(run, plan)
    assert account.pending == 1 and "not the one that was registered last" in account.error
    assert read(world, plan, "note") == [(None,)]


def test_what_is_recorded_under_an_older_version_is_pending(world: World, plan: Plan) -> None:
    """A process that read the present version just before another one was registered records under the older one."""
    step = world.add_step(world.add_run(), THINGS, {"version": "v", "note": "n"})
    world.run_backfill(plan)
    world.db.execute("update step_persistence set spec_digest = 'older', outcome = 'rejected'")
    assert world.run_backfill(plan).found == 1
    assert world.read_outcomes(plan, step) == ["unchanged"]


def test_what_goes_while_a_version_is_registered_is_pending_no_more(world: World, plan: Plan) -> None:
    """Deleted or changed in a transaction that ends only after the registration has seen the step results as found."""
    run = world.add_run()
    deleted, failed, _ = (world.add_step(run, THINGS, {"version": "v", "note": str(at)}, at=at) for at in range(3))
    world.run_backfill(plan)
    newer = world.compile_plan(FIELDS.replace("output.note", "output.notes"), head=HEAD)
    with psycopg.connect(world.dsn) as other:
        other.execute("delete from step_results where id = %s", [deleted])
        other.execute("update step_results set status = 'failed' where id = %s", [failed])
        ending = threading.Timer(0.5, other.commit)
        ending.start()
        world.loop.run(register_versions(world.own, [newer]))
        ending.join()
    (account,) = world.read_accounts(newer)
    assert (account["found"], account["pending"]) == (1, 1)
    world.run_backfill(newer)
    (account,) = world.read_accounts(newer)
    assert (account["found"], account["pending"], account["stale_rows"]) == (1, 0, 0)
