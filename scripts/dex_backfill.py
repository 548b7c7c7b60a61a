"""What the three backfill scripts share: they are `dex backfill` for the submissions that one spec names."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import wraps
from inspect import Signature, signature
from pathlib import Path
from typing import Any

import typer

from scripts import dex
from scripts.commands.backfill import backfill_spec
from scripts.commands.options import Command
from scripts.env_file import load_env_file

_ROOT = Path(__file__).resolve().parent.parent
#: The parameters of `dex backfill` that a script does not take: it fills the first two, and has no share.
_NOT_TAKEN = ("spec", "targets", "shard")


def run_dex_backfill(spec: str) -> None:
    """Run `dex backfill` for the targets of a spec with the arguments of this process, from any working directory."""
    script = f"python scripts/{Path(sys.argv[0]).name}"
    os.chdir(_ROOT)
    examples = (script, f"{script} --since 2026-11-01 --dry-run", f"{script} --org $ORG --submission $SUBMISSION")
    command = Command(spec, _bind_spec(spec), examples)
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(command.name, epilog=command.epilog)(command.function)
    dex.main(app=app)


def _bind_spec(spec: str) -> Callable[..., None]:
    """Return the command without the parameters that a script does not take, so that its help does not show them."""

    def backfill_targets(**options: Any) -> None:
        load_env_file()
        backfill_spec(spec, targets=True, **options)

    taken = signature(backfill_spec, eval_str=True).parameters
    bound = wraps(backfill_spec)(backfill_targets)
    vars(bound)["__signature__"] = Signature([taken[name] for name in taken if name not in _NOT_TAKEN])
    bound.__doc__ = (
        f"Write the rows of the pending step results of `{spec}`, in the submissions that its spec names.\n\n"
        "`--org` and `--submission` replace these. It begins with the oldest. An interrupted backfill resumes where it"
        " stopped. Exit status 1 if something was rejected or refused, or is still pending; with --limit, what exceeds"
        " the limit does not count."
    )
    return bound
