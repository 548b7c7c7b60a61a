"""The command `dex check`, which checks specs, their samples and, with --database, their tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cases.sample_checks import SampleReport, check_samples
from engine.plans import check_project, load_plans
from engine.project import Project, find_project
from engine.spec import yaml_source
from engine.spec.checks import Checked, check_sources
from engine.spec.diagnostics import Diagnostic
from engine.tables.differences import Difference, report_pending_migration
from scripts import terminal
from scripts.commands.options import AsJson, Command
from scripts.database_url import run_in_database

if TYPE_CHECKING:
    from engine.store.connection import Connection

_MOST_NAMED = 5  # files that the last line names; more are counted


def check_specs(
    files: Annotated[list[Path] | None, typer.Argument(metavar="[FILE]...", help="Report only on these files.")] = None,
    database_too: Annotated[bool, typer.Option("--database", help="Also compare the specs with the tables.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Treat warnings as mistakes.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check every spec and extract its samples.

    It prints every mistake with its place and a hint, and for each column how many rows of the samples have a value.
    With `--database` it also compares the tables, once the specs have no mistake. Exit status 1 if there is a mistake.
    """
    here = find_project()
    checked = check_project(here)
    outside = _check_outside_files(here, files or [])
    samples = check_samples(here, checked)
    chosen = _name_files(here, files) if files else None
    mistakes = [*_choose_diagnostics(checked.diagnostics, chosen), *outside]
    warnings = [warning for report in samples for warning in _choose_diagnostics(report.warnings, chosen)]
    if chosen is not None:
        samples = [report for report in samples if f"specs/{report.fill_rates.plan.name}.yaml" in chosen]
    report, lines = [mistake.as_dict() for mistake in mistakes], [str(mistake) for mistake in mistakes]
    if strict:
        report += [warning.as_dict() for warning in warnings]
    if database_too and not report:
        differences, lines = _check_database(here)
        report += differences
    if as_json:
        terminal.print_json(
            {
                "diagnostics": report,
                "warnings": [] if strict else [warning.as_dict() for warning in warnings],
                "samples": [_describe_samples(mistake) for mistake in samples if mistake.fill_rates.step_results],
            }
        )
    else:
        _print_samples(samples)
        for line in [*lines, *map(str, warnings)]:
            terminal.print_line(line)
        subject = _describe_files(files) if files else f"{len(list(here.specs.glob('*.yaml')))} spec(s)"
        _print_summary(subject, len(report), len(warnings), database_too, strict)
    raise typer.Exit(1 if report else 0)


def _name_files(here: Project, files: Sequence[Path]) -> set[str]:
    """Return the names of files as in diagnostics: relative to the project's folder."""
    paths = [file.resolve() for file in files]
    return {file.relative_to(here.root).as_posix() for file in paths if file.is_relative_to(here.root)}


def _check_outside_files(here: Project, files: Sequence[Path]) -> list[Diagnostic]:
    """Check each file that is outside the project on its own. Raises BadParameter for a file that does not exist."""
    for file in files:
        if not file.is_file():
            raise typer.BadParameter(f"there is no file `{file}`")
    outside = [file for file in files if not file.resolve().is_relative_to(here.specs.resolve())]
    specs = [file for file in outside if file.suffix in (".yaml", ".yml")]
    checks: list[Checked] = [check_sources([yaml_source.load_source(file, file.as_posix())]) for file in specs]
    return [diagnostic for checked in checks for diagnostic in checked.diagnostics]


def _choose_diagnostics(diagnostics: Sequence[Diagnostic], files: set[str] | None) -> list[Diagnostic]:
    return [diagnostic for diagnostic in diagnostics if files is None or diagnostic.file in files]


def _check_database(here: Project) -> tuple[list[dict[str, Any]], list[str]]:
    from engine.tables import inspect, migrate

    plans = load_plans(here)

    async def find_differences(connection: Connection) -> list[Difference]:
        pending = map(report_pending_migration, await migrate.list_pending(connection, here.migrations))
        return [*pending, *await inspect.find_differences(connection, plans, reading=True)]

    differences = run_in_database(find_differences)
    files = {plan.name: plan.file for plan in plans}
    return [_as_diagnostic(difference, files) for difference in differences], list(map(str, differences))


def _as_diagnostic(difference: Difference, files: dict[str, str]) -> dict[str, Any]:
    """Convert a difference between spec and table to a diagnostic, at line 1, since it is about no line of the spec."""
    place = {"file": files.get(difference.spec, "migrations"), "line": 1, "column": 1}
    return {**place, "code": difference.code.value, "message": difference.message, "hint": difference.hint}


def _describe_samples(report: SampleReport) -> dict[str, Any]:
    fills = report.fill_rates
    return {
        "spec": fills.plan.name,
        "samples": fills.step_results,
        "rows": fills.rows,
        "refused": fills.refused,
        "columns": fills.list_columns(),
    }


def _print_samples(samples: Sequence[SampleReport]) -> None:
    for report in samples:
        fills = report.fill_rates
        if fills.step_results:
            refused = f", {fills.refused} refused" if fills.refused else ""
            terminal.print_line(f"{fills.plan.name}: {fills.step_results} sample(s), {fills.rows} row(s){refused}")
            terminal.print_fill_rates(fills.list_columns())


def _describe_files(files: Sequence[Path]) -> str:
    """Return the files to report on as text: their names, or only their number if there are many."""
    return ", ".join(file.as_posix() for file in files) if len(files) <= _MOST_NAMED else f"{len(files)} file(s)"


def _print_summary(subject: str, mistakes: int, warnings: int, database_too: bool, strict: bool) -> None:
    where = " and the database" if database_too else ""
    summary = f"{mistakes} mistake(s) in {subject}" if mistakes else f"{subject}{where}: nothing wrong"
    warned = f", {warnings} warning(s)" if warnings and not strict else ""
    terminal.print_note(f"{summary}{warned}")


COMMANDS = (Command("check", check_specs, ("dex check", "dex check --strict", "dex check --database --json")),)
