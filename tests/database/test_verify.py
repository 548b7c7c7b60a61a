"""`dex verify` names what the table lacks, has too much, or has otherwise; it does not call what it checks."""

import ast
import asyncio
import inspect
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.backfill import run as backfill
from engine.plan import Plan
from engine.rows import extract, fold
from engine.sql.step_results import Scope
from engine.store.connection import connect
from engine.store.errors import StoreUnavailable
from engine.verify.repair import repair_spec
from engine.verify.report import Verification
from engine.verify.run import verify_spec
from tests.conftest import ROOT
from tests.database.conftest import HEAD, QUOTES, World, build_head
from tests.forked_dex import run_dex_text

FIELDS = """
symbol: {type: text, path: "output.symbol", required: true}
note: {type: text, path: "output.note"}
price: {type: numeric, path: "output.price", on_missing: clear}
body: {type: jsonb, path: "output.body"}
"""
LIST_HEAD = f"""{build_head("quotes", QUOTES, "venue, symbol")}
rows: "output.symbols"
on_absent: delete
"""
LIST_FIELDS = """
venue: {type: text, path: "output.venue", required: true}
symbol: {type: text, path: "item.symbol", required: true}
note: {type: text, path: "item.note"}
"""


def verify(world: World, plan: Plan, org: str | None = None) -> Verification:
    return world.loop.run(verify_spec(world.dsn, plan, [org] if org else []))


def list_samples(found: Verification) -> list[tuple[Any, ...]]:
    """What is wrong: the kind, the last column of the key, and the columns that differ."""
    return [(sample.kind, list(sample.key.values())[-1], *sample.columns) for sample in found.samples]


@pytest.fixture
def quotes(world: World) -> Plan:
    """Four rows, each of two step results; the second of each lacks the note."""
    plan = world.create_spec(FIELDS, head=HEAD)
    run = world.add_run(world.add_org())
    for number, symbol in enumerate("ABCD"):
        world.add_step(run, QUOTES, {"symbol": symbol, "note": f"n{symbol}", "price": 1}, at=number)
        body = f'{{"symbol": "{symbol}", "price": 1.10, "body": {{"at": 1.10}}}}'
        world.add_step(run, QUOTES, body, at=number + 10)
    world.run_backfill(plan)
    return plan


def test_a_table_that_is_right(world: World, quotes: Plan) -> None:
    found = verify(world, quotes)
    assert found.as_dict() == {
        "spec": "quotes",
        "rows": 4,
        "matching": 4,
        "missing": 0,
        "orphaned": 0,
        "different": 0,
        "unsourced": 0,
        "pending": 0,
        "samples": [],
    }
    assert found.holds


@pytest.mark.parametrize(
    ("edit", "wrong"),
    [
        ("delete from quotes where symbol = 'B'", [("missing", "B")]),
        ("update quotes set note = 'edited' where symbol = 'B'", [("different", "B", "note")]),
        ("update quotes set price = 1.1 where symbol = 'B'", [("different", "B", "price")]),
        ("""update quotes set body = '{"at": 1.1}' where symbol = 'B'""", [("different", "B", "body")]),
        ("update quotes set body = null, note = null where symbol = 'B'", [("different", "B", "note", "body")]),
        (
            "update quotes set source_recorded_at = source_recorded_at + interval '1 microsecond' where symbol = 'B'",
            [("different", "B", "source_recorded_at")],
        ),
        ("update quotes set symbol = 'Z' where symbol = 'B'", [("missing", "B"), ("orphaned", "Z")]),
    ],
)
def test_an_edit_is_named_and_mended(world: World, quotes: Plan, edit: str, wrong: list[Any]) -> None:
    before = world.read_rows(quotes)
    world.db.execute(edit)
    found = verify(world, quotes)
    assert (list_samples(found), found.holds) == (wrong, False)
    assert world.loop.run(repair_spec(world.dsn, quotes)).holds
    assert world.read_rows(quotes) == before


def test_a_row_without_lineage_is_mended_too(world: World, quotes: Plan) -> None:
    before = world.read_rows(quotes)
    world.db.execute("truncate row_lineage")
    world.db.execute("update quotes set note = 'edited'")
    assert verify(world, quotes).counts["different"] == 4
    assert world.loop.run(repair_spec(world.dsn, quotes)).holds
    assert world.read_rows(quotes) == before


