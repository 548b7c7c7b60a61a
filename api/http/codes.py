"""Every error code of the API, with its HTTP status, its meaning and what to do about it.

`docs/errors.md` is generated from this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple


class HttpCode(NamedTuple):
    """The HTTP status of a code, and its documentation: what it means and what to do about it."""

    status: int
    meaning: str
    advice: str


HTTP_CODES: Final[Mapping[str, HttpCode]] = {
    "repair_failed": HttpCode(
        200,
        "In `persistence_error` of a run that has ended: its missing rows could not be written and are pending.",
        "Fix the table, then `dex reconcile`.",
    ),
    "invalid_request": HttpCode(400, "The request is not HTTP.", "Send HTTP/1.1."),
    "invalid_cursor": HttpCode(
        400, "The cursor belongs to another query.", "Send the cursor of the page before, unchanged."
    ),
    "invalid_header": HttpCode(400, "A header is not a UUID.", "Send the id as it is in the database."),
    "org_id_required": HttpCode(400, "A super-admin's request names no organisation.", "Name it in `org_id`."),
    "missing_token": HttpCode(401, "There is no `Authorization: Bearer`.", "Send a key or a token."),
    "invalid_internal_key": HttpCode(401, "The key is not the internal one.", "Send the value of `INTERNAL_API_KEY`."),
    "missing_organisation": HttpCode(
        401,
        "The internal key came without `x-internal-org-id`.",
        "Send the organisation's UUID.",
    ),
    "invalid_token": HttpCode(
        401, "The token is unknown, forged, or lacks a claim.", "Check that the whole of it was sent."
    ),
    "invalid_token_type": HttpCode(401, "The JWT is not one of a session.", "Sign in as a tenant."),
    "tenant_required": HttpCode(
        401,
        "A super-admin's key or JWT came where only a tenant is answered, such as `/mcp` and `/api/v1/submissions`.",
        "Send a token of the organisation.",
    ),
    "expired_token": HttpCode(401, "The token has expired.", "Sign in again, or make a new token."),
    "inactive_user": HttpCode(
        401, "The user of the session or token is not active.", "Use the credentials of another user."
    ),
    "revoked_token": HttpCode(401, "The API token has been revoked.", "Make a new token."),
    "inactive_super_admin": HttpCode(
        401, "The super-admin does not exist or is not active.", "Activate it, or use other credentials."
    ),
    "foreign_source": HttpCode(
        403,
        "A source submission or run belongs to another organisation, or does not exist.",
        "Send one of the organisation in `x-internal-org-id`.",
    ),
    "other_organisation": HttpCode(
        403, "The row or the body's `org_id` is another organisation's.", "Leave `org_id` out."
    ),
    "may_not_spend": HttpCode(
        403, "The caller's role may not start paid work.", "Use a token of an `org_admin` or a `company_admin`."
    ),
    "other_company": HttpCode(403, "The body's `company_id` is another company's.", "Leave `company_id` out."),
    "not_found": HttpCode(
        404, "There is no such run, step result, order, submission or operation.", "Check the id and the organisation."
    ),
    "unknown_organisation": HttpCode(404, "There is no such organisation.", "Check the organisation's id."),
    "unknown_route": HttpCode(404, "There is no such path.", "`GET /openapi.json` lists every route."),
    "method_not_allowed": HttpCode(405, "The path takes another method.", "Use one of those in the `Allow` header."),
    "request_timeout": HttpCode(
        408, "Headers or body did not end in time; the connection is closed.", "Send the request at once."
    ),
    "conflict": HttpCode(409, "A value is taken by another row.", "Write another, or change that row."),
    "lost_lease": HttpCode(
        409,
        "Another runner has the lease of the run, or it was canceled.",
        "Stop executing it; recorded steps are kept.",
    ),
    "no_trigger": HttpCode(409, "`TRIGGER_SECRET_KEY` is not set.", "Set it, or let a local runner work."),
    "provider_run_id_taken": HttpCode(409, "The order has another run id of the provider already.", "Use that run id."),
    "order_conflict": HttpCode(
        409, "The status of the order does not allow the request.", "`GET /api/v1/orders` shows its status."
    ),
    "body_too_large": HttpCode(413, "The body is over the limit.", "Send less, or raise `DATA_ENGINE_MAX_BODY_BYTES`."),
    "unsupported_encoding": HttpCode(
        415, "The body is compressed in a way other than gzip.", "Send it as gzip, or without `content-encoding`."
    ),
    "not_acceptable": HttpCode(406, "The `Accept` header names no format of an export.", "Name one the hint lists."),
    "export_unavailable": HttpCode(
        501, "The server lacks the library that writes the format.", "Install the part the hint names."
    ),
    "mcp_unavailable": HttpCode(501, "The server lacks the library for agents.", "Install the part the hint names."),
    "invalid_gzip": HttpCode(422, "The body is no gzip, or cut off.", "Compress it again, or send it as it is."),
    "not_json": HttpCode(422, "The body is empty, not UTF-8, or not JSON.", "Send a JSON object."),
    "too_deep": HttpCode(422, "Arrays and objects are nested too deeply.", "Nest fewer."),
    "unknown_field": HttpCode(
        422, "The body or the query string names a field the endpoint does not know.", "Take one the hint names."
    ),
    "invalid_body": HttpCode(
        422, "A value is missing, sent twice, out of range or of the wrong type.", "See `detail`."
    ),
    "out_of_range": HttpCode(
        422, "A number or a list is beyond its range.", "Send one within it; the sentence says which."
    ),
    "unknown_column": HttpCode(
        422, "`fields` or `order` names a column that is not there for it.", "Take one the sentence names."
    ),
    "answer_too_large": HttpCode(
        422, "An agent's answer exceeds `max_bytes`, even shortened.", "Request less, or raise `max_bytes`."
    ),
    "blank_filter": HttpCode(422, "A filter or `q` is blank.", "Send a value, or leave it out."),
    "null_filter": HttpCode(
        422, "A filter is null.", 'Leave it out for every row; `{"is": null}` asks for the rows without a value.'
    ),
    "unknown_operator": HttpCode(
        422, "A filter has an operator that its column does not take.", "Take one that the sentence names."
    ),
    "unstorable_text": HttpCode(
        422, "The body contains NUL or half a surrogate pair.", "Remove it, or send U+FFFD instead."
    ),
    "too_many_requests": HttpCode(
        429, "More requests came from one address than it may send.", "Ask again after `Retry-After`."
    ),
    "too_many_failures": HttpCode(
        429, "Too many unknown API tokens came from one address.", "Ask again after `Retry-After`, with a good token."
    ),
    "headers_too_large": HttpCode(
        431, "Request line and headers are over the limit.", "Send what is large in the body."
    ),
    "unknown_operation": HttpCode(
        422, "No spec says how an operation is executed.", "Take one the hint names, or write its `research`."
    ),
    "invalid_step_config": HttpCode(422, "A key or value of `step_config` is unknown.", "See the hint."),
    "idempotency_key_reused": HttpCode(
        422, "The `Idempotency-Key` was sent before with another body.", "Send the same body, or another key."
    ),
    "too_many_queued_steps": HttpCode(
        429,
        "The organisation would have too many queued steps.",
        "Wait, send fewer, or raise `DATA_ENGINE_MAX_QUEUED_STEPS`.",
    ),
    "internal_error": HttpCode(
        500, "An unexpected error on the server.", "The log has the reason, under the request id."
    ),
    "database_refused": HttpCode(500, "The database refuses the statement.", "The log names the reason."),
    "table_misfit": HttpCode(
        503, "The table does not fit its spec; other specs are served.", "`GET /readyz` names what is missing."
    ),
    "not_ready": HttpCode(
        503,
        "`/readyz`: the database does not answer, a migration is pending, or no spec fits its table.",
        "Each entry of `detail` has the SQL or the command that corrects it.",
    ),
    "database_busy": HttpCode(
        503,
        "It was not done in time; the hint says whether the transaction was rolled back, or whether that is not known.",
        "Ask again after `Retry-After`; repeating is safe, for a submission with the same `Idempotency-Key`.",
    ),
    "database_full": HttpCode(
        503, "The disk of the database is full; the transaction was rolled back.", "Free disk space, then try again."
    ),
    "database_read_only": HttpCode(
        503, "The database is read-only, such as a standby; nothing was changed.", "Ask again after `Retry-After`."
    ),
    "pooler_loses_statements": HttpCode(
        503,
        "A connection pooler loses prepared statements, and was not detected.",
        "Add `?prepare_threshold=0` to `DATABASE_URL`.",
    ),
    "too_many_connections": HttpCode(503, "All allowed connections have a running request.", "Ask again in a moment."),
    "database_unavailable": HttpCode(
        503,
        "The database does not answer. If the connection was lost, it is not known whether a write was kept.",
        "Ask again after `Retry-After`; repeating is safe, for a submission with the same `Idempotency-Key`.",
    ),
}

#: The status of codes not listed above, which are reasons for rejecting a value (`Reason` of `engine.rows.extract`).
_REJECTED: Final = 422


def find_status(code: str) -> int:
    """Return the HTTP status of a code."""
    return HTTP_CODES[code].status if code in HTTP_CODES else _REJECTED
