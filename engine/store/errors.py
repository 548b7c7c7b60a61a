"""Convert psycopg's exceptions to the engine's, with the original as cause.

    EngineError
    └── StoreError
        ├── StoreUnavailable      the server is or became unreachable: nothing is wrong with the request
        ├── StoreRefused          the server refuses the statement: SQLSTATE and its message
        │   └── RowDiscarded      the insert of a row succeeded, but a trigger or rule dropped the row
        └── UnknownOrganisation   the organisation of the request does not exist

Every function that uses the database may raise StoreUnavailable, and StoreRefused for a missing table or right;
docstrings do not repeat it. The errors carry what the database reported. Their `hint` is for the operator of the
database; the API gives other advice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from psycopg import errors
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from engine.errors import EngineError
from engine.sql.tenant import TENANT_ROLE

#: Classes of SQLSTATE for problems of the server itself: connection, operator intervention, system error.
_UNAVAILABLE = ("08", "57P", "58")
#: The SQLSTATE of a violated foreign key, for example of a row whose organisation does not exist.
FOREIGN_KEY_VIOLATION = "23503"
#: The SQLSTATE of a write on a read-only server, such as a standby.
READ_ONLY = "25006"
#: Classes of SQLSTATE that a row causes: two rows of one statement with the same key after rounding (21), invalid data,
#: a constraint, a trigger, a view's check, a program limit, PL/pgSQL.
_ROW_ERRORS = ("21", "22", "23", "27", "44", "54", "P0")
DISCARDED_MESSAGE = "the database took the row and did not keep it under its key: a trigger, a rule, or a rounded key"
#: A table or column that does not exist: the migrations are not current.
_UNDEFINED = ("42P01", "42703")
_INVALID_PARAMETER = "22023"
#: A conflict target without its unique index, a value of another type, an operator or a function that types lack: the
#: table is not that of the spec. Postgres advises to cast the expression, which is the engine's.
_UNFIT = ("42P10", "42804", "42883")
DISK_FULL = "53100"
#: The SQLSTATE of a statement for which the login lacks a right.
NO_RIGHT = "42501"
LOCK_NOT_AVAILABLE = "55P03"
DEADLOCK = "40P01"
#: A prepared statement exists already or no longer: behind a pooler, clients share the server's connections.
PREPARED_LOST = ("42P05", "26000")
_POOLER_HINT = "a pooler stands before the database: add `?prepare_threshold=0` to `DATABASE_URL`"
_MIGRATE_HINT = (
    "run `dex migrate`; if it has nothing to apply, `dex draft-migration SPEC` writes what the table lacks, and then"
    " `dex migrate` adds it; `dex check --database` names all of it"
)
_REBUILD_HINT = (
    "`dex check --database` names where the table differs from its spec; after a change of the key or of a type,"
    " `dex rebuild SPEC` makes it anew"
)
_RIGHTS_HINT = (
    "where `dex db roles` has made two logins, it is the one of `dex_migrate` that migrates, rebuilds and erases, and"
    " makes organisations, tokens and budgets"
)
_READ_ONLY_HINT = "this server takes no writes, not even temporary tables: ask the primary"
_FULL_POOLER_HINT = (
    "a pooler stands before the database and had no connection free for long: give it as many as the commands that run"
    " at once take (docs/howto/operate.md), or run fewer; what was committed is kept"
)
_START_HINT = "start it, or correct `DATABASE_URL`; what was committed is kept, and the command may be run again"


class StoreError(EngineError):
    """A statement failed at the database."""


class StoreUnavailable(StoreError):
    """The database cannot be reached, or the connection was lost: then it is not known whether a commit succeeded."""


class StoreRefused(StoreError):
    """The database refuses a statement. `column` is the one that Postgres names, if it names one."""

    def __init__(self, error: psycopg.Error) -> None:
        message = error.diag.message_primary or str(error).strip() or type(error).__name__
        hint = _find_hint(error)
        super().__init__(f"the database refuses: {message}", hint=hint)
        self.sqlstate = error.sqlstate or ""
        self.column = error.diag.column_name

    def explain_refusal(self, column: str, reason: str) -> None:
        """Name the column, and give the reason in our words instead of the database's."""
        self.column = column
        self.message = f"the database refuses: {reason}"


def _find_hint(error: psycopg.Error) -> str:
    if error.sqlstate in PREPARED_LOST:
        return _POOLER_HINT
    if error.sqlstate in _UNDEFINED or _is_role_missing(error):
        return _MIGRATE_HINT
    if error.sqlstate in _UNFIT:
        return _REBUILD_HINT
    return error.diag.message_hint or {READ_ONLY: _READ_ONLY_HINT, NO_RIGHT: _RIGHTS_HINT}.get(error.sqlstate or "", "")


def _is_role_missing(error: psycopg.Error) -> bool:
    """Return whether the tenant's role does not exist, which the migrations make; `set role` calls it a wrong value."""
    return error.sqlstate == _INVALID_PARAMETER and TENANT_ROLE in (error.diag.message_primary or "")


class RowDiscarded(StoreRefused):
    """The database reported no error for a row, but did not keep the row under its key."""

    def __init__(self) -> None:
        EngineError.__init__(self, DISCARDED_MESSAGE)
        self.sqlstate = "44000"  # counts as caused by the row, as a violated check option of a view does
        self.column = None


class UnknownOrganisation(StoreError):
    """There is no organisation with the id `org_id`."""

    def __init__(self, org_id: str) -> None:
        super().__init__(f"there is no organisation `{org_id}`", hint="`dex org list` names them")


def is_row_error(sqlstate: str | None) -> bool:
    """Return whether the row caused the error, so that the same row would be refused again.

    A code that Postgres does not define comes from a trigger, so it counts too. The driver's own errors have no code.
    """
    return (
        sqlstate is not None
        and sqlstate != ""
        and (sqlstate.startswith(_ROW_ERRORS) or not _is_known_sqlstate(sqlstate))
    )


def _is_known_sqlstate(sqlstate: str) -> bool:
    try:
        return bool(errors.lookup(sqlstate))
    except KeyError:
        return False


@asynccontextmanager
async def wrap_errors() -> AsyncIterator[None]:
    """Raise StoreUnavailable or StoreRefused in place of psycopg's errors, with the original as cause."""
    try:
        yield
    except psycopg.Error as error:
        raise _convert_error(error) from error


def _convert_error(error: psycopg.Error) -> StoreError:
    if not _is_unavailable(error):
        return StoreRefused(error)
    reason = str(error).strip().split("\n", 1)[0]
    hint = _FULL_POOLER_HINT if "query_wait_timeout" in reason else _START_HINT
    return StoreUnavailable(f"the database does not answer: {reason}", hint=hint)


def _is_unavailable(error: psycopg.Error) -> bool:
    if isinstance(error, PoolTimeout | PoolClosed | TooManyRequests):
        return True
    if not error.sqlstate:
        return isinstance(error, psycopg.OperationalError)
    return error.sqlstate.startswith(_UNAVAILABLE)
