"""Read the folder of migrations, files named `NNN_what.sql`, and check it against the history of a database."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from engine.errors import EngineError

#: The first number for migrations of those who use the engine; smaller numbers are the engine's.
OWN_NUMBERS = 1000
#: The migrations that are installed with the engine; in a checkout, a link to the folder beside `engine/`.
SHIPPED = Path(__file__).resolve().parents[1] / "migrations"

_HINT_CHANGED = "restore the file as it was, and put the change into a new migration"
_HINT_OTHER_FILE = (
    "restore the file as it was; where the number of a migration of your own is now the engine's, docs/howto/operate.md"
    " says under `Upgrade` how yours gets another one"
)
_NAME = re.compile(r"(\d{3,9})_\w+\.sql", re.ASCII)
#: Comments, strings and dollar-quoted bodies: text that is no statement of the file.
_OPAQUE = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|(\$\w*\$).*?\1", re.DOTALL)
#: A file that begins with this is run statement by statement, each in its own transaction or in none.
_NO_TRANSACTION = "-- dex: no transaction"
_DIRECTIVE = re.compile(r"^-- dex:.*$", re.MULTILINE)
_ENDS_TRANSACTION = re.compile(
    r"(?:^|;)\s*(begin|start\s+transaction|commit|rollback|abort)\s*(?:work|transaction)?\s*(?:;|$)", re.IGNORECASE
)


class MigrationError(EngineError):
    """A migration cannot be read, may not be applied, or failed; the database is as before that migration."""


class NoSuchBaseline(MigrationError):
    """No migration of the folder has the number given as the baseline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """A migration file; `checksum` is the SHA-256 of its text."""

    number: int
    name: str
    text: str
    checksum: str
    is_one_transaction: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedMigration:
    """A migration recorded in a database; `baseline` means that it was applied by hand and only recorded."""

    number: int
    name: str
    checksum: str
    applied_at: str
    baseline: bool


#: The migrations recorded in a database, by number.
History: TypeAlias = Mapping[int, AppliedMigration]


def load_migrations(folder: Path) -> tuple[Migration, ...]:
    """Return the migrations of `folder` in order; numbers may have gaps.

    A project's own migrations, if it has any, are all numbered from 1000; those of the installation come before them.
    Raises MigrationError for a missing folder, a file that is not named `NNN_what.sql`, a number used twice, text that
    is not UTF-8, or a file that begins or ends a transaction.
    """
    if not folder.is_dir():
        hint = "make it: migrations are files named `NNN_what.sql` in it; an empty one has those of the engine"
        raise MigrationError(f"there is no folder `{folder}`", hint=hint)
    files = [_read_migration(path) for path in sorted(folder.glob("*.sql"))]
    if all(file.number >= OWN_NUMBERS for file in files):
        shipped = [_read_migration(path) for path in SHIPPED.glob("*.sql")]
        files += [file for file in shipped if file.number < OWN_NUMBERS]  # a checkout's own tables are not the engine's
    files.sort(key=lambda file: file.number)
    for previous, next_file in itertools.pairwise(files):
        if previous.number == next_file.number:
            raise MigrationError(
                f"`{previous.name}` and `{next_file.name}` have the same number",
                hint="give the one that is not applied anywhere yet the next free number; one of your own that is"
                " applied gets another one as docs/howto/operate.md says under `Upgrade`",
            )
    return tuple(files)


def find_next_number(folder: Path) -> int:
    """Return the number of the next migration of whoever uses the engine, above OWN_NUMBERS.

    In a checkout too: the engine's next release may bring the number that is free below.
    """
    return max([OWN_NUMBERS, *(file.number for file in load_migrations(folder))]) + 1


def list_pending(files: Iterable[Migration], history: History) -> list[Migration]:
    """Return the files that are not applied, in order."""
    return [file for file in files if file.number not in history]


def check_history(files: Iterable[Migration], history: History) -> None:
    """Raise MigrationError when an applied file has changed or is missing, or a new file comes before it."""
    by_number = {file.number: file for file in files}
    for applied in history.values():
        _check_unchanged(applied, by_number.get(applied.number))
    for file in list_pending(by_number.values(), history):
        last = find_last_number(history, file.number)
        if file.number < last:
            raise MigrationError(
                f"`{file.name}` comes before `{history[last].name}`, which is applied already",
                hint="migrations are only ever added at the end: give it the next free number",
            )


