"""Print the output of commands: results on standard output, progress and errors on standard error.

With `--json`, standard output has one JSON document and nothing else.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from engine.errors import EngineError
from engine.rows import render
from engine.rows.accounts import ELEMENT_COUNTS, Account
from engine.rows.outcomes import Outcome
from engine.spec.diagnostics import SpecErrors

#: Seconds between two lines of progress.
_PROGRESS_SECONDS = 5.0


def print_line(text: str = "") -> None:
    """Print a text and a line end to standard output."""
    print(text, flush=True)


def print_note(sentence: str) -> None:
    """Print one line to standard error: something for a person, which programs do not read."""
    print(sentence, file=sys.stderr, flush=True)


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
    """Print a table with a header; each column is as wide as its widest cell, and numbers are right-aligned."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(names, *texts, strict=True)]
    for line in [list(names), *texts]:
        cells = (_pad_cell(cell, width) for cell, width in zip(line, widths, strict=True))
        print_line("  ".join(cells).rstrip())


def print_rows(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the named values of rows as a table, null as blank."""
    print_table(names, [["" if row[name] is None else row[name] for name in names] for row in rows])


def print_cut(listed: int, limit: int, what: str) -> None:
    """Print a note if a list has as many entries as it may have, so that others may be missing from it."""
    if listed >= limit:
        print_note(f"at most {limit} {what} are listed, and others may follow: `--limit` sets how many")


def _pad_cell(cell: str, width: int) -> str:
    return cell.rjust(width) if cell.lstrip("-").isdigit() else cell.ljust(width)


def print_fill_rates(columns: Sequence[Mapping[str, Any]]) -> None:
    """Print, for each column, how many rows have a value."""
    for column in columns:
        refused = f", {column['refused']} refused for it" if column["refused"] else ""
        print_line(f"  {column['column']}: {column['values']} of {column['rows']}{refused}")


def print_reasons(reasons: Sequence[Mapping[str, Any]], whole: str) -> None:
    """Print reasons of the ledger, one per line; `whole` is printed for a reason that is about no field."""
    for reason in reasons:
        element = f"element {reason['element']}: " if reason.get("element") is not None else ""
        value = f", found {reason['value']}" if reason.get("value") is not None else ""
        print_line(f"    {element}{reason['field'] or whole}: {reason['message']}{value} ({reason['code']})")


def print_account(account: Mapping[str, Any], *, is_trial: bool = False) -> None:
    """Print one account: the count of each outcome, then the reasons; `is_trial` words it as what would be."""
    equals = "would be" if is_trial else "="
    parts = " + ".join(f"{account[outcome]} {outcome}" for outcome in (*Outcome, "pending"))
    print_line(f"{account['spec']}: {account['found']} found {equals} {parts}")
    elements = " + ".join(f"{account[name]} {name}" for name in ELEMENT_COUNTS[1:])
    stale = f"; {account['stale_rows']} row(s) have to be computed again" if account["stale_rows"] else ""
    print_line(f"  {account['elements']} elements {equals} {elements}{stale}")
    print_reason_counts({(reason["code"], reason["field"]): reason["count"] for reason in account["reasons"]})


def print_reason_counts(counts: Mapping[tuple[str, str | None], int]) -> None:
    """Print how often each reason, by code and field, was recorded."""
    for (code, field), count in counts.items():
        where = f" in `{field}`" if field else ""
        print_line(f"  {count} x {code}{where}")


@contextmanager
def show_progress() -> Iterator[Callable[[Account], None]]:
    """Yield a function to call with the Account after every batch: it draws a bar per spec, or prints lines into a log.

    If the process is interrupted or terminated, print where each spec stopped, and that the same command resumes.
    """
    states: dict[str, Account] = {}
    try:
        with stop_on_terminate(), _open_progress() as show:

            def record_state(state: Account) -> None:
                states[state.spec] = state
                show(state)

            yield record_state
    except KeyboardInterrupt:
        for state in states.values():
            print_note(f"{state.spec}: stopped at {_count_done(state)}")
        print_note("what is recorded stays; the same command resumes where it stopped")
        raise


@contextmanager
def show_reading(name: str, on_stop: str) -> Iterator[Callable[[int], None]]:
    """Yield a function to call with the number of step results just read; at times it prints a line with the rate.

    If the process is interrupted or terminated, print how far it came, and `on_stop`.
    """
    progress, total = PlainProgress(), 0

    def count_read(read: int) -> None:
        nonlocal total
        total += read
        progress.show_count(name, total, f"{total} step results read")

    try:
        with stop_on_terminate():
            yield count_read
    except KeyboardInterrupt:
        print_note(f"{name}: stopped after {total} step results; {on_stop}")
        raise


@contextmanager
def stop_on_terminate() -> Iterator[None]:
    """Make SIGTERM end the `with` block as ^C does, so that it can print where it stopped."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _open_progress() -> Iterator[Callable[[Account], None]]:
    if not sys.stderr.isatty():
        yield PlainProgress().show_account
        return
    from rich.console import Console
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
    times = (TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, *times, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def update_bar(state: Account) -> None:
            task = tasks.get(state.spec)
            if task is None:
                task = tasks[state.spec] = bar.add_task(state.spec, total=None, rate="")
            bar.update(task, total=state.found, completed=state.recorded, rate=_format_rate(bar.tasks[task].speed))

        yield update_bar


def _format_rate(speed: float | None) -> str:
    return f"{speed:,.0f}/s" if speed else ""


class PlainProgress:
    """Progress for a log: a line per spec every few seconds, with the rate since the line before."""

    def __init__(self) -> None:
        self._printed: dict[str, tuple[float, int]] = {}  # by spec: when, and the count then

    def show_account(self, state: Account) -> None:
        """Show how far the backfill of a spec is."""
        self.show_count(state.spec, state.recorded, f"{_count_done(state)} done")

    def show_count(self, spec: str, count: int, sentence: str) -> None:
        """Print `sentence` with the rate at which `count` grows, unless a line of the spec was printed just now."""
        now = time.monotonic()
        at, counted = self._printed.setdefault(spec, (now, count))
        if now - at >= _PROGRESS_SECONDS:
            self._printed[spec] = (now, count)
            print_note(f"{spec}: {sentence}, {(count - counted) / (now - at):,.0f}/s")


def _count_done(state: Account) -> str:
    return f"{state.recorded} of {max(state.found, state.recorded)}"