def test_what_is_pending_is_not_judged(world: World, quotes: Plan) -> None:
    run = world.add_run(next(iter(world.steps.values()))[0].org)
    world.add_step(run, QUOTES, {"symbol": "A", "note": "new"}, at=20)
    world.add_step(run, QUOTES, {"symbol": "E"}, at=20)
    found = verify(world, quotes)
    assert (list_samples(found), found.holds) == ([("pending", "A"), ("pending", "E")], True)
    assert (found.rows, found.matching) == (4, 3)
    corrected = next(step for step, (_, text, _, _) in world.steps.items() if '"nB"' in text)
    world.db.execute(
        "update step_results set output_payload = replace(output_payload::text, 'nB', 'nX')::jsonb where id = %s",
        [corrected],
    )
    assert [key for _, key in list_samples(verify(world, quotes))] == ["A", "B", "E"]
    world.run_backfill(quotes)
    assert verify(world, quotes).as_dict() | {"samples": []} == {
        "spec": "quotes", "rows": 5, "matching": 5, "missing": 0, "orphaned": 0, "different": 0,
        "unsourced": 0, "pending": 0, "samples": [],
    }  # fmt: skip


def test_a_row_of_no_step_result_is_unsourced(world: World, quotes: Plan) -> None:
    org = next(iter(world.steps.values()))[0].org
    world.db.execute("insert into quotes (org_id, symbol) values (%s, 'Q')", [org])
    found = verify(world, quotes)
    assert (list_samples(found), found.holds, found.matching) == ([("unsourced", "Q")], True, 4)
    world.db.execute("delete from step_results")
    world.run_backfill(quotes)
    found = verify(world, quotes)
    assert (found.rows, found.counts["unsourced"], found.matching, found.holds) == (5, 5, 0, True)


def test_only_one_organisation(world: World, quotes: Plan) -> None:
    other = world.add_org()
    world.add_step(world.add_run(other), QUOTES, {"symbol": "A"})
    world.run_backfill(quotes)
    world.db.execute("delete from quotes")
    assert (verify(world, quotes, other).counts["missing"], verify(world, quotes).counts["missing"]) == (1, 5)
    assert world.loop.run(repair_spec(world.dsn, quotes, [other])).holds
    assert verify(world, quotes).counts["missing"] == 4


def test_refused_rows_are_not_missing(world: World) -> None:
    plan = world.create_spec(FIELDS, head=HEAD)
    world.db.execute("alter table quotes add check (price < 50)")
    run = world.add_run()
    world.add_step(run, QUOTES, {"symbol": "A", "price": 1})
    world.add_step(run, QUOTES, {"symbol": "A", "price": 60}, at=1)
    world.add_step(run, QUOTES, {"symbol": "B", "price": 60})
    world.run_backfill(plan)
    found = verify(world, plan)
    assert (found.rows, found.matching, found.holds) == (1, 1, True)


def test_more_than_ten_of_a_kind_are_counted_and_ten_are_shown(world: World, quotes: Plan) -> None:
    run = world.add_run()
    for number in range(12):
        world.add_step(run, QUOTES, {"symbol": f"M{number:02}"}, at=number)
    world.run_backfill(quotes)
    world.db.execute("delete from quotes where symbol like 'M%'")
    found = verify(world, quotes)
    assert (found.counts["missing"], len(found.samples)) == (12, 10)


# --- it does not call what it checks ---

#: A line of what folds -> the same line with a mistake.
MISTAKES = {
    "a value that is kept is lost": (fold, "if values[column.name] is None:", "if False:"),
    "the oldest value is kept": (fold, "if values[column.name] is None:", "if older[column.name] is not None:"),
    "the oldest wins": (
        fold,
        "return self.recorded_at, self.step_id",
        "return -self.recorded_at.timestamp(), self.step_id",
    ),
}
LIST_MISTAKES = {
    "the first of a key wins": (
        extract,
        "index for index, row in rows.items()}\n    if len",
        "index for index, row in reversed(rows.items())}\n    if len",
    ),
    "what a complete result lacks stays": (fold, "return extraction.parent is not None and", "return False and"),
}


