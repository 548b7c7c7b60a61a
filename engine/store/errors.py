"""Driver errors stop here.

In: psycopg's exceptions. Out: StoreError, with the cause attached.

    StoreError
    ├── StoreUnavailable   the server is not there, or went away: nothing is wrong with the request
    └── StoreRefused       the server refuses the statement: SQLSTATE and what it says
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from psycopg import errors
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from engine.errors import EngineError

#: The classes of SQLSTATE that say the server is the trouble: connection, operator intervention, system error.
_UNAVAILABLE = ("08", "57P", "58")
#: The SQLSTATE of a row that names an organisation that does not exist, among others.
FOREIGN_KEY = "23503"
#: The classes that blame a row: a key that comes twice once its column has rounded it, data, a constraint, a trigger, a
#: view's check, a limit of the program, PL/pgSQL.
_OF_ROW = ("21", "22", "23", "27", "44", "54", "P0")
#: A table or column that is not there: the migrations are not current.
_ABSENT = ("42P01", "42703")
_MIGRATE = "run `dex migrate`, then `dex check --database`"


class StoreError(EngineError):
    """Something went wrong at the database."""


class StoreUnavailable(StoreError):
    """The database cannot be reached, or went away in the middle. Nothing of the open transaction was kept."""


class StoreRefused(StoreError):
    """The database refuses: `sqlstate`, `constraint` (its name, where it was one), `column`, `detail`."""

    def __init__(self, error: psycopg.Error) -> None:
        message = error.diag.message_primary or str(error).strip() or type(error).__name__
        hint = _MIGRATE if error.sqlstate in _ABSENT else error.diag.message_hint or ""
        super().__init__(f"the database refuses: {message}", hint=hint)
        self.sqlstate = error.sqlstate or ""
        self.constraint = error.diag.constraint_name
        self.column = error.diag.column_name
        self.detail = error.diag.message_detail or ""


def is_of_row(sqlstate: str | None) -> bool:
    """Whether a row is at fault: sent again, it would be refused again. A code that is not Postgres' is a trigger's.

    The driver's own errors have none.
    """
    return sqlstate is not None and sqlstate != "" and (sqlstate.startswith(_OF_ROW) or not _known(sqlstate))


def _known(sqlstate: str) -> bool:
    try:
        return bool(errors.lookup(sqlstate))
    except KeyError:
        return False


@asynccontextmanager
async def wrap() -> AsyncIterator[None]:
    """Turn psycopg's errors into ours. Raises StoreUnavailable or StoreRefused, the cause attached."""
    try:
        yield
    except psycopg.Error as error:
        raise _ours(error) from error


def _ours(error: psycopg.Error) -> StoreError:
    state = error.sqlstate or ""
    gone = isinstance(error, PoolTimeout | PoolClosed | TooManyRequests)
    if gone or state.startswith(_UNAVAILABLE) or (isinstance(error, psycopg.OperationalError) and not state):
        said = str(error).strip().split("\n", 1)[0]
        return StoreUnavailable(
            f"the database does not answer: {said}",
            hint="start it, or correct `DATABASE_URL`; what was committed is kept, and the command may be run again",
        )
    return StoreRefused(error)
