"""What a backfill finds, writes and records; what the database refuses; what it may not change."""

import asyncio
import json
import random
import tracemalloc
from datetime import timedelta
from typing import Any

import pytest

from engine.backfill import coverage
from engine.backfill import run as backfill
from engine.backfill.apply import BatchFold
from engine.backfill.reader import extract_step
from engine.plan import Plan
from engine.rows.accounts import Account
from engine.rows.fetch_plan import FetchPlan
from engine.sql import step_results
from engine.sql.step_results import Scope
from engine.store.connection import connect
from engine.store.errors import StoreRefused
from engine.values import exact_json
from tests.database.conftest import HEAD, World

COMPANY = "company.derive.intel_briefing"
TITLES = "company.derive.icp_job_titles"
QUOTES = "finance.fetch.quotes"
FIELDS = """
symbol: {type: text, path: "output.symbol", required: true}
price: {type: numeric, path: "output.price"}
body: {type: jsonb, path: "output.body"}
"""


@pytest.fixture
def plan(world: World) -> Plan:
    return world.create_spec(FIELDS)


def build_quote(symbol: str | None = "ACME", **more: Any) -> dict[str, Any]:
    return {"symbol": symbol, **more}


# --- what is found ---


def test_good_steps_of_root_and_child_runs_and_of_runs_that_failed_later(world: World, plan: Plan) -> None:
    root = world.add_run(status="failed")
    child = world.add_run(root.org, parent=root)
    steps = [world.add_step(root, QUOTES, build_quote("A")), world.add_step(child, QUOTES, build_quote("B"), at=1)]
    assert world.run_backfill(plan).outcomes == {"written": 2}
    assert world.read_outcomes(plan, *steps) == ["written", "written"]
    assert [row["source_pipeline_run_id"] for row in world.read_rows(plan)] == [root.id, child.id]


@pytest.mark.parametrize("moment", ["infinity", "-infinity", "20000-01-01", "0044-03-15 BC"])
def test_a_time_no_client_can_hold_stops_nothing(world: World, plan: Plan, moment: str) -> None:
    run = world.add_run()
    odd, plain = world.add_step(run, QUOTES, build_quote("A")), world.add_step(run, QUOTES, build_quote("B"), at=1)
    world.db.execute("update step_results set finished_at = %s where id = %s", [moment, odd])
    explained = world.loop.run(coverage.list_results_by_outcome(world.own, plan, "pending"))
    assert {row["step_result_id"] for row in explained} == {odd, plain}
    assert world.run_backfill(plan).outcomes == {"written": 2}
    assert world.run_backfill(plan, all=True).outcomes == {"unchanged": 2}


def test_only_what_succeeded_and_was_found(world: World, plan: Plan) -> None:
    run = world.add_run()
    world.add_step(run, QUOTES, build_quote("A"), status="failed")
    world.add_step(run, QUOTES, build_quote("B"), status="running")
    world.add_step(run, QUOTES, build_quote("C"), found="not_found")
    world.add_step(run, QUOTES, build_quote("D"), found="failed")
    world.add_step(run, "finance.fetch.prices", build_quote("E"))
    assert world.run_backfill(plan).found == 0
    assert world.read_rows(plan) == [] and world.read_ledger(plan) == {} and world.read_accounts(plan) == []


def test_a_scope_by_organisation_submission_time_and_limit(world: World, plan: Plan) -> None:
    runs = [world.add_run() for _ in range(4)]
    steps = [world.add_step(run, QUOTES, build_quote(f"S{at}"), at=at) for at, run in enumerate(runs)]
    start = world.steps[steps[0]][2]
    assert world.run_backfill(plan, org_ids=[runs[3].org]).found == 1
    assert world.run_backfill(plan, submissions=[runs[2].submission, runs[3].submission]).found == 1
    assert world.run_backfill(plan, since=start + timedelta(seconds=1), until=start + timedelta(seconds=2)).found == 1
    assert world.read_outcomes(plan, *steps) == ["pending", "written", "written", "written"]
    assert world.run_backfill(plan, all=True, limit=2).recorded == 2


