"""The commands about specs and what is derived from them: generate, extract, new, draft-migration."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.plan import Plan
from engine.plans import find_plan, load_plans
from engine.project import find_project
from engine.rows import document, render
from engine.rows.explain import Trace, trace_fields
from engine.rows.extract import Extraction, extract_rows
from scripts import terminal
from scripts.commands.files import extract_folder
from scripts.commands.options import AsJson, Command, SpecName, read_json_file
from scripts.database_url import run_in_database

if TYPE_CHECKING:
    from engine.generate.files import Drift
    from engine.store.connection import Connection

#: The name of the spec whose rows are the citations in the answers of all its operations.
_EVIDENCE_SPEC = "research_evidence.yaml"
_WIDTH = 80  # the most characters of a value on a line


def generate_files(
    check_only: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 when a file differs.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the files that are generated from the specs.

    These are persist blocks, typed Python functions, JSON Schemas and reference pages.
    """
    from engine.generate.files import compare_files, write_files
    from engine.generate.generators import build_generated_files

    here = find_project()
    wanted = build_generated_files(load_plans(here))
    drifts = compare_files(here.root, wanted)
    if check_only:
        _print_drifts(drifts, len(wanted), as_json)
        raise typer.Exit(1 if drifts else 0)
    written = write_files(here.root, wanted)
    if as_json:
        terminal.print_json({"written": written})
    else:
        for name in written:
            terminal.print_line(f"{'wrote' if name in wanted else 'removed'} {name}")
        terminal.print_note(f"{len(written)} of {len(wanted)} generated files changed")


def _print_drifts(drifts: Sequence[Drift], total: int, as_json: bool) -> None:
    if as_json:
        terminal.print_json({"drift": [{"file": drift.file, "what": drift.kind.value} for drift in drifts]})
        return
    for drift in drifts:
        terminal.print_line(f"{drift.file}: {drift.kind}")
        if drift.diff_text:
            terminal.print_line(drift.diff_text)
    terminal.print_note(
        "run `dex generate` and commit what it writes" if drifts else f"{total} generated files: up to date"
    )


