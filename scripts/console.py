"""How commands speak.

In: results. Out: JSON alone on standard output, or sentences for a person; progress and complaints on standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from engine.errors import EngineError
from engine.rows import render
from engine.rows.accounts import OUTCOMES, Account
from engine.spec.diagnostics import SpecErrors

_OUT = Console(highlight=False, soft_wrap=True, emoji=False)
_ERR = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def say(sentence: str = "") -> None:
    """Print to standard output as it stands."""
    _OUT.print(sentence, markup=False)


def note(sentence: str) -> None:
    """Print to standard error: progress, and what a person wants to know but a program does not read."""
    _ERR.print(sentence, markup=False)


def emit(value: Any) -> None:
    """Print one JSON document to standard output."""
    sys.stdout.buffer.write(render.dumps(value, indent=True) + b"\n")
    sys.stdout.buffer.flush()


def complain(error: EngineError) -> None:
    """Say what went wrong and what to do, on standard error."""
    note(error.message if isinstance(error, SpecErrors) else f"dex: {error.message}")
    if error.hint:
        note(f"    hint: {error.hint}")


def table(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print columns as wide as they need to be; numbers to the right."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(names, *texts, strict=True)]
    for line in [list(names), *texts]:
        cells = (_pad(cell, width) for cell, width in zip(line, widths, strict=True))
        say("  ".join(cells).rstrip())


def _pad(cell: str, width: int) -> str:
    return cell.rjust(width) if cell.lstrip("-").isdigit() else cell.ljust(width)


def account(numbers: Mapping[str, Any]) -> None:
    """Print one account: the identity, then the reasons."""
    parts = " + ".join(f"{numbers[outcome]} {outcome}" for outcome in (*OUTCOMES, "pending"))
    say(f"{numbers['spec']}: {numbers['found']} found = {parts}")
    for reason in numbers["reasons"]:
        named = f" in `{reason['field']}`" if reason["field"] else ""
        say(f"  {reason['count']} x {reason['code']}{named}")


@contextmanager
def progress(spec: str) -> Iterator[Any]:
    """Yield a function to call with the Account after every batch: a bar on a terminal, plain lines elsewhere."""
    if not _ERR.is_terminal:
        yield _lines
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=_ERR, transient=True) as bar:
        task = bar.add_task(spec, total=None, rate="")

        def show(state: Account) -> None:
            bar.update(task, total=state.found, completed=state.recorded, rate=_rate(bar.tasks[task].speed))

        yield show


def _rate(speed: float | None) -> str:
    return f"{speed:,.0f}/s" if speed else ""


def _lines(state: Account) -> None:
    if state.recorded:
        note(f"{state.spec}: {state.recorded} of {max(state.found, state.recorded)} done")