def test_a_changed_mapping_makes_its_step_results_pending_again_and_a_changed_description_does_not(
    world: World, plan: Plan
) -> None:
    world.add_step(world.add_run(), QUOTES, build_quote(price=1))
    assert world.run_backfill(plan).outcomes == {"written": 1}
    described = world.compile_plan(FIELDS.replace("price: {", "price: {description: In euros., filter: true, "))
    assert described.digest == plan.digest
    changed = world.compile_plan(FIELDS.replace("output.price", "output.cost || output.price"))
    assert [words["pending"] for words in world.read_accounts(changed)] == [1]
    assert world.run_backfill(changed).outcomes == {"unchanged": 1}
    assert [words["pending"] for words in world.read_accounts(changed)] == [0]


def test_a_step_result_that_says_something_else_is_pending_again(world: World, plan: Plan) -> None:
    run = world.add_run()
    step = world.add_step(run, QUOTES, '{"symbol": "A", "price": 1.1}')
    world.run_backfill(plan)
    text = world.steps[step][1]
    world.db.execute("update step_results set output_payload = %s where id = %s", [text, step])
    assert world.read_outcomes(plan, step) == ["written"]
    longer = text.replace("1.1", "1.10")
    world.db.execute("update step_results set output_payload = %s where id = %s", [longer, step])
    assert world.read_outcomes(plan, step) == ["pending"]
    assert world.run_backfill(plan).outcomes == {"written": 1}, "1.10 and 1.1 are one number, and two texts"
    assert [str(row["price"]) for row in world.read_rows(plan)] == ["1.10"]


# --- batches ---


def test_the_documents_that_a_batch_needs_of_others_are_read_a_few_at_a_time(world: World) -> None:
    plan = world.create_spec(FIELDS + 'first: {type: text, path: "output.parts[0].name"}')
    run, symbols = world.add_run(), [f"S{number}" for number in range(120)]
    for symbol in symbols:
        world.add_step(run, QUOTES, build_quote(symbol, price=1, parts=[{"name": symbol}, {"text": "x" * 200_000}]))
    assert world.run_backfill(plan).outcomes == {"written": 120}
    for symbol in symbols:  # without a price: that of the older one stays, so its document is needed
        world.add_step(run, QUOTES, build_quote(symbol), at=1)
    tracemalloc.start()
    assert world.run_backfill(plan).outcomes == {"written": 120}
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [(row["first"], row["price"]) for row in world.read_rows(plan)] == [(name, 1) for name in sorted(symbols)]
    assert peak < 10_000_000, "all documents together have 24 MB"


def test_one_rejected_and_one_filtered_step_do_not_stop_the_others(world: World) -> None:
    plan = world.create_spec(FIELDS, when="\"output.state != 'open'\"")
    run = world.add_run()
    good = world.add_step(run, QUOTES, build_quote())
    bad = world.add_step(run, QUOTES, build_quote(" "), at=1)
    wrong = world.add_step(run, QUOTES, build_quote("B", price="1,200"), at=2)
    guarded = world.add_step(run, QUOTES, build_quote("C", state="open"), at=3)
    account = world.run_backfill(plan)
    assert world.read_outcomes(plan, good, bad, wrong, guarded) == ["written", "rejected", "rejected", "filtered"]
    assert account.as_dict() == {
        "spec": "quotes",
        "found": 4,
        "written": 1,
        "unchanged": 0,
        "superseded": 0,
        "filtered": 1,
        "rejected": 2,
        "pending": 0,
        "elements": 3,
        "rows": 1,
        "duplicates": 0,
        "refused": 2,
        "stale_rows": 0,
        "reasons": [
            {"code": "missing_required", "field": "symbol", "count": 1},
            {"code": "wrong_type", "field": "price", "count": 1},
            {"code": "guard", "field": None, "count": 1},
        ],
    }
    (reason,) = world.read_ledger(plan)[wrong]["reasons"]
    assert reason == {
        "code": "wrong_type",
        "field": "price",
        "message": "expected a number, found a string (add the normalizer `number` to read it from a string)",
        "value": '"1,200"',
    }
    world.read_accounts(plan)


