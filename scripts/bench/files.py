"""Benchmark of extraction from files: a plain loop, Dask with one and two workers, and a backfill of the same data."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

import psycopg

from engine.files.export_steps import write_step_files
from engine.files.schemas import INPUT, parquet
from scripts.bench.dataset import Server, fill_step_results
from scripts.bench.process import Measurement, build_installed_command, build_module_command, run_measured
from scripts.bench.result import Group, Line
from scripts.bench.text import TABLE

SIZE = 20_000  # bytes of a document
_FILES = 16  # so that two workers end at about the same time
_FILE_ROWS = (10_000, 100_000)  # rows of the files for which memory is measured


def measure_files(server: Server, rows: int, rounds: int, report: Callable[[str], None]) -> Group:
    """Extract `rows` step results in three ways, and backfill them; measure the memory for files of two lengths."""
    with server.create_database("files") as dsn, tempfile.TemporaryDirectory() as folder:
        report(f"files: making {rows:,} step results of {SIZE // 1000} KB")
        fill_step_results(dsn, rows, SIZE)
        steps = Path(folder) / "steps"
        _write_files(dsn, Path(folder), steps)
        runs: dict[str, list[Measurement]] = {}
        for number in range(rounds):
            report(f"files: round {number + 1} of {rounds}")
            for name, command in _build_commands(steps).items():
                with tempfile.TemporaryDirectory() as out:
                    full = [*command, out] if name == "loop" else [*command, "--to", out]
                    runs.setdefault(name, []).append(run_measured(full, {}))
            runs.setdefault("backfill", []).append(_run_backfill(dsn))
        peaks = [_measure_peak(steps, Path(folder) / str(count), count, report) for count in _FILE_ROWS]
    seconds = {name: median(measurement.seconds for measurement in measurements) for name, measurements in runs.items()}
    start = median(measurement.wall - measurement.seconds for measurement in runs["two"])
    lines = [
        Line("a plain loop", rows / seconds["loop"], "/s"),
        Line("Dask, one worker", rows / seconds["one"], "/s"),
        Line(
            "Dask, two workers", rows / seconds["two"], "/s", note=f"their start took {start:.1f} s and is not counted"
        ),
        Line("two workers against one", seconds["one"] / seconds["two"], least=1.6),
        Line("dex backfill of the same into Postgres", rows / seconds["backfill"], "/s"),
        *(
            Line(f"peak memory of a process, a file of {count:,}", peak, "MB")
            for count, peak in zip(_FILE_ROWS, peaks, strict=True)
        ),
        Line("the larger file against the smaller: more by", peaks[1] - peaks[0], "MB", most=20),
    ]
    return Group(f"files: {rows:,} step results of {SIZE / 1000:.0f} KB; {server.name}; median of {rounds}", lines)


def _measure_peak(steps: Path, folder: Path, count: int, report: Callable[[str], None]) -> float:
    """Extract one file of `count` step results, made by repeating `steps`; return the peak memory in MB."""
    report(f"files: a file of {count:,}")
    folder.mkdir()
    files, left = sorted(steps.glob("*.parquet")), count
    with parquet.ParquetWriter(folder / "one.parquet", INPUT) as writer:
        while left > 0:
            for file in files:
                for batch in parquet.ParquetFile(file).iter_batches(50):
                    writer.write_batch(batch[:left])
                    left -= min(left, len(batch))
    with tempfile.TemporaryDirectory() as out:
        return run_measured(build_module_command("extract_loop", TABLE, str(folder), out), {}).peak


def _build_commands(steps: Path) -> dict[str, list[str]]:
    dask = build_installed_command("extract", TABLE, "--from", str(steps), "--json")
    return {
        "loop": build_module_command("extract_loop", TABLE, str(steps)),
        "one": [*dask, "--workers", "1"],
        "two": [*dask, "--workers", "2"],
    }


def _write_files(dsn: str, folder: Path, steps: Path) -> None:
    """Export the step results, and distribute them over files of equal size."""
    asyncio.run(write_step_files(dsn, folder / "exported"))
    steps.mkdir()
    writers: list[parquet.ParquetWriter] = []
    for file in sorted((folder / "exported").rglob("*.parquet")):
        with parquet.ParquetFile(file) as exported:
            schema = exported.schema_arrow
            writers = writers or [
                parquet.ParquetWriter(steps / f"{number:02}.parquet", schema) for number in range(_FILES)
            ]
            for number, batch in enumerate(exported.iter_batches(50)):
                writers[number % _FILES].write_batch(batch)
    for writer in writers:
        writer.close()


def _run_backfill(dsn: str) -> Measurement:
    with psycopg.connect(dsn) as connection:
        connection.execute(f"truncate {TABLE}, step_persistence, row_lineage, stale_rows")
    return run_measured(build_installed_command("backfill", TABLE, "--json"), {"DATABASE_URL": dsn})
