"""Split the text of a migration that is not a single transaction into the steps in which it is run.

`BEGIN; ...; COMMIT;` is one step. Every other statement is one too; a statement that Postgres refuses in a
transaction (CONCURRENTLY, VACUUM, a DO block that commits) is run outside of one. Every step must work when it is run
again: after a failure the whole file is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from engine.tables.migration_files import Migration, MigrationError, blank_opaque

_BEGIN: Final = re.compile(r"\s*begin\s*", re.IGNORECASE)
_COMMIT: Final = re.compile(r"\s*commit\s*", re.IGNORECASE)
_ALONE: Final = re.compile(r"\s*(vacuum|(create|drop|reindex)\b.*\bconcurrently)\b", re.IGNORECASE | re.DOTALL)
_DO: Final = re.compile(r"\s*do\b", re.IGNORECASE)
_COMMITS: Final = re.compile(r"^\s*commit\s*;", re.IGNORECASE | re.MULTILINE)
_BUILDS_INDEX: Final = re.compile(
    r"\s*create\s+(?:unique\s+)?index\s+concurrently\s+if\s+not\s+exists\s+(\w+)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A part of a file that is run at once.

    `index` is the name of the index that it builds concurrently, if it does.
    """

    text: str
    offset: int  # of its text in the file
    is_transaction: bool
    index: str | None = None


def split_steps(file: Migration) -> list[Step]:
    """Split a migration into the steps that are executed one after the other.

    Raises MigrationError for a BEGIN without COMMIT, or a COMMIT without BEGIN.
    """
    if file.is_one_transaction:
        return [Step(text=file.text, offset=0, is_transaction=True)]
    steps: list[Step] = []
    begun: int | None = None
    for text, plain, offset in _split_statements(file.text):
        if _BEGIN.fullmatch(plain):
            if begun is not None:
                raise _build_unpaired(file, begun - 1, "BEGIN")
            begun = offset + len(text) + 1
        elif _COMMIT.fullmatch(plain):
            if begun is None:
                raise _build_unpaired(file, offset + len(text) - 1, "COMMIT")
            steps.append(Step(text=file.text[begun:offset], offset=begun, is_transaction=True))
            begun = None
        elif begun is None:
            steps.append(_build_step(text, plain, offset))
    if begun is not None:
        raise _build_unpaired(file, begun - 1, "BEGIN")
    return steps


def _split_statements(text: str) -> Iterator[tuple[str, str, int]]:
    """Yield each statement of a text: as written, with comments and bodies blanked, and its offset."""
    plain, start = blank_opaque(text), 0
    while start < len(plain):
        end = plain.find(";", start)
        end = len(plain) if end < 0 else end
        if plain[start:end].strip():
            yield text[start:end], plain[start:end], start
        start = end + 1


def _build_step(text: str, plain: str, offset: int) -> Step:
    is_alone = _ALONE.match(plain) or (_DO.match(plain) and _COMMITS.search(text))
    index = _BUILDS_INDEX.match(plain)
    return Step(text=text, offset=offset, is_transaction=not is_alone, index=index[1] if index else None)


def _build_unpaired(file: Migration, offset: int, word: str) -> MigrationError:
    line = file.text.count("\n", 0, offset) + 1
    other = "COMMIT" if word == "BEGIN" else "BEGIN"
    return MigrationError(f"{file.name}:{line}: `{word}` without `{other}`", hint="write `BEGIN; ...; COMMIT;`")