def test_the_step_results_behind_a_number(world: World, plan: Plan) -> None:
    run = world.add_run()
    bad = world.add_step(run, QUOTES, build_quote("A", price="1,200"), at=1)
    good = world.add_step(run, QUOTES, build_quote("B"), at=2)
    world.run_backfill(plan)
    pending = [world.add_step(run, QUOTES, build_quote(symbol), at=at) for at, symbol in ((3, "C"), (4, "D"))]

    def read_explained(outcome: str, **more: Any) -> list[dict[str, Any]]:
        return world.loop.run(coverage.list_results_by_outcome(world.own, plan, outcome, **more))

    (rejected,) = read_explained("rejected")
    assert (rejected["step_result_id"], rejected["pipeline_run_id"]) == (bad, run.id)
    assert [reason["code"] for reason in rejected["reasons"]] == ["wrong_type"]
    assert [row["step_result_id"] for row in read_explained("pending")] == pending[::-1], "newest first"
    assert [row["step_result_id"] for row in read_explained("pending", limit=1)] == pending[1:]
    assert read_explained("pending", org_id=world.add_org()) == []
    found = [(row["step_result_id"], row["outcome"]) for row in read_explained("found")]
    assert found == [(pending[1], "pending"), (pending[0], "pending"), (good, "written"), (bad, "rejected")]


def test_a_dry_run_counts_and_writes_nothing(world: World, plan: Plan) -> None:
    run = world.add_run()
    steps = [world.add_step(run, QUOTES, build_quote(f"S{at}", body={"n": at}), at=at) for at in range(5)]
    result = asyncio.run(backfill.run_backfill(world.dsn, plan, Scope(), batch_size=2, dry_run=True))
    assert result.account.outcomes == {"written": 5}
    assert [row["symbol"] for row in result.sample] == ["S0", "S1", "S2"]
    assert world.read_rows(plan) == [] and world.read_outcomes(plan, *steps) == ["pending"] * 5


def test_of_repeats_in_a_batch_the_newest_wins(world: World, plan: Plan) -> None:
    run = world.add_run()
    steps = [world.add_step(run, QUOTES, build_quote(price=at), at=at) for at in (2, 3, 1)]
    world.run_backfill(plan)
    assert [row["price"] for row in world.read_rows(plan)] == [3]
    assert world.read_outcomes(plan, *steps) == ["superseded", "written", "superseded"]
    assert world.count_writes(plan) == (1, 0, 0)


def test_a_kept_value_of_an_older_repeat_is_kept(world: World, plan: Plan) -> None:
    run = world.add_run()
    for at, output in enumerate(
        [build_quote(price=1, body={"n": 1}), build_quote(price=2), build_quote(body={"n": 3}), build_quote()]
    ):
        world.add_step(run, QUOTES, output, at=at)
    world.run_backfill(plan)
    assert [(row["price"], row["body"]) for row in world.read_rows(plan)] == [(2, '{"n": 3}')]


def test_a_kept_value_of_an_older_repeat_never_overwrites_a_newer_one(world: World, plan: Plan) -> None:
    """Stored is 2; then 1 (with a price and a body) and 3 (with neither) arrive in one batch.

    The price is that of 2, the newest that is there; the body that of 1, though it arrives last.
    """
    run = world.add_run()
    second = world.add_step(run, QUOTES, build_quote(price=200), at=2)
    world.upsert_live(plan, second)
    first = world.add_step(run, QUOTES, build_quote(price=100, body=[1]), at=1)
    third = world.add_step(run, QUOTES, build_quote(), at=3)
    world.run_backfill(plan)
    (row,) = world.read_rows(plan)
    assert (row["price"], row["body"]) == (200, "[1]")
    assert row["source_recorded_at"] == world.steps[third][2]
    assert world.read_outcomes(plan, first, second, third) == ["superseded", "written", "written"]


def test_a_step_that_changes_between_reading_and_recording_stays_pending(world: World, plan: Plan) -> None:
    """Its row would be of the old payload and its ledger entry of the new one: lost without a word."""
    run = world.add_run()
    changed, same = (world.add_step(run, QUOTES, build_quote(symbol), at=at) for at, symbol in enumerate("AB"))

    async def merge_outdated() -> Any:
        fetch_plan, statement = FetchPlan(plan), step_results.build_step_results_statement(FetchPlan(plan), Scope())
        async with await connect(world.dsn) as connection:
            read = await (await connection.execute(*statement)).fetchall()
            payload = world.steps[changed][1].replace('"A"', '"C"')
            world.db.execute("update step_results set output_payload = %s where id = %s", [payload, changed])
            steps = [extract_step(fetch_plan, row) for row in read]
            return await BatchFold.build(fetch_plan).fold_with_retry(connection, steps, again=False)

    assert [step.id for step in asyncio.run(merge_outdated())] == [same]
    assert world.read_outcomes(plan, changed, same) == ["pending", "written"]
    assert world.run_backfill(plan).outcomes == {"written": 1}
    assert [row["symbol"] for row in world.read_rows(plan)] == ["B", "C"]
    world.read_accounts(plan)


