"""Backfill, beside one INSERT ... SELECT inside Postgres, the hand-written pattern, and dlt.

In: a server and a number of step results. Out: a Group. It must not know how the engine works, nor the others.

Every way is a process of its own, times its own work, and fills the same empty table; one after the other in each
round, so that a busy machine is busy for all of them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

import psycopg

from scripts.bench.dataset import Server, fill
from scripts.bench.process import Done, dex, module, run
from scripts.bench.result import Group, Line
from scripts.bench.text import TABLE

SIZE = 20_000  # bytes of a document
_BACKFILL = dex("backfill", TABLE, "--json")


@dataclass
class Runs:
    """The runs of every way, by name."""

    dsn: str
    done: dict[str, list[Done]] = field(default_factory=dict)

    def add(self, name: str, command: list[str]) -> Done:
        with tempfile.TemporaryDirectory() as folder:
            found = run(command, {"DATABASE_URL": self.dsn, "DEX_BENCH_FOLDER": folder})
        self.done.setdefault(name, []).append(found)
        return found

    def seconds(self, name: str) -> float:
        return median(found.seconds for found in self.done[name])

    def start(self, name: str) -> float:
        return median(found.wall - found.seconds for found in self.done[name])

    def peak(self, name: str) -> float:
        return max(found.peak for found in self.done[name])


def measure(server: Server, rows: int, rounds: int, say: Callable[[str], None]) -> Group:
    """Run every way `rounds` times over `rows` step results (dlt once: it takes its time)."""
    with server.database("backfill") as dsn:
        say(f"backfill: making {rows:,} step results")
        megabytes = fill(dsn, rows, SIZE) / 1e6
        runs, changed = Runs(dsn), 0
        for number in range(rounds):
            say(f"backfill: round {number + 1} of {rounds}")
            changed += _round(runs, rows, once=number == 0)
        keys = _one(dsn, f"select count(*) from {TABLE}")
        title = (
            f"backfill: {rows:,} step results of {megabytes / rows * 1000:.0f} KB, {keys:,} keys; {server.name};"
            f" median of {rounds}"
        )
        return Group(title, _lines(runs, rows, changed), _losses(runs))


def _round(runs: Runs, rows: int, once: bool) -> int:
    """One after the other; return how many rows `--all` changed."""
    for way in ("whole", "parts", "hand"):
        _reset(runs.dsn)
        runs.add(way, module("rival", way, runs.dsn))
    _reset(runs.dsn)
    runs.add("quarter", [*_BACKFILL, "--limit", str(rows // 4)])
    _reset(runs.dsn)
    runs.add("dex", _BACKFILL)
    runs.add("again", _BACKFILL)
    before = _one(runs.dsn, _CHANGES)
    runs.add("all", [*_BACKFILL, "--all"])
    if once:
        runs.add("loader", module("rival", "loader", runs.dsn))
    return _one(runs.dsn, _CHANGES) - before


_CHANGES = f"""
select n_tup_ins + n_tup_upd + n_tup_del from pg_stat_user_tables where relname = '{TABLE}' and schemaname = 'public'
"""


def _reset(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"truncate {TABLE}, step_persistence")
        connection.execute("checkpoint")


def _one(dsn: str, query: str) -> int:
    with psycopg.connect(dsn) as connection:
        found = connection.execute(query).fetchone()
    assert found
    return int(found[0])


def _lines(runs: Runs, rows: int, changed: int) -> list[Line]:
    ours = runs.seconds("dex")
    limit = min("whole", "parts", key=runs.seconds)
    return [
        Line(f"time, against one INSERT ... SELECT ({_WORDS[limit]})", ours / runs.seconds(limit), most=1.5),
        Line("hand-written pattern: its time / ours", runs.seconds("hand") / ours, least=3),
        Line("dlt, merge by upsert: its time / ours", runs.seconds("loader") / ours, least=8),
        Line("nothing pending: first run / second run", ours / runs.seconds("again"), least=20),
        Line("--all over unchanged data, against the first run", runs.seconds("all") / ours, most=1),
        Line("rows it changed", changed, "rows", most=0),
        Line("time per row, against a quarter of the rows", ours / runs.seconds("quarter") / 4, most=1.25),
        Line("peak memory of the process", runs.peak("dex"), "MB", most=150),
        Line("rate", rows / ours, "rows/s", note=_rates(runs, rows)),
    ]


_WORDS = {"whole": "one for all", "parts": "one per 500"}


def _rates(runs: Runs, rows: int) -> str:
    names = {"whole": "one statement", "parts": "one per 500", "hand": "by hand", "loader": "dlt"}
    shown = (f"{word} {rows / runs.seconds(name):,.0f}/s {runs.peak(name):.0f} MB" for name, word in names.items())
    return "; ".join(shown)


def _losses(runs: Runs) -> list[str]:
    limit = min("whole", "parts", key=runs.seconds)
    ratio = runs.seconds("dex") / runs.seconds(limit)
    hand = runs.peak("dex") - runs.peak("hand")
    return [
        f"SQL inside Postgres is {ratio:.1f} times as fast (it keeps no accounts, and one bad row sinks its statement)",
        f"{hand:.0f} MB more memory than the hand-written loop, and {runs.start('dex'):.1f} s until it starts to work"
        f" ({runs.start('hand'):.1f} s by hand)",
    ]
