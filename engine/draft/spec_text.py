"""Build the text of a drafted spec, and of the test case for it.

A draft is made from a sample: a step output, a whole `output_payload`, or a provider's response. Where one sample
cannot tell, the spec has a comment `# unsure`. Every draft passes the checks and extracts rows from its sample.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

from engine.draft import names
from engine.draft.columns import Column, Proposal
from engine.draft.proposal import propose_spec
from engine.errors import EngineError
from engine.plan import Plan
from engine.plans import compile_text
from engine.rows import document, extract, render
from engine.spec.diagnostics import SpecErrors
from engine.values import exact_json
from engine.values.exact_json import Json

_CASES_FOLDER: Final = "tests/cases/good"
_SCHEMA_LINE: Final = "# yaml-language-server: $schema=spec.schema.json"
_HEADS: Final = {
    "sample": """\
# Drafted by `dex new` from one sample. A value of another kind than the sample's is rejected; `type: text` with
# `normalize: [text]` takes any scalar. Remove each `# unsure` line once you are sure.""",
    "nothing": """\
# Drafted by `dex new` without a sample, with the fields that most research has. Remove each `# unsure` line once you
# are sure.""",
    "columns": """\
# Drafted by `dex new` from columns: the whole operation, from the question to the rows. Make the prompt and the
# descriptions your own: they are what the research is asked for.""",
}

#: The sample used when the caller has none: the keys that most research has.
_COMMON_SAMPLE: Final[dict[str, Json]] = {
    "domain": "example.com",
    "company_name": "Example",
    "parallel_run_id": "trun_1",
    "processor": "pro",
    "parallel_raw_response": {"output": {"content": {"answer": "as the provider gives it"}}},
}


class NotDrafted(EngineError):
    """No spec can be drafted: the sample has no output, or a name cannot be used."""


def draft_from_sample(operation: str, value: Json, *, name: str | None = None) -> dict[str, str]:
    """Return the texts of the spec and of its test case by path; `name` defaults to one made from the operation's id.

    Raises NotDrafted when the sample has no output, or the name cannot be used.
    """
    result = _find_operation_result(value)
    output = result.get("output") if result is not None else value
    if output in (None, "", [], {}):
        raise NotDrafted("the sample holds no output", hint="give a step output, or a whole `output_payload`")
    context = value.get("cumulative_context") if result is not None and isinstance(value, dict) else {}
    proposal = propose_spec(operation, names.to_snake_case(name or names.build_table_name(operation)), output, context)
    if result is not None and result.get("operation_id") not in (None, operation):
        proposal.doubts.append(f"the sample is of the operation `{result['operation_id']}`")
    return build_files(proposal, value, "sample")


def draft_without_sample(operation: str, *, name: str | None) -> dict[str, str]:
    """Return the same as `draft_from_sample`, with the fields that most research has as a start.

    Raises NotDrafted when the name cannot be used.
    """
    proposal = propose_spec(
        operation, names.to_snake_case(name or names.build_table_name(operation)), _COMMON_SAMPLE, {}
    )
    proposal.doubts.append("there was no sample: put the operation's own output into the case, and its fields in here")
    return build_files(proposal, _COMMON_SAMPLE, "nothing")


def build_files(proposal: Proposal, value: Json, origin: str) -> dict[str, str]:
    """Return the texts of a spec and of its test case by path. Raises NotDrafted when the name cannot be used.

    `origin` says what the proposal was made from: `sample`, `columns`, or `nothing`.
    """
    text = build_spec_text(proposal, origin)
    return {f"specs/{proposal.name}.yaml": text, **_build_case(proposal, text, value)}


def _find_operation_result(value: Json) -> dict[str, Json] | None:
    """Return the operation's result inside a whole `output_payload`; None when the value is only an output."""
    result = value.get("operation_result") if isinstance(value, dict) else None
    return result if isinstance(result, dict) else None