# --- what the database refuses ---


def assert_rejected(world: World, plan: Plan, steps: Any, bad: Any, code: str) -> None:
    """Exactly the `bad` ones are rejected, with the database's reason; all the others are written."""
    account = world.run_backfill(plan)
    assert world.read_outcomes(plan, *steps) == ["rejected" if step in bad else "written" for step in steps]
    for step in bad:
        (reason,) = world.read_ledger(plan)[step]["reasons"]
        assert reason["code"] == "refused_by_database" and f"({code})" in reason["message"], reason
        assert reason["value"], "the key, to know it by"
    assert account.outcomes["rejected"] == len(bad)
    world.read_accounts(plan)


def test_a_check_constraint_refuses_one_row_of_its_batch(world: World, plan: Plan) -> None:
    world.db.execute("alter table quotes add constraint cheap check (price < 100)")
    run = world.add_run()
    steps = [world.add_step(run, QUOTES, build_quote(f"S{at:03}", price=at), at=at) for at in range(120)]
    assert_rejected(world, plan, steps, steps[100:], "23514")


def test_what_the_database_refused_comes_again_when_the_table_has_changed(world: World, plan: Plan) -> None:
    world.db.execute("alter table quotes add constraint cheap check (price < 100)")
    run = world.add_run()
    steps = [world.add_step(run, QUOTES, build_quote(f"S{price}", price=price), at=price) for price in (99, 100, 200)]
    steps.append(world.add_step(run, QUOTES, build_quote(None), at=201))
    assert world.run_backfill(plan).outcomes == {"written": 1, "rejected": 3}
    assert world.run_backfill(plan).found == 0, "the table is as it was"
    world.db.execute("alter table quotes drop constraint cheap, add constraint fair check (price < 150)")
    assert world.run_backfill(plan).outcomes == {"written": 1, "rejected": 1}
    assert world.read_outcomes(plan, *steps) == ["written", "written", "rejected", "rejected"]
    assert world.run_backfill(plan).found == 0
    world.db.execute("create or replace function allow() returns trigger language plpgsql as $$begin return new; end$$")
    world.db.execute("create trigger allow before insert on quotes for each row execute function allow()")
    assert world.run_backfill(plan).outcomes == {"rejected": 1}, "a trigger may decide otherwise"
    world.read_accounts(plan)


def test_a_key_too_long_for_the_index_refuses_one_row_of_its_batch(world: World, plan: Plan) -> None:
    chance = random.Random(7)
    long = "".join(chance.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(9000))
    run = world.add_run()
    steps = [world.add_step(run, QUOTES, build_quote(symbol), at=at) for at, symbol in enumerate(["A", long, "B"])]
    assert_rejected(world, plan, steps, steps[1:2], "54000")
    (reason,) = world.read_ledger(plan)[steps[1]]["reasons"]
    assert reason["field"] == "symbol"
    assert "`symbol` has 9000 characters, more than its index takes" in reason["message"]


def test_a_trigger_refuses_one_row_of_its_batch(world: World, plan: Plan) -> None:
    world.db.execute("""
        create function no_b() returns trigger language plpgsql as
            $$ begin if new.symbol = 'B' then raise exception 'no B here'; end if; return new; end $$;
        create trigger no_b before insert on quotes for each row execute function no_b();
    """)
    run = world.add_run()
    steps = [world.add_step(run, QUOTES, build_quote(symbol), at=at) for at, symbol in enumerate("ABC")]
    assert_rejected(world, plan, steps, steps[1:2], "P0001")
    (reason,) = world.read_ledger(plan)[steps[1]]["reasons"]
    assert "no B here" in reason["message"]


@pytest.mark.parametrize("code", ["ZZ001", "no_data_found"])
def test_a_trigger_refuses_one_row_with_a_code_of_its_choice(world: World, plan: Plan, code: str) -> None:
    world.db.execute(f"""
        create function no_b() returns trigger language plpgsql as $$ begin
            if new.symbol = 'B' then raise exception 'no B here' using errcode = '{code}'; end if; return new;
        end $$;
        create trigger no_b before insert on quotes for each row execute function no_b();
    """)
    run = world.add_run()
    steps = [world.add_step(run, QUOTES, build_quote(symbol), at=at) for at, symbol in enumerate("ABC")]
    assert_rejected(world, plan, steps, steps[1:2], "ZZ001" if code == "ZZ001" else "P0002")


