"""The command `dex init`, which makes a project outside of a checkout."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from engine.plans import load_plans
from engine.project import Project
from scripts import terminal
from scripts.commands.options import Command


def make_project(
    folder: Annotated[Path, typer.Argument(help="Where; it may exist, with other files in it.", metavar="FOLDER")],
) -> None:
    """Make a new project, outside of a checkout.

    It has a spec with its prompt and a sample, a migration for its table, and an .env.example. Existing files are not
    overwritten. It needs no checkout: the engine's migrations are installed with it.
    """
    from engine.draft.project import draft_project
    from engine.generate.files import write_files
    from engine.generate.spec_json_schema import build_json_schema_files
    from engine.tables.draft_migration import build_create_migration
    from engine.tables.migration_files import OWN_NUMBERS

    name = re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-") or "research"
    files = {**draft_project(name), **build_json_schema_files()}
    taken = [file for file in [*files, "migrations"] if (folder / file).exists()]
    if taken:
        raise typer.BadParameter(f"`{folder / taken[0]}` exists already; name another folder")
    written = write_files(folder, files)
    (plan,) = load_plans(Project(folder.resolve()))
    written += write_files(folder, {f"migrations/{OWN_NUMBERS + 1}_{plan.table}.sql": build_create_migration(plan)})
    for file in written:
        terminal.print_line(f"wrote {folder / file}")
    terminal.print_note(
        f"next: `cd {folder}`, then `dex check`, `dex migrate` and `dex serve --dev`; README.md says more"
    )


COMMANDS = (Command("init", make_project, ("dex init research",)),)
