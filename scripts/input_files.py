"""Read files of inputs for `dex submit`: CSV with a header, or JSON Lines, one record at a time."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from engine.errors import EngineError
from engine.values import exact_json

_MOST_MISTAKES: Final = 20
_LONGEST_CELL: Final = 10_000_000  # characters; the csv module's own limit is 131,072


class InputFileError(EngineError):
    """A file of inputs cannot be read, or some of its lines are invalid."""


def count_inputs(file: Path) -> int:
    """Validate a file and return the number of its inputs. Raises InputFileError that names each invalid line."""
    mistakes: list[str] = []
    count = 0
    for line, value in _read_records(file):
        if isinstance(value, str):
            mistakes.append(f"{file.name}:{line}: {value}")
        else:
            count += 1
        if len(mistakes) == _MOST_MISTAKES:
            break
    if mistakes:
        raise InputFileError("\n".join(mistakes), hint="nothing was queued; fix these lines and submit the file again")
    if not count:
        raise InputFileError(f"{file.name} holds no inputs", hint="write a line per run")
    return count


def read_inputs(file: Path) -> Iterator[bytes]:
    """Yield each input of a file as JSON text; `count_inputs` must have validated the file."""
    for _, value in _read_records(file):
        if isinstance(value, bytes):
            yield value


def _read_records(file: Path) -> Iterator[tuple[int, bytes | str]]:
    """Yield each record as its line number, and its JSON text (bytes) or a message about its mistake (str).

    Raises InputFileError when the file cannot be read.
    """
    readers = {".csv": _read_csv, ".jsonl": _read_json_lines, ".ndjson": _read_json_lines}
    reader = readers.get(file.suffix.lower())
    if reader is None:
        raise InputFileError(f"`{file.name}` is neither CSV nor JSON Lines", hint="name it .csv, .jsonl or .ndjson")
    try:
        yield from reader(file)
    except OSError as error:
        hint = "check the path, and that this user may read it"
        raise InputFileError(f"`{file}` cannot be read: {error.strerror}", hint=hint) from error
    except UnicodeDecodeError as error:
        raise InputFileError(f"`{file}` cannot be read: {error}", hint="it has to be UTF-8 text") from error


def _read_json_lines(file: Path) -> Iterator[tuple[int, bytes | str]]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield number, _read_object(line.removeprefix(b"\xef\xbb\xbf"))


def _read_object(line: bytes) -> bytes | str:
    """Return the JSON text of an object, with every number unchanged, or a message about its mistake."""
    try:
        value = exact_json.loads(line)
        return exact_json.dumps(value) if isinstance(value, dict) else "not a JSON object"
    except exact_json.ExactError as error:
        return str(error)


def _read_csv(file: Path) -> Iterator[tuple[int, bytes | str]]:
    csv.field_size_limit(_LONGEST_CELL)
    with file.open(encoding="utf-8-sig", newline="") as text:
        rows = csv.reader(text, strict=True)
        try:
            names = [name.strip() for name in next(rows, [])]
            if mistake := _find_header_mistake(names):
                yield 1, mistake
                return
            for row in rows:
                if row:
                    yield rows.line_num, _read_row(names, row)
        except csv.Error as error:
            yield rows.line_num, f"not CSV: {error}"


def _find_header_mistake(names: list[str]) -> str | None:
    if not names or not all(names):
        return "the first line names no input, or has a blank name"
    twice = sorted({name for name in names if names.count(name) > 1})
    return f"the first line names `{twice[0]}` twice" if twice else None


def _read_row(names: list[str], row: list[str]) -> bytes | str:
    """Return a CSV row as a JSON object without its blank cells, or a message about its mistake."""
    if len(row) != len(names):
        return f"{len(row)} cells where the first line names {len(names)}"
    try:
        return exact_json.dumps({name: cell for name, cell in zip(names, row, strict=True) if cell.strip()})
    except exact_json.ExactError as error:
        return str(error)