def test_keys_that_the_table_rounds_to_one_do_not_stop_their_batch(world: World) -> None:
    plan = world.create_spec(
        """
        symbol: {type: text, path: "output.symbol", required: true}
        price: {type: numeric, path: "output.price", required: true}
        """,
        head=HEAD.replace("[org_id, symbol]", "[org_id, symbol, price]"),
    )
    world.db.execute("alter table quotes alter price type numeric(6, 2)")
    run = world.add_run()
    steps = [world.add_step(run, QUOTES, build_quote(price=price), at=price) for price in (1.001, 1.002, 2)]
    world.run_backfill(plan)
    assert world.read_outcomes(plan, *steps) == ["rejected", "rejected", "written"]
    for step in steps[:2]:
        assert "rounded key" in world.read_ledger(plan)[step]["reasons"][0]["message"]
    world.read_accounts(plan)


def test_a_list_of_which_half_is_refused(world: World) -> None:
    """Each row is tried alone, all in one transaction: the locks it holds must not add up, the server has so many."""
    plan = world.create_spec(
        """
        symbol: {type: text, path: "item.symbol", required: true}
        price: {type: numeric, path: "item.price"}
        """,
        rows="output.quotes",
    )
    world.db.execute("""
        alter table quotes add constraint cheap check (price < 100);
        create table held as select 0 as locks;
        create function hold() returns trigger language plpgsql as
            $$ begin insert into held select count(*) from pg_locks where pid = pg_backend_pid(); return new; end $$;
        create trigger hold after insert on quotes for each row execute function hold();
    """)
    quotes = [build_quote(f"S{at:03}", price=1 + at % 2 * 100) for at in range(200)]
    step = world.add_step(world.add_run(), QUOTES, {"quotes": quotes})
    assert world.run_backfill(plan).outcomes == {"written": 1}
    assert world.read_ledger(plan)[step]["row_count"] == len(world.read_rows(plan)) == 100
    assert len(world.read_ledger(plan)[step]["reasons"]) == 100
    assert world.db.execute("select max(locks) < 100 as few from held").fetchone() == {"few": True}


def test_a_row_a_trigger_swallows_is_not_lost_without_a_word(world: World, plan: Plan) -> None:
    world.db.execute("""
        create function no_b() returns trigger language plpgsql as
            $$ begin if new.symbol = 'B' then return null; end if; return new; end $$;
        create trigger no_b before insert on quotes for each row execute function no_b();
    """)
    run = world.add_run()
    steps = [world.add_step(run, QUOTES, build_quote(symbol), at=at) for at, symbol in enumerate("ABC")]
    world.run_backfill(plan)
    assert world.read_outcomes(plan, *steps) == ["written", "rejected", "written"]
    (reason,) = world.read_ledger(plan)[steps[1]]["reasons"]
    assert reason["code"] == "refused_by_database" and "did not keep it" in reason["message"]
    assert reason["value"] == '["B"]'
    world.read_accounts(plan)


def test_a_number_too_large_for_a_narrower_column_refuses_one_row_of_its_batch(world: World, plan: Plan) -> None:
    world.db.execute("alter table quotes alter price type numeric(6, 2)")
    run = world.add_run()
    steps = [
        world.add_step(run, QUOTES, build_quote(f"S{price}", price=price), at=at)
        for at, price in enumerate([1, 10**9, 2])
    ]
    assert_rejected(world, plan, steps, steps[1:2], "22003")


def test_a_column_that_wants_a_value_refuses_one_row_and_names_the_column(world: World, plan: Plan) -> None:
    world.db.execute("alter table quotes alter body set not null")
    run = world.add_run()
    steps = [world.add_step(run, QUOTES, build_quote("A")), world.add_step(run, QUOTES, build_quote("B", body=[]))]
    assert_rejected(world, plan, steps, steps[:1], "23502")
    (reason,) = world.read_ledger(plan)[steps[0]]["reasons"]
    assert reason["field"] == "body"


