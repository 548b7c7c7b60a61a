"""Commands about specs and files: check, generate, extract, new, draft-migration."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from engine import plans as load
from engine import project
from engine.plan import Plan
from engine.project import Project
from engine.rows import document, render
from engine.rows.extract import Trace, explain, extract
from engine.tables.compare import Problem
from engine.values import exact_json
from engine.values.exact_json import Json
from scripts import console
from scripts.database_url import database

Spec = Annotated[str, typer.Argument(help="A spec by name.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


def check(
    database_too: Annotated[bool, typer.Option("--database", help="Also hold the specs against the database.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check every spec; with --database also whether each fits its table."""
    here = project.find()
    diagnostics = load.inspect(here).diagnostics
    found, lines = [item.as_dict() for item in diagnostics], [str(item) for item in diagnostics]
    if database_too and not found:
        found, lines = _check_database(here)
    if as_json:
        console.emit({"diagnostics": found})
    else:
        _say_checked(here, lines, database_too)
    raise typer.Exit(1 if found else 0)


def _check_database(here: Project) -> tuple[list[dict[str, Any]], list[str]]:
    from engine.store.connection import connect
    from engine.tables import inspect, migrate

    plans = load.load(here)

    async def ask(dsn: str) -> tuple[list[str], list[Problem]]:
        async with await connect(dsn) as connection:
            return await migrate.pending(connection, here.migrations), await inspect.inspect(connection, plans)

    with database(here) as dsn:
        behind, problems = asyncio.run(ask(dsn))
    problems = [*(Problem("", "TABLE514", sentence, "-- dex migrate") for sentence in behind), *problems]
    emitters = {plan.name: plan.file for plan in plans}
    return [_as_diagnostic(item, emitters) for item in problems], [str(item) for item in problems]


def _as_diagnostic(problem: Problem, files: dict[str, str]) -> dict[str, Any]:
    """A Problem in the shape of a diagnostic: it stands in no line of a spec, so it is put at the spec's beginning."""
    place = {"file": files.get(problem.spec, "migrations"), "line": 1, "column": 1}
    return {**place, "code": problem.code, "message": problem.message, "hint": problem.sql}


def _say_checked(here: Project, lines: list[str], database_too: bool) -> None:
    count = len(list(here.specs.glob("*.yaml")))
    for line in lines:
        console.say(line)
    where = " and the database" if database_too else ""
    console.note(f"{len(lines)} mistake(s) in {count} spec(s)" if lines else f"{count} spec(s){where}: nothing wrong")