@pytest.fixture
def wrong_fold(request: pytest.FixtureRequest) -> Iterator[None]:
    """Change one line of the fold for the length of a test: in all its functions, whoever has imported them."""
    module, line, wrong = {**MISTAKES, **LIST_MISTAKES}[request.param]
    source = inspect.getsource(module)
    assert source.count(line) == 1, "the fold is written otherwise by now: change the mistake with it"
    changed = types.ModuleType("changed")
    sys.modules["changed"] = changed
    exec(compile(source.replace(line, wrong), "changed", "exec"), changed.__dict__)
    saved = [(function, function.__code__) for function, _ in list_functions(module, changed)]
    for function, other in list_functions(module, changed):
        function.__code__ = other.__code__
    yield
    for function, code in saved:
        function.__code__ = code
    del sys.modules["changed"]


def list_functions(module: types.ModuleType, changed: types.ModuleType) -> Iterator[tuple[Any, Any]]:
    """Yield each function and method of a module with the one of the same name in another."""
    for name, value in vars(module).items():
        if getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(value):
            yield value, vars(changed)[name]
        elif inspect.isclass(value):
            for attribute, inner in vars(value).items():
                other = vars(vars(changed)[name])[attribute]
                if isinstance(inner, property):
                    yield inner.fget, other.fget
                elif inspect.isfunction(inner) and inner.__qualname__ == f"{name}.{attribute}":
                    yield inner, other


@pytest.mark.parametrize("wrong_fold", MISTAKES, indirect=True)
def test_a_mistake_in_the_fold_is_named(world: World, wrong_fold: None) -> None:
    plan = world.create_spec(FIELDS, head=HEAD)
    run = world.add_run(world.add_org())
    for at, note in enumerate(["first", "second", None]):
        output = {"symbol": "A", "price": at} | ({"note": note} if note else {})
        world.add_step(run, QUOTES, output, at=at)
    world.add_step(run, QUOTES, {"symbol": "B", "note": "alone"})
    world.run_backfill(plan)
    found = verify(world, plan)
    assert [(sample.kind, sample.key["symbol"]) for sample in found.samples] == [("different", "A")]
    assert set(found.samples[0].columns) & {"note", "price"}
    assert not found.holds


@pytest.mark.parametrize("wrong_fold", LIST_MISTAKES, indirect=True)
def test_a_mistake_about_lists_is_named(world: World, wrong_fold: None) -> None:
    plan = world.create_spec(LIST_FIELDS, head=LIST_HEAD)
    run = world.add_run(world.add_org())
    world.add_step(run, QUOTES, {"venue": "X", "symbols": [{"symbol": "A", "note": "gone"}]})
    elements = [{"symbol": "B", "note": "first"}, {"symbol": "B", "note": "last"}, {"symbol": "C"}]
    world.add_step(run, QUOTES, {"venue": "X", "symbols": elements}, at=1)
    world.run_backfill(plan)
    found = verify(world, plan)
    assert list_samples(found) in ([("different", "B", "note")], [("orphaned", "A")])
    assert not found.holds


def test_it_imports_nothing_that_folds() -> None:
    allowed = {"engine.rows.units"}  # names what is pending, and decides nothing
    for path in [ROOT / "engine" / name for name in ("sql/verify.py", "sql/expected_rows.py", "verify/run.py")]:
        names = {
            node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)
        } - allowed
        folding = ("engine.backfill", "engine.rows.fold", "engine.rows.steps", "engine.rows.keys", "engine.sql.lineage")
        assert not [name for name in names if name and name.startswith(folding)]


# --- while others write ---


