"""Several writers at once, a database that goes away, and a backfill that is killed."""

import asyncio
import contextlib
import gc
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from engine.backfill import run as backfill
from engine.embedded_postgres import postmaster, run_server
from engine.plan import Plan
from engine.rows.accounts import Account
from engine.sql.step_results import Scope
from engine.store.connection import connect
from engine.store.errors import StoreUnavailable
from engine.store.upsert import Upsert
from engine.tables.migrate import migrate
from tests.conftest import ROOT, find_memory_folder
from tests.database.conftest import QUOTES, Run, World, build_head
from tests.forked_dex import run_dex_text

FIELDS = """
symbol: {type: text, path: "output.symbol", required: true}
venue: {type: text, path: "output.venue"}
price: {type: numeric, path: "output.price", on_missing: clear}
body: {type: jsonb, path: "output.body", on_missing: clear}
"""
HEAD = build_head("quotes", QUOTES, "symbol, venue")


def add_quotes(world: World, run: Run, count: int, keys: int, chance: random.Random) -> None:
    """`count` step results over `keys` keys, some of them with a key that is null, each of its own time."""
    taken = {recorded for _, _, recorded, _ in world.steps.values()}
    for at in range(len(taken), len(taken) + count):
        number = chance.randrange(keys)
        output = {"symbol": f"S{number}", "venue": "X" if number % 3 else None, "price": at, "body": {"at": at}}
        world.add_step(run, QUOTES, output, at=at)


def compute_newest(world: World, plan: Plan) -> dict[Any, Any]:
    """What must stand in the table: of each key the newest source, once."""
    by_key: dict[Any, Any] = {}
    for step, (run, _, recorded, _) in world.steps.items():
        for row in world.extract_step(plan, step).rows:
            key = (run.org, row["symbol"], row["venue"])
            by_key[key] = max(by_key.get(key, ()), (recorded, int(row["price"])))
    return by_key


def read_stored(world: World, plan: Plan) -> dict[Any, Any]:
    return {
        (row["org_id"], row["symbol"], row["venue"]): (row["source_recorded_at"], int(row["price"]))
        for row in world.read_rows(plan)
    }


def test_two_backfills_repairs_and_live_upserts_on_the_same_keys_at_once(world: World) -> None:
    """No deadlock, no stale row, no double."""
    plan = world.create_spec(FIELDS, head=HEAD)
    chance = random.Random(5)
    org = world.add_org()
    runs = [world.add_run(org) for _ in range(4)]
    for run in runs:
        add_quotes(world, run, 60, 25, chance)
    rows = []
    for step, (run, _, recorded, _) in world.steps.items():
        sources = {"source_submission_id": run.submission, "source_pipeline_run_id": run.id}
        rows += [{**row, **sources, "source_recorded_at": recorded} for row in world.extract_step(plan, step).rows]

    async def upsert_steps(seed: int) -> None:
        order = random.Random(seed).sample(rows, len(rows))
        async with await connect(world.dsn) as connection:
            for start in range(0, len(order), 8):
                batch = {(row["symbol"], row["venue"]): row for row in order[start : start + 8]}
                by_key = sorted(batch, key=lambda key: [(part is None, str(part)) for part in key])
                await Upsert.build(plan).write_rows(connection, org, [batch[key] for key in by_key])

    async def repair_runs(run: Run) -> None:
        async with await connect(world.dsn) as connection:
            await backfill.repair_run(connection, [plan], run.id)

    async def run_all() -> Any:
        backfills = (
            backfill.run_backfill(world.dsn, plan, Scope(all=all_), batch_size=40) for all_ in (False, True, False)
        )
        return await asyncio.wait_for(
            asyncio.gather(*backfills, *map(upsert_steps, range(3)), *map(repair_runs, runs)), timeout=120
        )

    asyncio.run(run_all())
    assert read_stored(world, plan) == compute_newest(world, plan)
    assert len(world.read_rows(plan)) == len(compute_newest(world, plan))
    world.run_backfill(plan)  # an upsert that names no step result leaves the newest one of its key pending
    assert read_stored(world, plan) == compute_newest(world, plan)
    (words,) = world.read_accounts(plan)
    assert (words["found"], words["pending"]) == (240, 0)


