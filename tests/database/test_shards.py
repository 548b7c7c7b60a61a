"""Shards: any cuts, side by side, overlapping and killed, give the table and the accounts of one process."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.backfill.shards import fetch_organisations, run_shard
from engine.plan import Plan
from engine.rows.accounts import Account
from engine.rows.shards import InvalidShard, Shard
from engine.sql.step_results import Scope, build_page_statement
from engine.verify.shards import verify_shard
from tests.conftest import ROOT
from tests.database.conftest import HEAD, World

QUOTES = "finance.fetch.quotes"
FIELDS = """
symbol: {type: text, path: "output.symbol", required: true}
price: {type: numeric, path: "output.price"}
note: {type: text, path: "output.note"}
"""


@pytest.fixture
def plan(world: World) -> Plan:
    return world.create_spec(FIELDS)


def insert_step_results(world: World, organisations: int, steps: int, seed: int = 1) -> list[str]:
    """Add step results of few keys per organisation, some of them rejected; return the organisations."""
    chance = random.Random(seed)
    runs = [world.add_run() for _ in range(organisations)]
    for at in range(steps):
        output: dict[str, Any] = {"symbol": chance.choice(["A", "B", "C", " "]), "price": chance.randint(1, 9)}
        if chance.random() < 0.5:
            output["note"] = f"note {at}"
        world.add_step(chance.choice(runs), QUOTES, output, at=at)
    return sorted(run.org for run in runs)


def run_shards(world: World, plan: Plan, *shards: str, **options: Any) -> list[Account]:
    """Run shards side by side; return their accounts."""

    async def run_all() -> list[Account]:
        works = [
            run_shard(world.dsn, plan, Scope(**options), Shard.parse(text), batch_size=random.choice((1, 3, 500)))
            for text in shards
        ]
        return [result.account for result in await asyncio.gather(*works)]

    return world.loop.run(run_all())


def read_state(world: World, plan: Plan) -> Any:
    """Return the rows, and the accounts without the outcomes that depend on how batches are cut."""
    totals = Counter[str]()
    for account in world.read_accounts(plan):
        totals.update({name: account[name] for name in ("found", "rejected", "pending", "elements", "rows", "refused")})
        totals["kept"] += account["written"] + account["unchanged"] + account["superseded"]
    return world.read_rows(plan), totals


@pytest.mark.parametrize(
    "cuts",
    [
        ["0/1"],
        ["0/2", "1/2"],
        [f"{index}/7" for index in range(7)],
        ["0/2", "1/3", "2/3", "0/3", "1/2"],
        ["0/2", "0/2", "1/2", "1/2"],
    ],
    ids=lambda cuts: ",".join(cuts),
)
def test_any_cuts_give_the_table_of_one_process(world: World, plan: Plan, cuts: list[str]) -> None:
    insert_step_results(world, 12, 120)
    accounts = run_shards(world, plan, *cuts)
    assert all(account.pending == 0 for account in accounts)
    state = read_state(world, plan)
    world.delete_rows(plan)
    world.run_backfill(plan)
    assert read_state(world, plan) == state
    assert world.loop.run(verify_shard(world.dsn, plan, Shard(0, 1))).holds


def test_the_shards_of_a_cut_have_each_organisation_once(world: World, plan: Plan) -> None:
    organisations = insert_step_results(world, 12, 30)
    for count in (1, 2, 5):
        held = [world.loop.run(fetch_organisations(world.dsn, Shard(index, count))) for index in range(count)]
        assert sorted(org for orgs in held for org in orgs) == organisations
    first = run_shards(world, plan, "0/2")[0]
    pending = {account["org_id"] for account in world.read_accounts(plan) if account["pending"]}
    assert pending and not any(Shard(0, 2).holds_organisation(org) for org in pending)
    assert first.found == first.recorded < 30


def test_stale_rows_are_folded_by_the_shard_of_their_organisation(world: World, plan: Plan) -> None:
    insert_step_results(world, 6, 40)
    world.run_backfill(plan)
    world.db.execute("delete from step_results where id in (select id from step_results order by id limit 15)")
    accounts = run_shards(world, plan, "0/3", "1/3", "2/3")
    assert [account.stale_rows for account in accounts] == [0, 0, 0]
    assert world.db.execute("select count(*) as rows from stale_rows").fetchone()["rows"] == 0
    rows = world.read_rows(plan)
    assert world.loop.run(verify_shard(world.dsn, plan, Shard(0, 1))).holds and rows


def test_verify_counts_each_row_in_one_shard(world: World, plan: Plan) -> None:
    insert_step_results(world, 8, 60)
    world.run_backfill(plan)
    world.db.execute("update quotes set price = 1000 where symbol = 'A'")
    parts = [world.loop.run(verify_shard(world.dsn, plan, Shard(index, 3))) for index in range(3)]
    whole = world.loop.run(verify_shard(world.dsn, plan, Shard(0, 1)))
    assert sum(part.rows for part in parts) == whole.rows == len(world.read_rows(plan))
    assert sum(part.counts["different"] for part in parts) == whole.counts["different"] > 0
    mended = [world.loop.run(verify_shard(world.dsn, plan, Shard(index, 3), repair=True)) for index in range(3)]
    assert all(part.holds for part in mended)


def test_an_organisation_larger_than_a_share_is_said(world: World, plan: Plan) -> None:
    large = world.add_run()
    for at in range(20):
        world.add_step(large, QUOTES, {"symbol": f"S{at}"}, at=at)
    for at in range(6):
        world.add_step(world.add_run(), QUOTES, {"symbol": "S"}, at=at)
    said: list[tuple[str, int, int]] = []

    def note(*facts: Any) -> None:
        said.append(facts)

    for index in range(4):
        world.loop.run(run_shard(world.dsn, plan, Scope(), Shard(index, 4), note_large=note))
    assert said == [(large.org, 20, 26)]


def test_nothing_is_open_for_longer_than_a_batch(world: World, plan: Plan) -> None:
    """Between two batches the shard holds no transaction and no lock: another session sees none."""
    insert_step_results(world, 4, 60)
    seen: list[tuple[int, int]] = []

    def look(account: Account) -> None:
        open_ = world.db.execute(
            "select count(*) as open from pg_stat_activity where datname = current_database()"
            " and pid <> pg_backend_pid() and xact_start is not null"
            " and backend_type = 'client backend'"  # Postgres may clean up a table of its own accord
        ).fetchone()["open"]
        locks = world.db.execute(
            "select count(*) as locks from pg_locks where locktype = 'advisory'"
            " and database = (select oid from pg_database where datname = current_database())"
        ).fetchone()["locks"]
        seen.append((open_, locks))

    world.loop.run(run_shard(world.dsn, plan, Scope(), Shard(0, 1), batch_size=10, progress=look))
    assert len(seen) > 5 and set(seen) == {(0, 0)}


#: Before all step results.
FIRST = ("-infinity", "00000000-0000-0000-0000-000000000000")


def test_an_index_serves_an_organisations_share(world: World, plan: Plan) -> None:
    organisations = insert_step_results(world, 20, 400)
    world.db.execute("analyze step_results")
    statement = build_page_statement(plan, organisations[3], Scope(all=True, after=FIRST), 5)
    found = world.db.execute(f"explain {statement.text}", statement.parameters).fetchall()
    text = "\n".join(line["QUERY PLAN"] for line in found)
    assert "idx_step_results_found_org" in text and "Seq Scan" not in text, text
    inner = text[text.index("idx_step_results_found_org") :]
    assert "recorded_at" in inner.split("Index Cond", 1)[1].split("\n", 1)[0], "it is entered behind the position"


@pytest.mark.parametrize("text", ["", "1", "2/2", "-1/2", "1/0", "a/b", "0/2/3", "0.5/2"])
def test_what_is_no_shard_is_named(text: str) -> None:
    with pytest.raises(InvalidShard, match="is no shard"):
        Shard.parse(text)


@pytest.mark.parametrize("rounds", [5, pytest.param(200, marks=pytest.mark.long)])
def test_random_cuts_overlaps_and_kills(world: World, plan: Plan, rounds: int, tmp_path: Path) -> None:
    """Shards as processes, some killed with -9 anywhere; then each shard once more."""
    chance = random.Random(rounds)
    killed = 0
    with start_shards(world.dsn, tmp_path) as shards:
        for number in range(rounds):
            world.delete_rows(plan)
            if number % 20 == 0:
                insert_step_results(world, 5, 60, seed=number)
            count = chance.randint(2, 4)
            cuts = [f"{index}/{count}" for index in range(count)] + [f"{chance.randrange(3)}/3"]
            running = [shards.start(cut) for cut in cuts]
            time.sleep(chance.uniform(0, 0.3))
            for pid in chance.sample(running, 2):
                os.kill(pid, signal.SIGKILL)
            killed += sum(shards.wait(pid) is None for pid in running)
            left = [shards.wait(shards.start(f"{index}/{count}")) for index in range(count)]
            assert [account and account["pending"] for account in left] == [0] * count
            state = read_state(world, plan)
            world.delete_rows(plan)
            world.run_backfill(plan)
            assert read_state(world, plan) == state
    assert killed >= rounds // 4, f"{killed} kills hit a shard at work"


#: Forks a process per shard, so that none has to be started and import everything: `start CUT`, `wait PID`.
SHARD_PROGRAM = """
import asyncio, json, os, sys
from pathlib import Path
from engine.backfill.shards import run_shard
from engine.rows.shards import Shard
from engine.sql.step_results import Scope
from tests.database.conftest import compile_text

