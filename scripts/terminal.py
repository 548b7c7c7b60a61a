"""Print the output of commands: results on standard output, progress and errors on standard error.

With `--json` standard output holds one JSON document and nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from engine.errors import EngineError
from engine.rows import render
from engine.rows.accounts import ELEMENT_COUNTS, Account
from engine.rows.outcomes import Outcome
from engine.spec.diagnostics import SpecErrors

_OUT = Console(highlight=False, soft_wrap=True, emoji=False)
_ERR = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def print_line(sentence: str = "") -> None:
    """Print one line to standard output, without interpreting Rich's markup and emoji codes."""
    _OUT.print(sentence, markup=False)


def print_note(sentence: str) -> None:
    """Print one line to standard error: information for people that is not part of the result."""
    _ERR.print(sentence, markup=False)


def print_json(value: Any) -> None:
    """Print one JSON document to standard output."""
    sys.stdout.buffer.write(render.dump_json(value, indent=True) + b"\n")
    sys.stdout.buffer.flush()


def print_error(error: EngineError) -> None:
    """Print an error's message and hint on standard error."""
    print_note(error.message if isinstance(error, SpecErrors) else f"dex: {error.message}")
    if error.hint:
        print_note(f"    hint: {error.hint}")


def print_table(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table with a header; each column is as wide as its widest cell, and numbers are aligned to the right."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(names, *texts, strict=True)]
    for line in [list(names), *texts]:
        cells = (_pad_cell(cell, width) for cell, width in zip(line, widths, strict=True))
        print_line("  ".join(cells).rstrip())


def _pad_cell(cell: str, width: int) -> str:
    return cell.rjust(width) if cell.lstrip("-").isdigit() else cell.ljust(width)


def print_fill_rates(columns: Sequence[Mapping[str, Any]]) -> None:
    """Print for each column how many rows have a value in it."""
    for column in columns:
        refused = f", {column['refused']} refused for it" if column["refused"] else ""
        print_line(f"  {column['column']}: {column['values']} of {column['rows']}{refused}")


def print_reasons(reasons: Sequence[Mapping[str, Any]], whole: str) -> None:
    """Print reasons of the ledger, a line each; `whole` names what a reason without a field is about."""
    for reason in reasons:
        element = f"element {reason['element']}: " if reason.get("element") is not None else ""
        value = f", found {reason['value']}" if reason.get("value") is not None else ""
        print_line(f"    {element}{reason['field'] or whole}: {reason['message']}{value} ({reason['code']})")


def print_account(account: Mapping[str, Any], *, is_trial: bool = False) -> None:
    """Print one account: the count of each outcome, then the reasons; `is_trial` says that nothing was written."""
    equals = "would be" if is_trial else "="
    parts = " + ".join(f"{account[outcome]} {outcome}" for outcome in (*Outcome, "pending"))
    print_line(f"{account['spec']}: {account['found']} found {equals} {parts}")
    elements = " + ".join(f"{account[name]} {name}" for name in ELEMENT_COUNTS[1:])
    stale = f"; {account['stale_rows']} row(s) wait to be folded anew" if account["stale_rows"] else ""
    print_line(f"  {account['elements']} elements {equals} {elements}{stale}")
    for reason in account["reasons"]:
        where = f" in `{reason['field']}`" if reason["field"] else ""
        print_line(f"  {reason['count']} x {reason['code']}{where}")


@contextmanager
def show_progress() -> Iterator[Callable[[Account], None]]:
    """Yield a function that shows an Account as progress: by a bar per spec on a terminal, else by a line."""
    if not _ERR.is_terminal:
        yield _print_progress
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=_ERR, transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def update_bar(state: Account) -> None:
            task = tasks.get(state.spec)
            if task is None:
                task = tasks[state.spec] = bar.add_task(state.spec, total=None, rate="")
            bar.update(task, total=state.found, completed=state.recorded, rate=_format_rate(bar.tasks[task].speed))

        yield update_bar


def _format_rate(speed: float | None) -> str:
    return f"{speed:,.0f}/s" if speed else ""


def _print_progress(state: Account) -> None:
    if state.recorded:
        print_note(f"{state.spec}: {state.recorded} of {max(state.found, state.recorded)} done")