def test_writers_of_one_parent_take_turns(world: World) -> None:
    """Under `on_absent: delete`: what is left is one result's elements, never a mixture."""
    head = HEAD.replace("conflict: [org_id, symbol, venue]", "conflict: [org_id, venue, symbol]")
    head += 'rows: "output.symbols"\non_absent: delete\n'
    plan = world.create_spec(
        'venue: {type: text, path: "output.venue", required: true}\nsymbol: {type: text, path: "item", required: true}',
        head=head,
    )
    chance = random.Random(11)
    org = world.add_org()
    runs = []
    for at in range(40):
        run = world.add_run(org)
        runs.append(run)
        symbols = chance.sample("ABCDEFGH", chance.randrange(5))
        world.add_step(run, QUOTES, {"venue": chance.choice("XY"), "symbols": symbols}, at=at)

    async def repair_runs(some: Any) -> None:
        async with await connect(world.dsn) as connection:
            for run in some:
                await backfill.repair_run(connection, [plan], run.id)

    async def upsert_steps(steps: Any) -> None:
        async with await connect(world.dsn) as connection:
            for step in steps:
                run, _, recorded, _ = world.steps[step]
                sources = {"source_pipeline_run_id": run.id, "source_recorded_at": recorded}
                rows = sorted(world.extract_step(plan, step).rows, key=lambda row: row["symbol"])
                await Upsert.build(plan).write_rows(connection, org, [{**row, **sources} for row in rows])

    async def run_all() -> None:
        shuffled = [random.Random(seed).sample(runs, len(runs)) for seed in range(3)]
        arriving = [random.Random(seed).sample(list(world.steps), len(world.steps)) for seed in range(3)]
        backfills = (backfill.run_backfill(world.dsn, plan, Scope(all=True), batch_size=7) for _ in range(2))
        everyone = asyncio.gather(*backfills, *map(repair_runs, shuffled), *map(upsert_steps, arriving))
        await asyncio.wait_for(everyone, timeout=120)

    asyncio.run(run_all())
    world.run_backfill(
        plan, all=True
    )  # a live upsert that comes late is put right by the next result, here by the same
    last = {}
    for step in world.steps:
        output = json.loads(world.steps[step][1])["operation_result"]["output"]
        last[output["venue"]] = set(output["symbols"])
    found: dict[Any, set[str]] = {venue: set() for venue in last}
    for row in world.read_rows(plan):
        found[row["venue"]].add(row["symbol"])
    assert found == last
    world.read_accounts(plan)


def test_backfills_of_one_spec_wait_for_each_other_and_find_nothing_left(world: World) -> None:
    plan = world.create_spec(FIELDS, head=HEAD)
    add_quotes(world, world.add_run(), 50, 50, random.Random(3))
    waited = []
    with psycopg.connect(world.dsn) as holder:
        holder.execute("select pg_advisory_xact_lock(hashtextextended('dex backfill quotes', 0))")

        def waiting() -> None:
            waited.append(True)
            if len(waited) == 2:
                holder.rollback()

        async def run_both() -> Any:
            two = (backfill.run_backfill(world.dsn, plan, Scope(), batch_size=10, waiting=waiting) for _ in range(2))
            return await asyncio.wait_for(asyncio.gather(*two), timeout=60)

        accounts = [result.account for result in asyncio.run(run_both())]
    assert sorted(account.recorded for account in accounts) == [0, 50]


def test_a_deadlock_with_who_deletes_a_run_is_lost_and_the_batch_begun_anew(world: World) -> None:
    """The step results are held, then their run is asked for; who deletes the run goes the other way."""
    plan = world.create_spec(FIELDS, head=HEAD)
    kept, gone = world.add_run(), world.add_run()
    for at, run in enumerate((kept, gone, kept)):
        world.add_step(run, QUOTES, {"symbol": f"S{at}"}, at=at)
    world.db.execute("""
        create function pause() returns trigger language plpgsql as
            $$ begin perform pg_advisory_xact_lock(7); return new; end $$;
        create trigger pause before insert on quotes for each row execute function pause();
    """)
    with psycopg.connect(world.dsn) as holder, ThreadPoolExecutor() as pool:
        holder.execute("select pg_advisory_xact_lock(7)")
        filled = pool.submit(asyncio.run, backfill.run_backfill(world.dsn, plan, Scope()))
        wait_for_event(world, "advisory")
        deleted = pool.submit(delete_run, world.dsn, gone.id)
        wait_for_event(world, "transactionid", "tuple")
        holder.rollback()
        deleted.result(timeout=30)
        account = filled.result(timeout=30).account
    assert account.outcomes == {"written": 2}
    assert [row["symbol"] for row in world.read_rows(plan)] == ["S0", "S2"]
    assert [words["pending"] for words in world.read_accounts(plan)] == [0]


