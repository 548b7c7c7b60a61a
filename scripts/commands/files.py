"""The commands about step results in files: `extract --from --to`, `export-steps`.

Both need the optional part `files` of the installation, which is imported inside the functions.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.plan import Plan
from engine.project import find_project
from engine.rows.accounts import ELEMENT_COUNTS
from engine.rows.outcomes import Outcome
from scripts import terminal
from scripts.commands.options import AsJson, Command, read_optional_uuid
from scripts.database_url import open_database, require_organisation

if TYPE_CHECKING:
    from distributed import Client


def extract_folder(plan: Plan, source: Path, target: Path, workers: int | None, as_json: bool) -> None:
    """Extract every file of a folder; exit with status 1 if something is rejected or refused, or cannot be read."""
    from engine.files.extract_file import INPUT_ENDINGS

    _check_dask()
    if not source.is_dir():
        raise typer.BadParameter(f"`{source}` is no folder")
    files = sorted(file for file in source.rglob("*") if file.suffix in INPUT_ENDINGS and file.is_file())
    if not files:
        raise typer.BadParameter(f"`{source}` holds no file that ends in {', '.join(INPUT_ENDINGS)}")
    report = _extract_files(plan, source, target, files, workers)
    if as_json:
        terminal.print_json(report)
    else:
        terminal.print_account({**report, "stale_rows": 0, "reasons": []})
        for failure in report["failed_files"]:
            terminal.print_line(f"  {failure['file']}: {failure['error']}")
        terminal.print_note(
            f"{report['files']} file(s), {report['skipped']} step result(s) of other operations, {report['seconds']} s"
        )
    failed = report["rejected"] or report["refused"] or report["failed_files"]
    raise typer.Exit(1 if failed else 0)


def _check_dask() -> None:
    """Raise ArrowMissing if Dask is not installed."""
    from engine.files.schemas import ArrowMissing

    if find_spec("distributed") is None:
        raise ArrowMissing("dask[distributed]")


def _extract_files(plan: Plan, source: Path, target: Path, files: list[Path], workers: int | None) -> dict[str, Any]:
    """Extract files on Dask, with one worker per core by default; return the account of all of them."""
    from distributed import as_completed

    from engine.files.extract_file import COUNTS, extract_file
    from engine.files.extractor import Extractor

    extractor = Extractor(plan.name)
    totals: Counter[str] = Counter()
    failures = []
    with (
        _start_workers(workers or min(len(files), len(os.sched_getaffinity(0)))) as client,
        terminal.show_progress() as progress,
    ):
        began, futures = time.monotonic(), {}
        for file in files:
            name = file.relative_to(source)
            out = target / name.with_name(f"{name.name}.parquet" if name.suffix != ".parquet" else name.name)
            futures[client.submit(extract_file, extractor, file, out, pure=False, retries=0)] = name
        for number, future in enumerate(as_completed(futures), 1):
            error = future.exception()
            if error is None:
                totals.update(future.result())
            else:
                failures.append({"file": futures[future].as_posix(), "error": f"{type(error).__name__}: {error}"})
            progress(_describe_progress(plan, number, len(files)))
        seconds = time.monotonic() - began
    outcomes = {outcome.value: totals[outcome.value] for outcome in Outcome}
    counts = {name: totals[name] for name in (*ELEMENT_COUNTS, "skipped")}
    assert set(counts) == set(COUNTS)
    return {
        "spec": plan.name,
        "found": totals["found"],
        **outcomes,
        "pending": totals["found"] - sum(outcomes.values()),
        **counts,
        "files": len(files) - len(failures),
        "seconds": round(seconds, 3),
        "failed_files": sorted(failures, key=lambda failure: str(failure["file"])),
    }


def _describe_progress(plan: Plan, done: int, total: int) -> Any:
    """Return an account that counts files instead of step results, for the progress bar."""
    from engine.rows.accounts import Account

    return Account(f"{plan.name} (files)", found=total, outcomes=Counter({"files": done}))


@contextmanager
def _start_workers(workers: int) -> Iterator[Client]:
    """Start Dask on this machine with this many processes, and without its web page."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def export_steps(
    to: Annotated[Path, typer.Option("--to", help="The folder to write: ORGANISATION/YYYY-MM.parquet.")],
    org: Annotated[str | None, typer.Option(help="Only this organisation.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write the step results as Parquet files.

    One file per organisation and month, in the format that `dex extract --from` and `engine.arrow` read.
    """
    from engine.files.export_steps import write_step_files

    here = find_project()
    org_id = read_optional_uuid(org, "--org")

    def note_progress(done: int, total: int) -> None:
        terminal.print_note(f"{done} of {total} step results written")

    if not to.is_dir() and to.exists():
        raise typer.BadParameter(f"--to: `{to}` is no folder")
    with open_database(here) as dsn:
        require_organisation(dsn, org_id)
        files, count = asyncio.run(write_step_files(dsn, to, org_id, progress=note_progress))
    report: Mapping[str, Any] = {"files": files, "step_results": count, "to": str(to)}
    if as_json:
        terminal.print_json(report)
    else:
        terminal.print_line(f"wrote {count} step result(s) into {files} file(s) below {to}")


COMMANDS = (
    Command("export-steps", export_steps, ("dex export-steps --to steps", "dex export-steps --to steps --json")),
)
