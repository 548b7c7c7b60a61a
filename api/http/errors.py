"""Convert every failure to an error response `{"error", "code", "detail", "hint"}`.

Messages of Postgres and tracebacks that reveal internals of the server are logged, and never part of a response.

Fault
├── Unauthorized           the request lacks credentials, or they are wrong
└── InvalidBody            the request's body or query string has one mistake
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from api.http.codes import find_status
from api.http.mistakes import describe_mistakes
from engine.store.errors import DISK_FULL, StoreError, StoreRefused, StoreUnavailable, UnknownOrganisation, is_row_error

log = structlog.get_logger("api")

#: The `Retry-After` header, in seconds, where the endpoint does not give another one.
RETRY_AFTER = 2
#: The statuses of responses that have the header.
_RETRYABLE = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
#: The hint where the end of a transaction was not seen: its commit may have been on the way.
_UNKNOWN_END_HINT = (
    f"it is not known whether a write was kept; try again in {RETRY_AFTER} seconds: repeating is safe, for a submission"
    " with the same `Idempotency-Key`"
)

#: By status of an error that Starlette itself raises: code, message and hint.
FRAMEWORK: Mapping[int, tuple[str, str, str]] = {
    404: ("unknown_route", "there is no `{method} {path}`", "`GET /openapi.json` lists every route"),
    405: ("method_not_allowed", "`{path}` does not take `{method}`", "use one of the methods in the `Allow` header"),
}


class Fault(Exception):
    """A failed request. Its response has `code` and the status that `api.http.codes` gives it.

    `detail` has one entry per mistake; `hint` says what to do.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        hint: str = "",
        detail: Iterable[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = find_status(code) if status is None else status
        self.code = code
        self.message = message
        self.hint = hint
        self.detail = list(detail)
        self.headers = dict(headers or {})
        if self.status in _RETRYABLE:
            self.headers.setdefault("retry-after", str(RETRY_AFTER))


class Unauthorized(Fault):
    """The request lacks credentials, or they are wrong."""

    def __init__(self, code: str, message: str, *, hint: str = "") -> None:
        super().__init__(code, message, hint=hint, headers={"www-authenticate": "Bearer"})


class InvalidBody(Fault):
    """The request's body or query string has one mistake, in the field `field`."""

    def __init__(self, message: str, *, field: str | None = None, hint: str = "", code: str = "invalid_body") -> None:
        hint = hint or "`GET /openapi.json` describes every body"
        super().__init__(code, message, hint=hint, detail=[{"code": code, "field": field, "message": message}])


def build_response(fault: Fault) -> Response:
    """Build the JSON response of a fault."""
    payload = {"error": fault.message, "code": fault.code, "detail": fault.detail, "hint": fault.hint}
    return Response(msgspec.json.encode(payload), fault.status, headers=fault.headers, media_type="application/json")


async def answer_fault(request: Request, error: Exception) -> Response:
    """Build the response to a failed request."""
    assert isinstance(error, Fault)
    return build_response(error)


async def answer_store_error(request: Request, error: Exception) -> Response:
    """Build the response to a database error; remember a full disk for `/readyz`."""
    assert isinstance(error, StoreError)
    if isinstance(error, StoreRefused) and error.sqlstate == DISK_FULL:
        request.app.state.context.readiness.record_full_disk()
    return build_response(build_store_fault(error))


async def answer_disconnect(request: Request, error: Exception) -> Response:
    """Build a response for a client that has disconnected; nobody reads it."""
    return Response(status_code=499)


async def answer_invalid_request(request: Request, error: Exception) -> Response:
    """Build the response to a body or parameters that FastAPI refuses."""
    assert isinstance(error, RequestValidationError)
    return build_response(build_invalid_fault(error.errors()))


def build_invalid_fault(mistakes: Sequence[Mapping[str, Any]]) -> Fault:
    """Return the Fault 422 for pydantic's errors, with an entry in `detail` per field."""
    detail = describe_mistakes(mistakes)
    first = detail[0]
    sentence = f"`{first['field']}`: {first['message']}" if first["field"] else first["message"]
    more = f" (and {len(detail) - 1} more)" if detail[1:] else ""
    hint = "`GET /openapi.json` describes every body and parameter"
    return Fault(first["code"], sentence + more, hint=hint, detail=detail, status=422)


async def answer_framework_error(request: Request, error: Exception) -> Response:
    """Build the response to an error that Starlette raises before an endpoint: an unknown path, a wrong method."""
    assert isinstance(error, HTTPException)
    fallback = (HTTPStatus(error.status_code).phrase.lower().replace(" ", "_"), str(error.detail), "")
    code, sentence, hint = FRAMEWORK.get(error.status_code, fallback)
    if error.status_code == HTTPStatus.NOT_FOUND:
        hint = _name_query_path(request) + hint
    place = {"method": request.method, "path": request.url.path[:200]}
    headers = dict(error.headers or {})
    if headers.get("Allow") == "GET":
        headers["Allow"] = "GET, HEAD"
    fault = Fault(code, sentence.format(**place), hint=hint, headers=headers, status=error.status_code)
    return build_response(fault)


def _name_query_path(request: Request) -> str:
    """Return where the rows of the spec are queried whose name or slug the path has; "" if it has none."""
    words = request.url.path.split("/")
    plan = next((plan for plan in request.app.state.context.plans if plan.name in words or plan.slug in words), None)
    return f"rows of `{plan.name}`: `POST /api/v1/{plan.slug}/query`; " if plan else ""


def build_store_fault(error: StoreError) -> Fault:
    """Convert a database error to a fault.

    503 when Postgres cannot be reached, 404 when the organisation does not exist, otherwise by SQLSTATE.
    """
    if isinstance(error, StoreUnavailable):
        log.error("database unavailable", reason=error.message)
        return Fault("database_unavailable", "the database does not answer", hint=_UNKNOWN_END_HINT)
    if isinstance(error, UnknownOrganisation):
        hint = "check the organisation's id; nothing was changed"
        return Fault("unknown_organisation", error.message, hint=hint)
    assert isinstance(error, StoreRefused)
    for prefix, build_fault in _BY_SQLSTATE:
        if error.sqlstate.startswith(prefix):
            return build_fault(error)
    if is_row_error(error.sqlstate):
        return _build_row_fault(error)
    log.error("database refused", sqlstate=error.sqlstate, reason=error.message)
    return Fault("database_refused", "the database refused the statement", hint="the log names the reason")


def _build_row_fault(error: StoreRefused) -> Fault:
    """Return the fault for values that Postgres rejects, with its message, which is about the caller's own data."""
    hint = "nothing was written; correct the value the sentence is about"
    detail = [{"code": "refused_by_database", "field": error.column, "message": error.message}]
    return Fault("refused_by_database", error.message, hint=hint, detail=detail)


def _build_conflict(error: StoreRefused) -> Fault:
    hint = "nothing was written; the value is taken by another row"
    detail = [{"code": "conflict", "field": error.column, "message": error.message}]
    return Fault("conflict", error.message, hint=hint, detail=detail)


def _build_misfit(error: StoreRefused) -> Fault:
    log.error("table does not fit", sqlstate=error.sqlstate, reason=error.message)
    return build_misfit_fault()


def build_misfit_fault() -> Fault:
    """Return the Fault 503 for a spec that does not fit its table."""
    return Fault("table_misfit", "the table does not fit its spec", hint="`GET /readyz` names what is missing")


def _build_busy(error: StoreRefused) -> Fault:
    """Return the fault for what the database refuses now but may do later: a lock, a deadlock, a slow statement."""
    hint = f"the transaction was rolled back; try again in {RETRY_AFTER} seconds"
    return build_busy_fault(error.message, error.sqlstate, hint)


def build_busy_fault(reason: str, sqlstate: str = "", hint: str = _UNKNOWN_END_HINT) -> Fault:
    """Return the Fault 503 for what was not done in time, such as without a free connection; log `reason`."""
    log.warning("database busy", sqlstate=sqlstate, reason=reason)
    return Fault("database_busy", "the database could not do it now", hint=hint)


def _build_full(error: StoreRefused) -> Fault:
    log.error("database full", sqlstate=error.sqlstate, reason=error.message)
    hint = "the transaction was rolled back; the operator has to make room"
    return Fault("database_full", "the disk of the database is full", hint=hint)


def _build_read_only(error: StoreRefused) -> Fault:
    log.warning("database read only", sqlstate=error.sqlstate, reason=error.message)
    hint = "nothing was changed; queries still work; try this again later"
    return Fault("database_read_only", "the database takes no writes now", hint=hint)


def _build_prepared_lost(error: StoreRefused) -> Fault:
    log.error("prepared statement lost", sqlstate=error.sqlstate, reason=error.message, hint=error.hint)
    return Fault(
        "pooler_loses_statements",
        "a pooler before the database does not keep prepared statements",
        hint="nothing was changed; the operator adds `?prepare_threshold=0` to `DATABASE_URL`",
    )


#: Prefixes of SQLSTATE and the functions that build their faults; the first matching prefix counts.
_BY_SQLSTATE: tuple[tuple[str, Callable[[StoreRefused], Fault]], ...] = (
    ("23505", _build_conflict),
    ("42P05", _build_prepared_lost),
    ("26000", _build_prepared_lost),
    ("53100", _build_full),
    ("40", _build_busy),  # deadlock, serialization
    ("53", _build_busy),  # out of connections or memory
    ("55P03", _build_busy),  # lock not available
    ("57014", _build_busy),  # statement timeout
    ("25006", _build_read_only),  # read-only transaction, as on a standby
    ("25P03", _build_busy),  # idle in a transaction for too long
    ("42", _build_misfit),  # no such table or column, no privilege on it
)


async def answer_unexpected_error(request: Request, error: Exception) -> Response:
    """Log an unexpected exception with its traceback; build a response 500 with nothing but the request id."""
    request_id = request.scope.get("state", {}).get("request_id", "")
    log.error("unhandled", request_id=request_id, method=request.method, path=request.url.path, exc_info=error)
    return build_response(
        Fault(
            "internal_error",
            "something went wrong on our side",
            hint=f"the log has the reason under request id `{request_id}`",
            detail=[{"code": "internal_error", "request_id": request_id}],
        )
    )