def delete_run(dsn: str, run: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("set deadlock_timeout = '1min'")  # so that it is the backfill that loses
        connection.execute("delete from pipeline_runs where id = %s", [run])


def wait_for_event(world: World, *events: str) -> None:
    """Wait until a session of the database waits for one of `events`."""
    query = "select from pg_stat_activity where datname = current_database() and wait_event = any(%s)"
    deadline = time.monotonic() + 30
    while not world.db.execute(query, [list(events)]).fetchall():
        assert time.monotonic() < deadline, f"nobody waits for {events}"
        time.sleep(0.02)


# --- a database that goes away ---

#: psycopg cannot close a server's cursor once the server is gone, and complains of it when it is collected.
CURSOR = pytest.mark.filterwarnings("ignore:<psycopg.AsyncServerCursor:ResourceWarning")


def test_a_database_that_is_not_there() -> None:
    with pytest.raises(StoreUnavailable, match="the database does not answer") as said:
        asyncio.run(connect("postgresql://postgres@127.0.0.1:1/none"))
    assert "may be run again" in said.value.hint


def test_the_command_says_so_in_two_lines_and_exits_with_1() -> None:
    dsn = "postgresql://postgres@127.0.0.1:1/none"
    environment = {**os.environ, "DATABASE_URL": dsn}
    said = run_dex_text("backfill", "icp_job_titles", "--json", environment=environment)
    assert (said.returncode, said.stdout) == (1, "")
    first, second = said.stderr.strip().split("\n")
    assert first.startswith("dex: the database does not answer: ") and second.startswith("    hint: start it")


@CURSOR
@pytest.mark.parametrize("whose", ["reader", "writer", "both"])
def test_a_connection_cut_in_the_middle_leaves_what_was_committed(world: World, whose: str) -> None:
    """The message says that the database is gone; what was committed is recorded, the rest pending, and resumed."""
    plan = world.create_spec(FIELDS, head=HEAD)
    add_quotes(world, world.add_run(), 200, 60, random.Random(1))
    # The reader holds the spec's lock for as long as it reads.
    reader = "pid in (select pid from pg_locks where locktype = 'advisory')"
    cut = {"reader": reader, "writer": f"not {reader}", "both": "true"}[whose]

    def progress(account: Account) -> None:
        if account.recorded == 20:
            world.db.execute(
                "select pg_terminate_backend(pid, 60000) from pg_stat_activity where datname = current_database()"
                f" and backend_type = 'client backend' and pid not in (pg_backend_pid(), %s) and {cut}",
                [world.own.info.backend_pid],
            )

    with pytest.raises(StoreUnavailable, match="the database does not answer"):
        asyncio.run(backfill.run_backfill(world.dsn, plan, Scope(), batch_size=10, progress=progress))
    gc.collect()
    (words,) = world.read_accounts(plan)
    assert words["found"] == 200 and 0 < words["pending"] <= 180
    assert len(world.read_rows(plan)) <= words["written"]
    assert world.run_backfill(plan).recorded == words["pending"]
    assert [words["pending"] for words in world.read_accounts(plan)] == [0]
    assert read_stored(world, plan) == compute_newest(world, plan)


@CURSOR
def test_a_stopped_database_is_said_so_and_the_backfill_resumed_once_it_is_back(own_server: tuple[Path, World]) -> None:
    data, world = own_server
    plan = world.create_spec(FIELDS, head=HEAD)
    add_quotes(world, world.add_run(), 200, 60, random.Random(2))

    def progress(account: Account) -> None:
        if account.recorded == 20:
            os.kill(postmaster.find_postmaster(data / "cluster").pid, signal.SIGINT)  # as `pg_ctl stop` does
            while postmaster.find_postmaster(data / "cluster"):  # or the batches left may be faster than it
                time.sleep(0.02)

    with pytest.raises(StoreUnavailable, match="the database does not answer"):
        asyncio.run(backfill.run_backfill(world.dsn, plan, Scope(), batch_size=10, progress=progress))
    gc.collect()
    with run_server(data, durable=False) as dsn:
        assert dsn == world.dsn
        again = type(world)(dsn)
        (words,) = again.read_accounts(plan)
        assert 0 < words["pending"] <= 180
        assert again.run_backfill(plan).recorded == words["pending"]
        assert read_stored(again, plan) == compute_newest(world, plan)
        again.read_accounts(plan)
        again.close()


@pytest.fixture
def own_server(world: World) -> Iterator[tuple[Path, World]]:
    """A world in a server of its own, which may be stopped."""
    folder = Path(tempfile.mkdtemp(prefix="dex-own-", dir=find_memory_folder()))
    folder.chmod(0o711)
    data = folder / "data"
    try:
        with run_server(data, durable=False, temporary=True) as dsn:
            asyncio.run(migrate(dsn, ROOT / "migrations"))
            own_world = type(world)(dsn)
            yield data, own_world
            own_world.close()
    finally:
        deadline = time.monotonic() + 30
        while data.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        shutil.rmtree(folder, ignore_errors=True)


# --- kill -9 ---

#: Forks a backfill, so that a kill costs no start of Python; says its pid, and on the next line what became of it.
FORKER = """
import asyncio, os, sys
from pathlib import Path
from engine.backfill import run as backfill
from engine.plans import compile_text
from engine.sql.step_results import Scope
made = compile_text(Path(sys.argv[2]).read_text(), "specs/quotes.yaml")
print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if not child:
        asyncio.run(backfill.run_backfill(sys.argv[1], made, Scope(), batch_size=5))
        os._exit(0)
    print(child, flush=True)
    sys.stdin.readline()
    print(os.waitpid(child, 0)[1], flush=True)
"""


@contextlib.contextmanager
def start_forker(dsn: str, spec: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", FORKER, dsn, spec],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdin and process.stdout
        assert process.stdout.readline() == "ready\n"
        yield process
        process.stdin.close()


def run_and_kill(process: subprocess.Popen[str], after: float | None) -> float | None:
    """Start a backfill and kill it after so many seconds; return how many it took if it ended before."""
    child = int(exchange_line(process))
    started = time.monotonic()
    ended = os.pidfd_open(child)
    try:
        if not select.select([ended], [], [], after)[0]:
            os.kill(child, signal.SIGKILL)
        seconds = time.monotonic() - started
    finally:
        os.close(ended)
    status = int(exchange_line(process))
    assert status in (0, signal.SIGKILL)
    return None if status == signal.SIGKILL else seconds


def exchange_line(process: subprocess.Popen[str]) -> str:
    assert process.stdin and process.stdout
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline()


def read_state(world: World, plan: Plan) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Table and ledger at one moment: the server may still be at work for a client that was killed."""
    with world.db.transaction():
        world.db.execute("set transaction isolation level repeatable read")
        rows = world.db.execute(
            "select org_id::text, symbol, venue, price, body::text, source_submission_id::text,"
            " source_pipeline_run_id::text, source_recorded_at from quotes order by 1, 2, 3"
        )
        return rows.fetchall(), world.read_ledger(plan)


def merge_stored_outcomes(
    state: tuple[list[dict[str, Any]], dict[str, dict[str, Any]]],
) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Take written, unchanged and superseded as one: which of them depends on where batches end, their sum does not."""
    rows, ledger = state
    stored = ("written", "unchanged", "superseded")
    return rows, {
        step: {**entry, "outcome": "stored" if entry["outcome"] in stored else entry["outcome"]}
        for step, entry in ledger.items()
    }


def test_killed_at_fifty_points_and_resumed_it_ends_as_if_nothing_had_happened(world: World, tmp_path: Path) -> None:
    """Rejected, filtered, superseded and repeated ones among them: the same table, the same accounts."""
    (tmp_path / "quotes.yaml").write_text(
        HEAD.lstrip() + 'when: "output.price != `13`"\nfields:' + FIELDS.replace("\n", "\n  ").rstrip() + "\n"
    )
    plan = world.create_spec(FIELDS, head=HEAD, when='"output.price != `13`"')
    chance = random.Random(20261122)
    for _ in range(2):
        run = world.add_run()
        add_quotes(world, run, 50, 30, chance)
        world.add_step(run, QUOTES, {"symbol": " "}, at=30)
    world.run_backfill(plan, batch_size=5)
    whole_state = read_state(world, plan)
    assert len(whole_state[1]) == 102 and {entry["outcome"] for entry in whole_state[1].values()} == {
        "written",
        "superseded",
        "filtered",
        "rejected",
    }
    wanted = merge_stored_outcomes(whole_state)
    killed = 0
    with start_forker(world.dsn, str(tmp_path / "quotes.yaml")) as process:
        world.delete_rows(plan)
        whole = run_and_kill(process, None)
        assert whole is not None
        while killed < 50:
            is_done = merge_stored_outcomes(read_state(world, plan)) == wanted
            if is_done:
                world.delete_rows(plan)
            seconds = run_and_kill(process, chance.random() * whole / 2)
            killed += seconds is None
            if is_done and seconds is not None:
                whole = seconds  # it was measured while the machine was busy
            rows, ledger = merge_stored_outcomes(read_state(world, plan))
            stored = any(entry["outcome"] == "stored" for entry in ledger.values())
            assert stored == bool(rows), "row and entry come together"
        assert run_and_kill(process, None) is not None
    assert merge_stored_outcomes(read_state(world, plan)) == wanted
    world.read_accounts(plan)