def test_where_the_newest_repeat_is_refused_the_one_behind_it_is_written(world: World, plan: Plan) -> None:
    world.db.execute("alter table quotes add constraint cheap check (price < 100)")
    run = world.add_run()
    prices = (1, 2, 1000, 3000)
    steps = [world.add_step(run, QUOTES, build_quote("A", price=price), at=at) for at, price in enumerate(prices)]
    other = world.add_step(run, QUOTES, build_quote("B", price=5))
    world.run_backfill(plan)
    assert world.read_outcomes(plan, *steps, other) == ["superseded", "written", "rejected", "rejected", "written"]
    assert [(row["symbol"], row["price"]) for row in world.read_rows(plan)] == [("A", 2), ("B", 5)]
    world.read_accounts(plan)


def test_what_was_refused_once_is_written_once_it_fits(world: World, plan: Plan) -> None:
    world.db.execute("alter table quotes add constraint cheap check (price < 100)")
    run = world.add_run()
    step = world.add_step(run, QUOTES, build_quote(price=1000))
    world.run_backfill(plan)
    assert world.read_outcomes(plan, step) == ["rejected"]
    assert world.run_backfill(plan).found == 0, "rejected is an outcome, not pending"
    world.db.execute("alter table quotes drop constraint cheap")
    assert world.repair_run(run, plan)[0].outcomes == {"written": 1}
    assert world.read_outcomes(plan, step) == ["written"]
    world.read_accounts(plan)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ("drop table quotes", 'relation "quotes" does not exist'),
        ("alter table quotes drop column price", 'column "price" of relation "quotes" does not exist'),
        ("drop index idx_quotes_dedup", "no unique or exclusion constraint"),
    ],
)
def test_a_table_that_does_not_fit_stops_the_backfill_and_leaves_everything_pending(
    world: World, plan: Plan, spoil: str, said: str
) -> None:
    step = world.add_step(world.add_run(), QUOTES, build_quote(price=1))
    world.db.execute(spoil)
    with pytest.raises(StoreRefused, match=said):
        world.run_backfill(plan)
    assert world.read_outcomes(plan, step) == ["pending"]


def test_a_run_deleted_while_its_steps_are_backfilled_takes_them_along(world: World, plan: Plan) -> None:
    """The step results go with their run; nothing of them stays pending, and nothing of the others is lost."""
    kept, gone = world.add_run(), world.add_run()
    for at in range(4):
        world.add_step((kept, gone)[at % 2], QUOTES, build_quote(f"S{at}"), at=at)
    calls: list[int] = []

    def progress(account: Account) -> None:
        if not calls:
            world.db.execute("delete from pipeline_runs where id = %s", [gone.id])
        calls.append(account.recorded)

    account = asyncio.run(backfill.run_backfill(world.dsn, plan, Scope(), batch_size=1, progress=progress)).account
    assert account.outcomes == {"written": 2}
    assert [row["symbol"] for row in world.read_rows(plan)] == ["S0", "S2"]
    assert [(words["found"], words["written"]) for words in world.read_accounts(plan)] == [(2, 2)]


def test_a_live_row_the_database_refuses_names_what_it_refuses(world: World, plan: Plan) -> None:
    world.db.execute("alter table quotes add constraint cheap check (price < 100)")
    with pytest.raises(StoreRefused) as refused_:
        world.upsert_rows(plan, world.add_org(), {"symbol": "A", "price": 100}, {"symbol": "B", "price": 1})
    assert '"cheap"' in refused_.value.message
    assert world.read_rows(plan) == []


# --- documents ---

NUMBERS = (
    '{"digits": 123456789012345678901234567890, "price": 1.10, "huge": 1e400, "zero": -0.0, "tiny": 1e-300, "one": 1.0}'
)


@pytest.mark.parametrize("travels", [False, True], ids=["held", "travelling"])
def test_numbers_arrive_as_they_were(world: World, travels: Any) -> None:
    chain = ", normalize: [json_or_text]" if travels else ""
    plan = world.create_spec(f"""
        symbol: {{type: text, path: "output.symbol", required: true}}
        price: {{type: numeric, path: "output.body.price"}}
        digits: {{type: numeric, path: "output.body.digits"}}
        body: {{type: jsonb, path: "output.body"{chain}}}
    """)
    run = world.add_run()
    step = world.add_step(run, QUOTES, f'{{"symbol": "A", "body": {NUMBERS}}}')
    world.run_backfill(plan)
    (bulk,) = world.read_rows(plan)
    assert bulk["body"] == write_as_postgres(world, NUMBERS)
    assert (str(bulk["price"]), str(bulk["digits"])) == ("1.10", "123456789012345678901234567890")
    world.delete_rows(plan)
    assert world.upsert_live(plan, step) == ["written"]
    assert world.read_rows(plan) == [bulk]


