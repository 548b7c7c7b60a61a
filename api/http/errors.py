"""Every failure the API answers, in one shape, from one place.

In: a Fault raised by a route, an error of the store, or anything unforeseen. Out: `{"error", "code", "detail", "hint"}`
with its status. It must not know the routes, and it never shows what the database or a traceback said of our insides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from engine.store.errors import StoreError, StoreRefused, StoreUnavailable, is_of_row

log = structlog.get_logger("api")

#: Seconds a caller is asked to wait when the database does not answer.
RETRY_AFTER = 2

#: Refusals of the framework itself: status -> (code, sentence, hint).
FRAMEWORK: Mapping[int, tuple[str, str, str]] = {
    404: ("unknown_route", "there is no `{method} {path}`", "`GET /openapi.json` lists every route"),
    405: ("method_not_allowed", "`{path}` does not take `{method}`", "use one of the methods in the `Allow` header"),
    413: ("body_too_large", "the body is too large", "send less at once"),
}


class Fault(Exception):
    """A refusal with its status. `detail` holds one entry per thing that is wrong, `hint` says what to do."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        hint: str = "",
        detail: Iterable[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.hint = hint
        self.detail = list(detail)
        self.headers = dict(headers or {})


def invalid(message: str, *, field: str | None = None, hint: str = "", code: str = "invalid_body") -> Fault:
    """Return the 422 for one thing that is wrong with a body."""
    hint = hint or "`GET /openapi.json` describes every body"
    return Fault(422, code, message, hint=hint, detail=[{"code": code, "field": field, "message": message}])


def unknown_organisation() -> Fault:
    """Return the 404 for an organisation that does not exist."""
    hint = "check the organisation's id; nothing was changed"
    return Fault(404, "unknown_organisation", "there is no such organisation", hint=hint)


def answer(fault: Fault) -> Response:
    """Return the response that says `fault`."""
    words = {"error": fault.message, "code": fault.code, "detail": fault.detail, "hint": fault.hint}
    return Response(msgspec.json.encode(words), fault.status, headers=fault.headers, media_type="application/json")


async def answer_framework(request: Request, error: Exception) -> Response:
    """Answer what the framework refuses before any route of ours: no such path, no such method."""
    assert isinstance(error, HTTPException)
    fallback = (HTTPStatus(error.status_code).phrase.lower().replace(" ", "_"), str(error.detail), "")
    code, sentence, hint = FRAMEWORK.get(error.status_code, fallback)
    place = {"method": request.method, "path": request.url.path}
    headers = dict(error.headers or {})
    return answer(Fault(error.status_code, code, sentence.format(**place), hint=hint, headers=headers))


def of_store(error: StoreError) -> Fault:
    """Return the Fault of an error of the store: 503 when the database is away, else what it refused."""
    if isinstance(error, StoreUnavailable):
        log.error("database unavailable", reason=error.message)
        return Fault(
            503,
            "database_unavailable",
            "the database does not answer",
            hint=f"ask again in {RETRY_AFTER} seconds",
            headers={"retry-after": str(RETRY_AFTER)},
        )
    assert isinstance(error, StoreRefused)
    for prefix, told in _REFUSALS:
        if error.sqlstate.startswith(prefix):
            return told(error)
    if is_of_row(error.sqlstate):
        return _row_refused(error)
    log.error("database refused", sqlstate=error.sqlstate, reason=error.message)
    return Fault(500, "database_refused", "the database refused the statement", hint="the log names the reason")


def _row_refused(error: StoreRefused) -> Fault:
    """The values are at fault. What Postgres says of them is about the caller's own data, and is passed on."""
    hint = "nothing was written; mend the value the sentence is about"
    detail = [{"code": "refused_by_database", "field": error.column, "message": error.message}]
    return Fault(422, "refused_by_database", error.message, hint=hint, detail=detail)


def _conflict(error: StoreRefused) -> Fault:
    hint = "nothing was written; the value is taken by another row"
    detail = [{"code": "conflict", "field": error.column, "message": error.message}]
    return Fault(409, "conflict", error.message, hint=hint, detail=detail)


def _misfit(error: StoreRefused) -> Fault:
    log.error("table does not fit", sqlstate=error.sqlstate, reason=error.message)
    return Fault(500, "table_misfit", "the table does not fit its spec", hint="`GET /readyz` names what is missing")


def _busy(error: StoreRefused) -> Fault:
    log.warning("database busy", sqlstate=error.sqlstate, reason=error.message)
    return Fault(
        503,
        "database_busy",
        "the database could not do it now",
        hint=f"nothing was changed; ask again in {RETRY_AFTER} seconds",
        headers={"retry-after": str(RETRY_AFTER)},
    )


#: Classes of SQLSTATE, the more exact ones first.
_REFUSALS: tuple[tuple[str, Callable[[StoreRefused], Fault]], ...] = (
    ("23505", _conflict),
    ("40", _busy),  # deadlock, serialization
    ("53", _busy),  # out of connections, disk, memory
    ("55P03", _busy),  # lock not available
    ("57014", _busy),  # statement timeout
    ("25006", _busy),  # read-only: a standby being promoted
    ("42", _misfit),  # no such table or column, no right to it
)


async def answer_unforeseen(request: Request, error: Exception) -> Response:
    """Answer an exception nobody foresaw: logged whole under the request id, told to nobody."""
    request_id = request.scope.get("state", {}).get("request_id", "")
    log.error("unhandled", request_id=request_id, method=request.method, path=request.url.path, exc_info=error)
    return answer(
        Fault(
            500,
            "internal_error",
            "something went wrong on our side",
            hint=f"the log has the reason under request id `{request_id}`",
            detail=[{"code": "internal_error", "request_id": request_id}],
        )
    )