dsn, folder, text = sys.argv[1:]
plan = compile_text(text)

def run(cut):
    account = asyncio.run(run_shard(dsn, plan, Scope(), Shard.parse(cut), batch_size=3)).account
    Path(folder, str(os.getpid())).write_text(json.dumps(account.as_dict()))

for line in sys.stdin:
    command, word = line.split()
    if command == "wait":
        print(os.waitpid(int(word), 0)[1], flush=True)
    elif pid := os.fork():
        print(pid, flush=True)
    else:
        try:
            run(word)
        except BaseException as error:
            print(f"{word}: {error!r}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
"""


class Shards:
    """Processes of one shard each."""

    def __init__(self, program: "subprocess.Popen[str]", folder: Path) -> None:
        self.program, self.folder = program, folder

    def start(self, cut: str) -> int:
        """Start a shard; return its process."""
        return self._send(f"start {cut}")

    def wait(self, pid: int) -> Any:
        """Wait for a shard to end; return its account, None of a killed one."""
        status = self._send(f"wait {pid}")
        assert status in (0, signal.SIGKILL), f"a shard ended with {status}"
        return json.loads((self.folder / str(pid)).read_text()) if status == 0 else None

    def _send(self, line: str) -> int:
        assert self.program.stdin and self.program.stdout
        self.program.stdin.write(f"{line}\n")
        self.program.stdin.flush()
        return int(self.program.stdout.readline())


@contextmanager
def start_shards(dsn: str, folder: Path) -> Iterator[Shards]:
    text = HEAD.lstrip() + "fields:\n" + "".join(f"  {line}\n" for line in FIELDS.strip().splitlines())
    command = [sys.executable, "-c", SHARD_PROGRAM, dsn, str(folder), text]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        yield Shards(program, folder)