def show_extraction(
    spec: SpecName,
    file: Annotated[
        str | None, typer.Argument(help="A step output, a whole output_payload, or `-`.", metavar="[FILE]")
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Instead of a file: a folder of Parquet or JSONL."),
    ] = None,
    target: Annotated[Path | None, typer.Option("--to", help="With --from: the folder to write Parquet to.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="With --from: processes. Default: one per core.")] = None,
    operation: Annotated[str | None, typer.Option(help="The operation, where the spec has several.")] = None,
    explained: Annotated[bool, typer.Option("--explain", help="Show how each value was derived.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the rows of a step output, without a database.

    Exit status 1 if the step output is rejected. With --from and --to it extracts every step result in a folder of
    files, on all cores; files that were extracted before are skipped.
    """
    plan = find_plan(load_plans(find_project()), spec)
    if source is not None and target is not None and file is None:
        return extract_folder(plan, source, target, workers, as_json)
    if file is None or source is not None or target is not None:
        raise typer.BadParameter("name a FILE, or two folders with --from and --to")
    step = document.build_from_file(read_json_file(file), operation or plan.operations[0])
    name = step["operation"]["id"]
    result = extract_rows(plan, name, step)
    if as_json:
        report = render.render_extraction(plan, result)
        traces = [_as_dict(trace) for trace in trace_fields(plan, name, step)] if explained else None
        terminal.print_json(report if traces is None else {**report, "explain": traces})
    else:
        _print_extraction(plan, result, list(trace_fields(plan, name, step)) if explained else [])
    raise typer.Exit(1 if result.outcome == "rejected" else 0)


def _as_dict(trace: Trace) -> dict[str, Any]:
    steps = [{"normalizer": name, "gives": render.embed_value(value)} for name, value in trace.steps]
    reason = trace.reason.as_dict() if trace.reason else None
    return {
        "element": trace.element,
        "field": trace.field,
        "path": trace.path,
        "raw": render.embed_value(trace.raw),
        "steps": steps,
        "result": trace.result,
        "reason": reason,
    }


def _render_stored(plan: Plan, trace: Trace) -> str:
    """Return the stored value as JSON, cut at the width of the other lines."""
    (row,) = render.render_rows(plan, ({trace.field: trace.result},))
    text = render.dump_json(row[trace.field]).decode()
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"


def _print_extraction(plan: Plan, result: Extraction, traces: list[Trace]) -> None:
    from engine.values.column_types import shorten_json

    for trace in traces:
        where = "" if trace.element is None else f" of element {trace.element}"
        terminal.print_line(f"{trace.field}{where}  <- {trace.path}")
        terminal.print_line(f"    raw        {shorten_json(trace.raw)}")
        for name, value in trace.steps:
            terminal.print_line(f"    {name:<10} {shorten_json(value)}")
        stored = "nothing" if trace.result is None else _render_stored(plan, trace)
        terminal.print_line(f"    {'rejected   ' + trace.reason.message if trace.reason else 'stored     ' + stored}")
    for row in render.render_rows(plan, result.rows):
        terminal.print_line(render.dump_json(row, indent=True).decode())
    for reason in result.reasons:
        where = f" in element {reason.element}" if reason.element is not None else ""
        value = f", found {reason.value}" if reason.value is not None else ""
        terminal.print_line(
            f"{result.outcome}{where}: {reason.field or plan.name}: {reason.message}{value} ({reason.code})"
        )
    terminal.print_note(f"{plan.name}: {result.outcome}, {len(result.rows)} row(s)")


def draft_spec(
    operation: Annotated[
        str, typer.Argument(help="The operation's id, such as company.derive.customers.", metavar="OPERATION")
    ],
    from_sample: Annotated[
        Path | None, typer.Option("--from-sample", help="A step output or a whole output_payload.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option("--columns", help="Draft an operation with these columns: name:type,name:type,...")
    ] = None,
    rows: Annotated[
        str | None,
        typer.Option(
            "--rows",
            help="With --columns: the name of the list in the answer that has one element per row. "
            "Default: the operation's last word, if it is a plural.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The spec's name. Default: derived from the operation.")] = None,
) -> None:
    """Draft a spec and its test case.

    It uses a sample output, or a list of columns, for which it also drafts the `research` block and the prompt. Without
    either it drafts the columns that most research has.
    """
    from engine.draft import spec_text
    from engine.draft.operation import draft_from_columns
    from engine.generate.files import write_files

    here = find_project()
    if not re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_]+)+", operation):
        raise typer.BadParameter(f"`{operation}` is not the id of an operation, such as company.derive.customers")
    if columns is not None and from_sample is not None:
        raise typer.BadParameter("--columns and --from-sample exclude each other")
    if rows is not None and columns is None:
        raise typer.BadParameter("--rows goes with --columns")
    if columns is not None:
        drafted = draft_from_columns(operation, columns, name=name, rows=rows)
    elif from_sample is None:
        drafted = spec_text.draft_without_sample(operation, name=name)
    else:
        drafted = spec_text.draft_from_sample(operation, read_json_file(str(from_sample)), name=name)
    taken = [file for file in drafted if (here.root / file).exists()]
    if taken:
        raise typer.BadParameter(f"`{taken[0]}` exists already; choose another `--name`")
    for file in write_files(here.root, drafted):
        terminal.print_line(f"wrote {file}")
    advice = "make the prompt your own" if columns else "read the spec's `# unsure` comments"
    terminal.print_note(f"key: {', '.join(_read_key(drafted))} (`conflict` in the spec): one row for each")
    terminal.print_note(f"next: {advice}, then `dex check` and `dex draft-migration`")
    if (here.specs / _EVIDENCE_SPEC).exists():
        terminal.print_note(
            f"next: name `{operation}` under `operations` of specs/{_EVIDENCE_SPEC}, so that its citations become rows"
        )


def _read_key(drafted: Mapping[str, str]) -> list[str]:
    """Return the key columns of a drafted spec, without the organisation."""
    from engine.spec.yaml_source import parse_source

    file, text = next((file, text) for file, text in drafted.items() if file.startswith("specs/"))
    return [str(name) for name in parse_source(text, file).data["conflict"] if name != "org_id"]


def draft_next_migration(
    spec: SpecName,
    print_only: Annotated[bool, typer.Option("--print", help="Print the SQL instead of writing the file.")] = False,
) -> None:
    """Write the next migration for the table of a spec.

    The migration creates the table, or adds the columns and indexes that it lacks.
    """
    from engine.tables import draft_migration, hints, inspect
    from engine.tables.catalog import Table
    from engine.tables.compare import compare_table
    from engine.tables.migration_files import find_next_number, load_migrations

    here = find_project()
    plan = find_plan(load_plans(here), spec)

    async def read_table(connection: Connection) -> Table | None:
        table = await inspect.read_table(connection, plan.table)
        if table is not None:
            differences = compare_table(plan, table)
            draft_migration.check_no_rebuild_needed(await hints.check_hints(connection, plan, table, differences))
        return table

    table = run_in_database(read_table)
    names = [file.name for file in load_migrations(here.migrations)]
    name, text = draft_migration.draft_migration(plan, find_next_number(here.migrations), names, table)
    if print_only:
        terminal.print_line(text)
        return
    (here.migrations / name).write_text(text, encoding="utf-8")
    terminal.print_line(f"wrote migrations/{name}")
    terminal.print_note("next: read it, then `dex migrate`")


COMMANDS = (
    Command("generate", generate_files, ("dex generate", "dex generate --check")),
    Command(
        "extract",
        show_extraction,
        (
            "dex extract company_intel_briefings output.json",
            "dex extract icp_job_titles - --explain --json < output.json",
            "dex extract icp_job_titles --from steps --to found",
        ),
    ),
    Command(
        "new",
        draft_spec,
        (
            "dex new company.derive.customers",
            "dex new company.derive.customers --from-sample sample.json",
            "dex new company.derive.risks --columns title:text,severity:integer",
        ),
    ),
    Command(
        "draft-migration",
        draft_next_migration,
        ("dex draft-migration company_customers", "dex draft-migration icp_job_titles --print"),
    ),
)
