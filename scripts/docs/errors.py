"""Build `docs/errors.md`: every error code of specs, rejections and the API, with examples run by the engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from api.http.codes import HTTP_CODES
from engine.generate.docs.markdown import build_code_block, build_page, build_table, format_code
from engine.rows.extract import REASONS, Reason
from engine.spec.diagnostics import CODES, RETIRED_CODES
from engine.tables.differences import PROBLEMS
from scripts.docs import error_examples

ERRORS_PAGE: Final = "docs/errors.md"


#: By code of a rejection reason: what to do about it.
_ADVICE: Final[Mapping[str, str]] = {
    "missing_required": "Give the path another alternative (`a || b`), or drop `required`.",
    "path_failed": "Ask for the type first: `type(output.name) == 'string' && length(output.name)`.",
    "not_normalized": "Put a normalizer before it, or take another; `dex extract --explain` shows each step.",
    "wrong_type": "Add a normalizer that makes such a value of it, or change the column's type.",
    "guard": "Nothing, when it is meant; else correct `when`.",
    "no_elements": "Nothing: there was no row to write.",
    "not_an_array": 'Mend `rows`; a single object becomes one row by `rows: "[output.thing]"`.',
    "unknown_operation": "Name the operation under `operations`, or extract with the spec that has it.",
    "not_an_object": "Mend `rows`, or the prompt; paths that go into a string or a number give nothing.",
    "invalid_as_missing": "Nothing, when it is meant: the row is stored without the value.",
    "refused_by_database": "The message is the database's own: a constraint, a key too long for its index.",
    "absent_deleted": "Nothing: `on_absent: delete` asks for it.",
    "absent_kept": "Mend what rejected them; a result whose elements all become rows removes what is gone.",
    "not_found": "Nothing: the research found nothing, and nothing is stored.",
    "unreadable": "Correct the step result: its JSON is too deep, or holds a number or character that cannot be read.",
    "duplicate": "Add a column of the element to `conflict` where both elements are meant to be rows.",
    "claim_differs": "The row has the step result's value; if a persist block sent another, deploy the generated one.",
    "future_time": "Correct the clock of the machine that sends it, or the time.",
}

#: By code of a failed step or run: what it means, and what to do about it.
_RUNNER_CODES: Final[Mapping[str, tuple[str, str]]] = {
    "missing_inputs": (
        "A required input has no text at any of its paths, which the message names. Nothing was ordered.",
        "Submit the input under one of these names.",
    ),
    "bad_output": ("A key of the research's `output` cannot be built. Nothing was ordered.", "Mend its path."),
    "unknown_operation": (
        "The runner has no such operation.",
        "`dex generate`, and deploy the tasks; check the operation's id.",
    ),
    "budget_exceeded": (
        "The order would exceed a budget of the organisation. Nothing was ordered.",
        "`dex org budget` raises it; then `dex runs retry`.",
    ),
    "not_bought": ("The provider refused the order.", "The message is the provider's; correct the order, then retry."),
    "no_order": ("There is no order for the step, and none may be placed.", "`dex orders` lists the orders."),
    "order_failed": ("The order ended without an answer.", "`dex runs retry` orders anew."),
    "order_unknown": (
        "Nobody knows whether the provider accepted the order.",
        "Look at the provider, then `dex orders resolve`.",
    ),
    "provider_timeout": (
        "There was no answer that could be read within the time of the step; the order stays open.",
        "`dex orders collect`, or `dex runs retry`, takes the answer.",
    ),
    "provider_unknown": (
        "The provider does not know the order's run, or knows it as that of another order; the order stays open.",
        "With the key of the account that bought it, `dex orders collect`; otherwise `dex orders resolve`.",
    ),
    "provider_failed": ("The provider ended the research without an answer.", "`dex runs retry` orders anew."),
    "provider_cancelled": ("The research was cancelled at the provider.", "`dex runs retry` orders anew."),
    "provider_action_required": (
        "The research goes on only when somebody acts at the provider; the order stays open.",
        "Act there; then `dex orders collect`, or `dex runs retry`, takes the answer.",
    ),
    "not_recorded": (
        "The answer, or the result of the step, cannot be stored.",
        "The message has the reason; `dex runs retry` tries again.",
    ),
    "broken_run": ("The run itself cannot be read, such as one without steps.", "Submit it anew."),
    "set_aside": (
        "The run was started several times, and no runner brought it to an end.",
        "Look at the log of the runner, then `dex runs retry`.",
    ),
    "canceled": ("The run was canceled while the step was executed.", "`dex runs retry` takes it up again."),
    "failed": ("The operation failed without a code of its own.", "The message has the reason."),
}

_INTRO: Final = (
    "Every failure says what was found, where, what was expected and what to do. A program looks at the code; a code"
    " keeps its meaning, and one that is retired stays listed. `dex` ends with 0 when all is fine, 1 when it found"
    " something wrong, 2 when it was called in a wrong way."
)


def build_errors_page() -> str:
    """Return the text of the page."""
    return build_page(
        "the tables of codes in engine/ and api/",
        "# Errors",
        _INTRO,
        "## Specs",
        "What `dex check` says, as `file:line:column: CODE message` with a hint below; a whole folder at once.",
        *map(_build_spec_section, CODES),
        "### Retired",
        build_table(("code", "what it said"), [(format_code(name), text) for name, text in RETIRED_CODES.items()]),
        "## Tables",
        "What `dex check --database` and `/readyz` say of a live table; each comes with the SQL that repairs it.",
        build_table(("code", "what", "meaning"), [(format_code(name), *texts) for name, texts in PROBLEMS.items()]),
        "## Rows",
        "Why a step result, an element or a value gave no row: in `dex extract`, in the ledger, in `backfill`'s"
        " reasons, and as `code` of the upsert endpoint's 422.",
        *map(_build_reason_section, REASONS),
        "## Runs",
        "Why a step or a run failed: as `code` in its `error_details`, with a message in `error_message`, which"
        " `dex runs show` and `GET /api/v1/submissions/{id}` have. Another end at the provider"
        " is `provider_` and its status.",
        build_table(
            ("code", "meaning", "what to do"),
            [(format_code(name), meaning, advice) for name, (meaning, advice) in _RUNNER_CODES.items()],
        ),
        "## HTTP",
        'The body is `{"error": "<sentence>", "code": "...", "detail": [...], "hint": "..."}`; `detail` has an entry'
        " for each thing that is wrong.",
        build_table(("status", "code", "meaning", "what to do"), _list_http_rows()),
        maker="written by `make generate`",
    )


def _build_spec_section(name: str) -> str:
    title, meaning, advice = CODES[name]
    parts = [f"### {name}: {title}", f"{meaning} {advice}"]
    wrong = error_examples.build_wrong_example(name)
    if wrong:
        parts += [build_code_block("yaml", wrong.snippet), build_code_block("text", str(wrong.diagnostic))]
    return "\n\n".join(parts)


def _build_reason_section(name: str) -> str:
    parts = [f"### `{name}`", f"{REASONS[name][0].upper()}{REASONS[name][1:]}. {_ADVICE[name]}"]
    reason = error_examples.build_reason_example(name)
    return "\n\n".join([*parts, build_code_block("text", _format_reason(reason))] if reason else parts)


def _format_reason(reason: Reason) -> str:
    found = f", found {reason.value}" if reason.value is not None else ""
    return f"{reason.field or 'the step result'}: {reason.message}{found} ({reason.code})"


def _list_http_rows() -> list[tuple[str, str, str, str]]:
    return [(str(status), format_code(name), meaning, advice) for name, (status, meaning, advice) in HTTP_CODES.items()]