def find_last_number(numbers: Iterable[int], number: int) -> int:
    """Return the largest of `numbers` with the origin of `number` (the engine, or the project); 0 if there is none."""
    is_own = number >= OWN_NUMBERS
    return max((known for known in numbers if (known >= OWN_NUMBERS) == is_own), default=0)


def check_baseline(files: Iterable[Migration], baseline: int) -> None:
    """Raise NoSuchBaseline when none of the files has the number `baseline`."""
    numbers = [file.number for file in files]
    if baseline not in numbers:
        known = f"those there are go from {min(numbers):03} to {max(numbers):03}" if numbers else "there is none"
        raise NoSuchBaseline(
            f"no migration has the number of the baseline, {baseline}; {known}",
            hint="name the last migration that was applied by hand; `dex migrate --status` lists them",
        )


def is_unchanged(applied: AppliedMigration, file: Migration) -> bool:
    """Return whether a file is what was applied, under the same name."""
    return (file.name, file.checksum) == (applied.name, applied.checksum)


def _check_unchanged(applied: AppliedMigration, file: Migration | None) -> None:
    if file is None:
        raise MigrationError(
            f"`{applied.name}` was applied at {applied.applied_at}, and the file is missing",
            hint="restore it: a migration that was applied anywhere stays as it is",
        )
    if not is_unchanged(applied, file):
        raise MigrationError(
            f"`{file.name}` is not what was applied at {applied.applied_at}:"
            f" `{applied.name}` had the checksum {applied.checksum}, `{file.name}` has {file.checksum}",
            hint=_HINT_CHANGED if file.name == applied.name else _HINT_OTHER_FILE,
        )


def _read_migration(path: Path) -> Migration:
    number = _NAME.fullmatch(path.name)
    if number is None:
        raise MigrationError(
            f"`{path.name}` is not named as a migration",
            hint="name it `NNN_what.sql`, for example `031_pricing.sql`, or move it out of the folder",
        )
    text = _read_text(path)
    is_one_transaction = _read_directive(path.name, text)
    if is_one_transaction:
        _check_transaction(path.name, text)
    return Migration(
        number=int(number[1]),
        name=path.name,
        text=text,
        checksum=hashlib.sha256(text.encode()).hexdigest(),
        is_one_transaction=is_one_transaction,
    )


def _read_directive(name: str, text: str) -> bool:
    """Return whether the file is one transaction.

    Raises MigrationError for a directive that is unknown or misplaced.
    """
    match = _DIRECTIVE.search(text)
    if match is None:
        return True
    if match[0].rstrip() != _NO_TRANSACTION or match.start() != 0:
        line = text.count("\n", 0, match.start()) + 1
        raise MigrationError(
            f"{name}:{line}: `{match[0].rstrip()}` is not understood here",
            hint=f"the one directive is `{_NO_TRANSACTION}`, as the first line of the file",
        )
    return False


def blank_opaque(text: str) -> str:
    """Return the text with blanks in place of comments, strings and bodies, so that offsets stay the same."""
    return _OPAQUE.sub(lambda opaque: re.sub(r"[^\n]", " ", opaque[0]), text)


def _read_text(path: Path) -> str:
    r"""Read the text with `\n` as line end, so that a checkout with other line ends has the same checksum."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise MigrationError(
            f"`{path.name}` is not UTF-8 text (byte {error.start})", hint="save it as UTF-8"
        ) from error


def _check_transaction(name: str, text: str) -> None:
    """Raise MigrationError for a COMMIT or the like: it would keep half of a failed migration and release the lock."""
    plain = blank_opaque(text)
    if match := _ENDS_TRANSACTION.search(plain):
        line = plain.count("\n", 0, match.start(1)) + 1
        raise MigrationError(
            f"{name}:{line}: `{match[1]}` in a migration: each file is run in one transaction already",
            hint="take it out",
        )