def build_spec_text(proposal: Proposal, origin: str) -> str:
    """Return the YAML text of the spec."""
    title = names.to_words(names.to_singular(proposal.name))
    lines = [
        _SCHEMA_LINE,
        _HEADS[origin],
        *(f"# unsure: {_flatten_line(doubt)}" for doubt in proposal.doubts),
        "spec: 1",
        f"name: {proposal.name}",
        f"title: {_format_scalar(title[:1].upper() + title[1:])}",
        f"description: {_format_scalar(_build_description(proposal))}",
        f"operations: [{_format_scalar(proposal.operation)}]",
        *proposal.research,
        f"table: {proposal.name}",
        f"row_name: {names.to_singular(proposal.name)}",
        f"conflict: [{', '.join(proposal.conflict)}]",
        *([f"rows: {_quote_scalar(proposal.rows)}"] if proposal.rows else []),
        *([f"when: {_quote_scalar(proposal.when)}"] if proposal.when else []),
        "fields:",
        *(line for column in _order_columns(proposal) for line in _build_field(column)),
    ]
    return "\n".join(lines) + "\n"


def _build_description(proposal: Proposal) -> str:
    return proposal.description or f"One row per {names.describe_key(proposal.conflict[1:])}."


def _order_columns(proposal: Proposal) -> list[Column]:
    """Return the columns of the key, then the others in the order of the sample."""
    keys = {name: place for place, name in enumerate(proposal.conflict)}
    return sorted(proposal.columns, key=lambda column: keys.get(column.name, len(keys)))


def _build_field(column: Column) -> Iterator[str]:
    yield f"  {column.name}:"
    yield from (f"    # unsure: {_flatten_line(doubt)}" for doubt in column.guess.doubts)
    yield f"    type: {_format_scalar(column.guess.type)}"
    yield f"    path: {_quote_scalar(column.path)}"
    if column.guess.normalize:
        yield f"    normalize: [{', '.join(column.guess.normalize)}]"
    if column.required:
        yield "    required: true"
    if column.clear:
        yield "    on_missing: clear"
    if column.filter:
        yield "    filter: true"
    if column.description:
        yield f"    description: {_format_scalar(column.description)}"


def _flatten_line(text: str) -> str:
    return " ".join(text.split())


def _format_scalar(text: str) -> str:
    """Return a YAML scalar, unquoted where YAML can read it only as this text."""
    return text if re.fullmatch(r"[A-Za-z][A-Za-z0-9_.]*( [A-Za-z0-9_.]+)*", text) else _quote_scalar(text)


def _quote_scalar(text: str) -> str:
    return json.dumps(text)


# --- the case -------------------------------------------------------------------------------------------------------


def _build_case(proposal: Proposal, text: str, value: Json) -> dict[str, str]:
    """Return the files of the case directory: the sample, and the rows that are expected of it."""
    plan = _compile_draft(proposal, text)
    step_document = document.build_from_file(value, proposal.operation)
    extraction = extract.extract_rows(plan, step_document["operation"]["id"], step_document)
    rendered = render.dump_json(render.render_extraction(plan, extraction), indent=True).decode()
    folder = f"{_CASES_FOLDER}/{proposal.name}"
    sample_file = "step_output" if _find_operation_result(value) is None else "output_payload"
    return {f"{folder}/{sample_file}.json": _format_json(value), f"{folder}/extraction.json": f"{rendered}\n"}


def _compile_draft(proposal: Proposal, text: str) -> Plan:
    try:
        return compile_text(text, f"specs/{proposal.name}.yaml")
    except SpecErrors as error:
        hint = "change the columns, or choose another `--name`"
        raise NotDrafted(f"the draft does not pass the checks:\n{error.message}", hint=hint) from error


def _format_json(value: Json) -> str:
    try:
        return exact_json.dumps(value, indent=True).decode() + "\n"
    except exact_json.ExactError:  # what `jsonb` cannot hold, such as half of a surrogate pair, is escaped
        return "".join(exact_json.write_chunks(value)).encode("utf-8", "backslashreplace").decode() + "\n"
