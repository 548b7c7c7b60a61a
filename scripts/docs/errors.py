"""Everything that can be said to be wrong -> `docs/errors.md`.

In: the tables of codes, each in its own room of the engine. Out: one page. Examples are made by the engine itself when
the page is written. It must not know any spec.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from engine.generate.docs.markdown import block, code, page, table
from engine.plan import Plan
from engine.rows.extract import REASONS, Reason
from engine.spec.diagnostics import CODES
from engine.tables.compare import PROBLEMS
from scripts.docs import error_examples

FILE: Final = "docs/errors.md"

#: Code of an HTTP answer -> (status, what it means, what to do). The codes under "rows" are answered with 422 as well.
HTTP: Final[Mapping[str, tuple[int, str, str]]] = {
    "repair_failed": (
        200,
        "`persistence_error` of a run that has ended: what it found is pending.",
        "Mend the table, then `dex reconcile`.",
    ),
    "invalid_cursor": (400, "The cursor was made for another query.", "Send the one of the page before, unchanged."),
    "invalid_header": (400, "A header holds no UUID.", "Send the id as it stands in the database."),
    "org_id_required": (400, "A super-admin's query names no organisation.", "Name it in the body's `org_id`."),
    "missing_token": (401, "There is no `Authorization: Bearer`.", "Send a key or a token."),
    "invalid_internal_key": (401, "The key is not the internal one.", "Send the value of `INTERNAL_API_KEY`."),
    "missing_organisation": (
        401,
        "The internal key came without `x-internal-org-id`.",
        "Send the organisation's UUID.",
    ),
    "invalid_token": (401, "The token is unknown, forged, or lacks a claim.", "Check that the whole of it was sent."),
    "invalid_token_type": (401, "The JWT is not one of a session.", "Sign in as a tenant."),
    "expired_token": (401, "The token has expired.", "Sign in again, or make a new token."),
    "revoked_token": (401, "The API token has been revoked.", "Make a new token."),
    "inactive_super_admin": (401, "The super-admin is not active.", "Activate it, or ask as somebody else."),
    "foreign_source": (
        403,
        "A source submission or run belongs to another organisation, or does not exist.",
        "Send one of the organisation in `x-internal-org-id`.",
    ),
    "other_organisation": (403, "The row or the body's `org_id` is another organisation's.", "Leave `org_id` out."),
    "other_company": (403, "The body's `company_id` is another company's.", "Leave `company_id` out."),
    "not_found": (404, "There is no such run, step result or submission.", "Check the id and the organisation."),
    "unknown_organisation": (404, "There is no such organisation.", "Check the organisation's id."),
    "unknown_route": (404, "There is no such path.", "`GET /openapi.json` lists every route."),
    "method_not_allowed": (405, "The path takes another method.", "Use one of those in the `Allow` header."),
    "conflict": (409, "A value is taken by another row.", "Write another, or change that row."),
    "lost_lease": (409, "Another runner holds the run.", "Stop working on it; what is recorded stays."),
    "no_trigger": (409, "`TRIGGER_SECRET_KEY` is not set.", "Set it, or let a local runner work."),
    "provider_run_id_taken": (409, "The step holds another research already.", "Resume that one."),
    "provider_already_requested": (
        409,
        "Research for the step was requested before, and its answer may be lost.",
        "Resume by `provider_run_id`; a second request is paid a second time.",
    ),
    "body_too_large": (413, "The body is over the limit.", "Send less, or raise `DATA_ENGINE_MAX_BODY_BYTES`."),
    "unsupported_encoding": (415, "The body is compressed.", "Send it without `content-encoding`."),
    "not_json": (422, "The body is empty, not UTF-8, or not JSON.", "Send a JSON object."),
    "too_deep": (422, "Arrays and objects are nested too deeply.", "Nest fewer."),
    "unknown_field": (422, "The body names a field the endpoint does not know.", "Take one the hint names."),
    "invalid_body": (422, "A value of the body is out of range or of the wrong type.", "See `detail`."),
    "out_of_range": (422, "`limit` or `offset` is beyond its range.", "Send a whole number within it."),
    "unknown_column": (422, "`fields` names a column the table does not have.", "Take one the sentence names."),
    "blank_filter": (422, "A filter is blank.", "Send a value, or leave the filter out."),
    "unstorable_text": (422, "The body holds NUL or half a surrogate pair.", "Remove it, or send U+FFFD instead."),
    "internal_error": (500, "Something went wrong on our side.", "The log has the reason under the request id."),
    "database_refused": (500, "The database refuses the statement.", "The log names the reason."),
    "table_misfit": (500, "The table does not fit its spec.", "`GET /readyz` names what is missing."),
    "not_ready": (
        503,
        "`/readyz`: the database does not answer, a migration is pending, or a spec does not fit its table.",
        "Each entry of `detail` names the SQL or the command that mends it.",
    ),
    "database_busy": (503, "The database could not do it now; nothing was changed.", "Ask again after `Retry-After`."),
    "database_unavailable": (
        503,
        "The database does not answer; nothing was changed.",
        "Ask again after `Retry-After`.",
    ),
}

#: What to do about each reason.
_ADVICE: Final[Mapping[str, str]] = {
    "missing_required": "Give the path another alternative (`a || b`), or drop `required`.",
    "path_failed": "Ask for the type first: `type(output.name) == 'string' && length(output.name)`.",
    "not_normalized": "Put a normalizer before it, or take another; `dex extract --explain` shows each step.",
    "wrong_type": "Add a normalizer that makes such a value of it, or change the column's type.",
    "guard": "Nothing, when it is meant; else mend `when`.",
    "no_elements": "Nothing: there was no row to write.",
    "not_an_array": 'Mend `rows`; a single object becomes one row by `rows: "[output.thing]"`.',
    "unknown_operation": "Name the operation under `operations`, or extract with the spec that has it.",
    "refused_by_database": "The message is the database's own: a constraint, a key too long for its index.",
    "absent_deleted": "Nothing: `on_absent: delete` asks for it.",
    "absent_kept": "Mend what rejected them; a result whose elements all become rows removes what is gone.",
    "not_found": "Nothing: the research found nothing, and nothing is stored.",
}

_INTRO: Final = (
    "Every failure says what was found, where, what was expected and what to do. A program looks at the code; a code"
    " keeps its meaning, and one that is retired stays listed. `dex` ends with 0 when all is fine, 1 when it found"
    " something wrong, 2 when it was called in a wrong way."
)


def emit(plans: Sequence[Plan] = ()) -> dict[str, str]:
    """Return the page by path. It is the same whatever the plans."""
    text = page(
        "the tables of codes in engine/",
        "# Errors",
        _INTRO,
        "## Specs",
        "What `dex check` says, as `file:line:column: CODE message` with a hint below; a whole folder at once.",
        *map(_spec_section, CODES),
        "## Tables",
        "What `dex check --database` and `/readyz` say of a live table; each comes with the SQL that mends it.",
        table(("code", "what", "meaning"), [(code(name), *words) for name, words in PROBLEMS.items()]),
        "## Rows",
        "Why a step result, an element or a value gave no row: in `dex extract`, in the ledger, in `backfill`'s"
        " reasons, and as `code` of the upsert endpoint's 422.",
        *map(_reason_section, REASONS),
        "## HTTP",
        'The body is `{"error": "<sentence>", "code": "...", "detail": [...], "hint": "..."}`; `detail` has an entry'
        " for each thing that is wrong.",
        table(("status", "code", "meaning", "what to do"), _http_rows()),
        maker="written by `make generate`",
    )
    return {FILE: text}


def _spec_section(name: str) -> str:
    title, meaning, advice = CODES[name]
    parts = [f"### {name}: {title}", f"{meaning} {advice}"]
    wrong = error_examples.wrong(name)
    if wrong:
        parts += [block("yaml", wrong.snippet), block("text", str(wrong.said))]
    return "\n\n".join(parts)


def _reason_section(name: str) -> str:
    parts = [f"### `{name}`", f"{REASONS[name][0].upper()}{REASONS[name][1:]}. {_ADVICE.get(name, '')}".rstrip()]
    reason = error_examples.reason(name)
    return "\n\n".join([*parts, block("text", _said(reason))] if reason else parts)


def _said(reason: Reason) -> str:
    found = f", found {reason.value}" if reason.value is not None else ""
    return f"{reason.field or 'the step result'}: {reason.message}{found} ({reason.code})"


def _http_rows() -> list[tuple[str, str, str, str]]:
    return [(str(status), code(name), meaning, advice) for name, (status, meaning, advice) in HTTP.items()]
