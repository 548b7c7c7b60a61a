"""Benchmark of the backfill, compared with INSERT ... SELECT inside Postgres, a hand-written loop, and dlt.

Each competitor is a separate process that measures its own work, and fills the same empty table. In every round they
run one after the other, so that other load on the machine affects all of them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

import psycopg

from scripts.bench.dataset import Server, fill_step_results
from scripts.bench.process import Measurement, build_installed_command, build_module_command, run_measured
from scripts.bench.result import Group, Line
from scripts.bench.text import TABLE

SIZE = 20_000  # bytes of a document
_BACKFILL = build_installed_command("backfill", TABLE, "--json")


@dataclass
class Runs:
    """The measurements of every competitor, by name."""

    dsn: str
    measurements: dict[str, list[Measurement]] = field(default_factory=dict)

    def run_competitor(self, name: str, command: list[str]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            measurement = run_measured(command, {"DATABASE_URL": self.dsn, "DEX_BENCH_FOLDER": folder})
        self.measurements.setdefault(name, []).append(measurement)

    def compute_seconds(self, name: str) -> float:
        return median(measurement.seconds for measurement in self.measurements[name])

    def compute_start(self, name: str) -> float:
        return median(measurement.wall - measurement.seconds for measurement in self.measurements[name])

    def compute_peak(self, name: str) -> float:
        return max(measurement.peak for measurement in self.measurements[name])


def measure_backfill(server: Server, rows: int, rounds: int, report: Callable[[str], None]) -> Group:
    """Run every competitor `rounds` times over `rows` step results; dlt only once, since it takes minutes."""
    with server.create_database("backfill") as dsn:
        report(f"backfill: making {rows:,} step results")
        megabytes = fill_step_results(dsn, rows, SIZE) / 1e6
        runs, changed = Runs(dsn), 0
        for number in range(rounds):
            report(f"backfill: round {number + 1} of {rounds}")
            changed += _run_round(runs, rows, once=number == 0)
        keys = _read_number(dsn, f"select count(*) from {TABLE}")
        title = (
            f"backfill: {rows:,} step results of {megabytes / rows * 1000:.0f} KB, {keys:,} keys; {server.name};"
            f" median of {rounds}"
        )
        return Group(title, _build_lines(runs, rows, changed), _describe_losses(runs))


def _run_round(runs: Runs, rows: int, once: bool) -> int:
    """Run every competitor once, one after the other; return how many rows `dex backfill --all` changed."""
    for name in ("whole", "parts", "hand"):
        _reset_tables(runs.dsn)
        runs.run_competitor(name, build_module_command("competitors", name, runs.dsn))
    _reset_tables(runs.dsn)
    runs.run_competitor("quarter", [*_BACKFILL, "--limit", str(rows // 4)])
    _reset_tables(runs.dsn)
    runs.run_competitor("dex", _BACKFILL)
    runs.run_competitor("again", _BACKFILL)
    runs.run_competitor("verify", build_installed_command("verify", TABLE, "--json"))
    before = _read_number(runs.dsn, _CHANGES)
    runs.run_competitor("all", [*_BACKFILL, "--all"])
    if once:
        runs.run_competitor("loader", build_module_command("competitors", "loader", runs.dsn))
    return _read_number(runs.dsn, _CHANGES) - before


_CHANGES = f"""
select n_tup_ins + n_tup_upd + n_tup_del from pg_stat_user_tables where relname = '{TABLE}' and schemaname = 'public'
"""


def _reset_tables(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"truncate {TABLE}, step_persistence, row_lineage, stale_rows")
        connection.execute("checkpoint")


def _read_number(dsn: str, query: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query).fetchone()
    assert row
    return int(row[0])


def _build_lines(runs: Runs, rows: int, changed: int) -> list[Line]:
    ours = runs.compute_seconds("dex")
    limit = min("whole", "parts", key=runs.compute_seconds)
    return [
        Line(
            f"time, against one INSERT ... SELECT ({_STATEMENTS[limit]})", ours / runs.compute_seconds(limit), most=1.35
        ),
        Line("hand-written pattern: its time / ours", runs.compute_seconds("hand") / ours, least=8),
        Line("dlt, merge by upsert: its time / ours", runs.compute_seconds("loader") / ours, least=9),
        Line("nothing pending: first run / second run", ours / runs.compute_seconds("again"), least=20),
        Line("--all over unchanged data, against the first run", runs.compute_seconds("all") / ours, most=1),
        Line("rows it changed", changed, "rows", most=0),
        Line("time per row, against a quarter of the rows", ours / runs.compute_seconds("quarter") / 4, most=1.25),
        Line("dex verify: its rate / that of the backfill", ours / _compute_verify_seconds(runs), least=0.7),
        Line("dex verify: peak memory of the process", runs.compute_peak("verify"), "MB", most=80),
        Line("peak memory of the process", runs.compute_peak("dex"), "MB", most=80),
        Line("rate", rows / ours, "rows/s", note=_describe_rates(runs, rows)),
    ]


def _compute_verify_seconds(runs: Runs) -> float:
    """Return the seconds of `dex verify`: the time of its process minus the start of `dex`, since it prints none."""
    return runs.compute_seconds("verify") - runs.compute_start("dex")


_STATEMENTS = {"whole": "one for all", "parts": "one per 500"}


def _describe_rates(runs: Runs, rows: int) -> str:
    names = {"whole": "one statement", "parts": "one per 500", "hand": "by hand", "loader": "dlt"}
    rates = (
        f"{label} {rows / runs.compute_seconds(name):,.0f}/s {runs.compute_peak(name):.0f} MB"
        for name, label in names.items()
    )
    return "; ".join(rates)


def _describe_losses(runs: Runs) -> list[str]:
    limit = min("whole", "parts", key=runs.compute_seconds)
    ratio = runs.compute_seconds("dex") / runs.compute_seconds(limit)
    hand = runs.compute_peak("dex") - runs.compute_peak("hand")
    return [
        f"SQL inside Postgres is {ratio:.1f} times as fast (it keeps no accounts, and one bad row sinks its statement)",
        f"{hand:.0f} MB more memory than the hand-written loop,"
        f" and {runs.compute_start('dex'):.1f} s until it starts to work ({runs.compute_start('hand'):.1f} s by hand)",
    ]