def test_it_is_right_while_others_write(world: World) -> None:
    """Arrivals, corrections and deletions, backfills and repairs go on; whatever it looks at, nothing is a mistake."""
    plan = world.create_spec(LIST_FIELDS, head=LIST_HEAD)
    chance, org = random.Random(7), world.add_org()
    runs = [world.add_run(org) for _ in range(3)]

    def draw_output() -> dict[str, Any]:
        names = chance.sample("ABCDEF", chance.randrange(4))
        return {"venue": chance.choice("XY"), "symbols": [{"symbol": name, "note": chance.random()} for name in names]}

    for at in range(20):
        world.add_step(chance.choice(runs), QUOTES, draw_output(), at=at)

    async def change_steps() -> None:
        async with await connect(world.dsn) as connection:
            for _ in range(60):
                step = chance.choice(list(world.steps))
                if chance.random() < 0.2:
                    await connection.execute("delete from step_results where id = %s", [step])
                else:
                    await connection.execute(
                        "update step_results set output_payload ="
                        " jsonb_set(output_payload, '{operation_result,output}', %s::jsonb) where id = %s",
                        [json.dumps(draw_output()), step],
                    )
                await asyncio.sleep(0)

    async def sweep(times: int) -> None:
        for _ in range(times):
            await backfill.run_backfill(world.dsn, plan, Scope(), batch_size=3)

    async def look() -> list[Verification]:
        return [await verify_spec(world.dsn, plan) for _ in range(12)]

    async def run_all() -> Sequence[Verification]:
        _, _, found = await asyncio.gather(change_steps(), sweep(8), look())
        return found

    for found in world.loop.run(asyncio.wait_for(run_all(), 120)):
        assert found.holds, found.as_dict()
    world.run_backfill(plan)
    found = verify(world, plan)
    assert (found.holds, found.counts["pending"]) == (True, 0)


def test_it_ends_when_its_connection_is_lost(world: World) -> None:
    plan, run = world.create_spec(LIST_FIELDS, head=LIST_HEAD), world.add_run()
    for venue in range(250):
        symbols = [{"symbol": f"S{number}", "note": "n" * 100} for number in range(100)]
        world.add_step(run, QUOTES, {"venue": f"V{venue}", "symbols": symbols})
    started = asyncio.Event()

    async def end_session() -> None:
        await started.wait()
        copying = "select pid from pg_stat_activity where datname = current_database() and query like 'copy \"Given\"%'"
        row = world.db.execute(copying).fetchone()
        assert row
        os.kill(row["pid"], signal.SIGSTOP)  # copying waits for the server, and reading goes on until the queue is full
        await asyncio.sleep(0.3)
        world.db.execute("select pg_terminate_backend(%s)", [row["pid"]])
        os.kill(row["pid"], signal.SIGCONT)

    async def run_all() -> None:
        verifying = verify_spec(world.dsn, plan, progress=lambda read: started.set())
        await asyncio.wait_for(asyncio.gather(verifying, end_session()), 30)

    with pytest.raises(StoreUnavailable):
        world.loop.run(run_all())


# --- as a user calls it ---


def test_the_command(world: World, tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "specs").mkdir()
    spec = HEAD.strip() + "\nfields:" + FIELDS.rstrip().replace("\n", "\n  ") + "\n"
    (tmp_path / "specs" / "quotes.yaml").write_text(spec)
    plan = world.create_spec(FIELDS, head=HEAD)
    world.add_step(world.add_run(), QUOTES, {"symbol": "A", "note": "n"})
    world.run_backfill(plan)

    def dex(*words: str) -> "subprocess.CompletedProcess[str]":
        env = {"PATH": "/usr/bin:/bin", "DATABASE_URL": world.dsn}
        return run_dex_text("verify", *words, environment=env, folder=tmp_path)

    done = dex("--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert [(each["spec"], each["rows"], each["matching"]) for each in json.loads(done.stdout)] == [("quotes", 1, 1)]
    world.db.execute("update quotes set note = 'edited'")
    done = dex("quotes", "--json")
    (found,) = json.loads(done.stdout)
    assert (done.returncode, found["different"], found["samples"][0]["columns"]) == (1, 1, ["note"])
    done = dex("quotes")
    assert (done.returncode, "quotes: 1 rows, 0 matching; 1 different" in done.stdout) == (1, True), done.stdout
    done = dex("quotes", "--repair", "--json")
    assert (done.returncode, json.loads(done.stdout)[0]["matching"]) == (0, 1)
    assert dex("nothing").returncode == 2
    world.db.execute("alter table quotes drop column note")
    done = dex("--json")
    assert (done.returncode, json.loads(done.stdout), "note" in done.stderr) == (1, [], True)
    assert dex("quotes", "--org", "nobody").returncode == 2