def generate(
    check_only: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 when a file differs.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write what follows from the specs: persist blocks, typed functions, JSON Schema, reference."""
    from engine.generate import emitters
    from engine.generate import files as artifact

    here = project.find()
    wanted = emitters.emit(load.load(here))
    drifts = artifact.diff(here.root, wanted)
    if check_only:
        _say_drift(drifts, len(wanted), as_json)
        raise typer.Exit(1 if drifts else 0)
    written = artifact.write(here.root, wanted)
    if as_json:
        console.emit({"written": written})
    else:
        for name in written:
            console.say(f"wrote {name}")
        console.note(f"{len(written)} of {len(wanted)} generated files changed")


def _say_drift(drifts: Any, total: int, as_json: bool) -> None:
    if as_json:
        console.emit({"drift": [{"file": item.file, "what": item.what} for item in drifts]})
        return
    for item in drifts:
        console.say(f"{item.file}: {item.what}")
    console.note("run `dex generate` and commit what it writes" if drifts else f"{total} generated files: up to date")


def extract_(
    spec: Spec,
    file: Annotated[str, typer.Argument(help="A step output, a whole output_payload, or `-`.")],
    operation: Annotated[str | None, typer.Option(help="The operation, where the spec has several.")] = None,
    explained: Annotated[bool, typer.Option("--explain", help="How each field came to its value.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the row a step output gives, without a database. Exit 1 when it is rejected."""
    plan = load.pick(load.load(project.find()), spec)
    found = document.from_file(_read(file), operation or plan.operations[0])
    name = found["operation"]["id"]
    result = extract(plan, name, found)
    if as_json:
        words = render.extraction(plan, result)
        traces = [_trace_words(trace) for trace in explain(plan, name, found)] if explained else None
        console.emit(words if traces is None else {**words, "explain": traces})
    else:
        _say_extracted(plan, result, list(explain(plan, name, found)) if explained else [])
    raise typer.Exit(1 if result.outcome == "rejected" else 0)


def _read(file: str) -> Json:
    try:
        return exact_json.loads(sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes())
    except OSError as error:
        raise typer.BadParameter(f"cannot read `{file}`: {error.strerror}") from error
    except exact_json.ExactError as error:
        raise typer.BadParameter(f"`{file}` is {error}") from error


def _trace_words(trace: Trace) -> dict[str, Any]:
    steps = [{"normalizer": name, "gives": value} for name, value in trace.steps]
    reason = trace.reason.as_dict() if trace.reason else None
    return {
        "element": trace.element,
        "field": trace.field,
        "path": trace.path,
        "raw": trace.raw,
        "steps": steps,
        "result": trace.result,
        "reason": reason,
    }


def _say_extracted(plan: Plan, result: Any, traces: list[Trace]) -> None:
    from engine.values.column_types import shorten

    for trace in traces:
        where = "" if trace.element is None else f" of element {trace.element}"
        console.say(f"{trace.field}{where}  <- {trace.path}")
        console.say(f"    raw        {shorten(trace.raw)}")
        for name, value in trace.steps:
            console.say(f"    {name:<10} {shorten(value)}")
        stored = "nothing" if trace.result is None else str(trace.result)[:80]
        console.say(f"    {'rejected   ' + trace.reason.message if trace.reason else 'stored     ' + stored}")
    for row in render.rows(plan, result.rows):
        console.say(render.dumps(row, indent=True).decode())
    for reason in result.reasons:
        where = f" in element {reason.element}" if reason.element is not None else ""
        found = f", found {reason.value}" if reason.value is not None else ""
        console.say(f"{result.outcome}{where}: {reason.field or plan.name}: {reason.message}{found} ({reason.code})")
    console.note(f"{plan.name}: {result.outcome}, {len(result.rows)} row(s)")


def new(
    operation: Annotated[str, typer.Argument(help="The operation's id, such as company.derive.customers.")],
    from_sample: Annotated[
        Path | None, typer.Option("--from-sample", help="A step output or a whole output_payload.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the spec. Default: from the operation.")] = None,
) -> None:
    """Draft a spec and its case: from a sample output, or from what most research has in common."""
    from engine.draft import spec_text
    from engine.generate import files as artifact

    here = project.find()
    if from_sample is None:
        drafted = spec_text.begin(operation, name=name)
    else:
        drafted = spec_text.emit(operation, _read(str(from_sample)), name=name)
    taken = [file for file in drafted if (here.root / file).exists()]
    if taken:
        raise typer.BadParameter(f"`{taken[0]}` exists already; choose another `--name`")
    for file in artifact.write(here.root, drafted):
        console.say(f"wrote {file}")
    console.note("next: read the spec's `# unsure` comments, then `dex check` and `dex draft-migration`")


def draft_migration(
    spec: Spec,
    out: Annotated[bool, typer.Option("--print", help="Print the SQL instead of writing the file.")] = False,
) -> None:
    """Write the next numbered migration for a spec: its table, or the columns and indexes its table lacks."""
    from engine.store.connection import connect
    from engine.tables import draft_migration as migration
    from engine.tables import inspect
    from engine.tables.catalog import Existing

    here = project.find()
    plan = load.pick(load.load(here), spec)

    async def ask(dsn: str) -> Existing | None:
        async with await connect(dsn) as connection:
            return await inspect.existing(connection, plan.table)

    with database(here) as dsn:
        found = asyncio.run(ask(dsn))
    file, text = migration.emit(plan, sorted(item.name for item in here.migrations.glob("*.sql")), found)
    if out:
        console.say(text)
        return
    (here.migrations / file).write_text(text, encoding="utf-8")
    console.say(f"wrote migrations/{file}")
    console.note("next: read it, then `dex migrate`")


COMMANDS = (check, generate, extract_, new, draft_migration)