def write_as_postgres(world: World, text: str) -> Any:
    return world.db.execute("select %s::jsonb::text as text", [text]).fetchone()["text"]


def test_documents_of_every_kind_are_stored_as_they_are(world: World) -> None:
    plan = world.specs["icp_job_titles"]
    bodies = ["# Titles", ["a", 1], {"titles": []}, 7, True, "", [], {}, False]
    run = world.add_run()
    for at, body in enumerate(bodies):
        output = {"domain": f"d{at}.example", "parallel_raw_response": {"output": {"content": body}}}
        world.add_step(run, TITLES, output, at=at)
    world.run_backfill(plan)
    stored = [json.loads(row["raw_parallel_output"]) for row in world.read_rows(plan)]
    # blank content is falsy: the whole response stands in for it
    assert stored == [body if body else {"output": {"content": body}} for body in bodies]


def test_keys_with_signs_of_sql_in_them(world: World) -> None:
    keys = ["100%", "%(x)s", "it's", 'quo"te', "back\\slash", "a.b", "ünï", "E'", "$1", "{}", "%%"]
    fields = 'symbol: {type: text, path: "output.symbol", required: true}\n'
    for number, key in enumerate(keys):
        quoted = exact_json.dumps(key).decode().replace("'", "''")
        fields += f"held_{number}: {{type: jsonb, path: 'output.{quoted}'}}\n"
        fields += f"travelling_{number}: {{type: jsonb, path: 'output.{quoted}', normalize: [trim]}}\n"
    plan = world.create_spec(fields)
    world.add_step(world.add_run(), QUOTES, {"symbol": "A", **{key: f"value of {key}" for key in keys}})
    assert world.run_backfill(plan).outcomes == {"written": 1}
    (row,) = world.read_rows(plan)
    for number, key in enumerate(keys):
        assert json.loads(row[f"held_{number}"]) == json.loads(row[f"travelling_{number}"]) == f"value of {key}"


def test_a_document_of_twenty_megabytes(world: World) -> None:
    plan = world.specs["icp_job_titles"]
    run = world.add_run()
    body = json.dumps({"parts": [{"number": number, "text": "ab" * 1000} for number in range(10_000)]})
    output = f'{{"domain": "acme.example", "parallel_raw_response": {{"output": {{"content": {body}}}}}}}'
    step = world.add_step(run, TITLES, output)
    assert world.run_backfill(plan).outcomes == {"written": 1}
    query = (
        "select length(raw_parallel_output::text) as size, raw_parallel_output = %s::jsonb as same from icp_job_titles"
    )
    found = world.db.execute(query, [body]).fetchone()
    assert found["size"] > 20_000_000 and found["same"]
    assert world.upsert_live(plan, step) == ["unchanged"]


def test_a_deep_document(world: World, plan: Plan) -> None:
    deep = "[" * 3000 + "]" * 3000
    world.add_step(world.add_run(), QUOTES, f'{{"symbol": "A", "body": {deep}}}')
    assert world.run_backfill(plan).outcomes == {"written": 1}


def test_the_reader_goes_on_behind_what_it_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction of the reader is bounded; whatever the times of the step results, each is read once."""
    monkeypatch.setattr(backfill, "_READ_SECONDS", 0.0)
    monkeypatch.setattr(backfill, "FETCH_SIZE", 3)
    plan = world.create_spec(FIELDS)
    run = world.add_run()
    steps = [world.add_step(run, QUOTES, build_quote(f"S{number}"), at=number // 7) for number in range(40)]
    world.db.execute("update step_results set finished_at = '-infinity' where id = any(%s)", [steps[:10]])
    account = world.run_backfill(plan)
    assert (account.found, account.outcomes, account.pending) == (40, {"written": 40}, 0)
    account = world.run_backfill(plan, all=True, limit=31)
    assert (account.recorded, account.outcomes) == (31, {"unchanged": 31})
