"""A sample output -> a draft of its spec, and the case that holds it.

In: an operation's id and, where there is one, a sample of what it gives: a step output, a whole `output_payload`, or a
provider's body. Out: files by path: the spec and its case directory. It must not know the disk. What one sample cannot
tell stands in the spec as `# unsure`; the draft passes the checks, and the sample gives its rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import orjson

from engine import plan as plans
from engine.draft import names
from engine.draft.proposal import Column, Proposal, propose
from engine.errors import EngineError
from engine.plan import Plan
from engine.rows import document, extract, render
from engine.spec import checks, yaml_source
from engine.values.exact_json import ExactFloat, ExactInt, Json, chunks

_CASES: Final = "tests/cases/good"
_HEAD: Final = """\
# yaml-language-server: $schema=spec.schema.json
# Drafted by `dex new` from one sample. A value of another kind than the sample's is rejected; `type: text` with
# `normalize: [text]` takes any scalar. Remove each `# unsure` line once you are sure."""

#: What most research has in common; drafted from where nobody has a sample yet.
_COMMON: Final[dict[str, Json]] = {
    "domain": "example.com",
    "company_name": "Example",
    "parallel_run_id": "trun_1",
    "processor": "pro",
    "parallel_raw_response": {"output": {"content": {"answer": "as the provider gives it"}}},
}


class NotDrafted(EngineError):
    """There is nothing in the sample that could become a row, or the names cannot be used."""


def emit(operation: str, value: Json, *, name: str | None = None) -> dict[str, str]:
    """Return the text of the spec and of its case by path. `name` is that of the spec, default from the operation.

    Raises NotDrafted for a sample without any output.
    """
    whole = _payload(value)
    output = whole.get("output") if whole is not None else value
    if output in (None, "", [], {}):
        raise NotDrafted("the sample holds no output", hint="give a step output, or a whole `output_payload`")
    context = value.get("cumulative_context") if whole is not None and isinstance(value, dict) else {}
    made = propose(operation, names.snake(name or names.table(operation)), output, context)
    if whole is not None and whole.get("operation_id") not in (None, operation):
        made.doubts.append(f"the sample is of the operation `{whole['operation_id']}`")
    return _files(made, value)


def begin(operation: str, *, name: str | None = None) -> dict[str, str]:
    """Return the same without a sample: the fields most research has, to be replaced by the operation's own."""
    made = propose(operation, names.snake(name or names.table(operation)), _COMMON, {})
    made.doubts.append("there was no sample: put the operation's own output into the case, and its fields in here")
    return _files(made, _COMMON)


def _files(made: Proposal, value: Json) -> dict[str, str]:
    text = spec(made)
    return {f"specs/{made.name}.yaml": text, **_case(made, text, value)}


def _payload(value: Json) -> dict[str, Json] | None:
    """The operation's result inside a whole `output_payload`; None when the value is an output alone."""
    result = value.get("operation_result") if isinstance(value, dict) else None
    return result if isinstance(result, dict) else None


def spec(made: Proposal) -> str:
    """Return the text of the spec."""
    title = names.spoken(names.singular(made.name))
    lines = [
        _HEAD,
        *(f"# unsure: {_line(doubt)}" for doubt in made.doubts),
        "spec: 1",
        f"name: {made.name}",
        f"title: {_text(title[:1].upper() + title[1:])}",
        f"description: {_text(_description(made))}",
        f"operations: [{_text(made.operation)}]",
        f"table: {made.name}",
        f"row_name: {names.singular(made.name)}",
        f"conflict: [{', '.join(made.conflict)}]",
        *([f"rows: {_quoted(made.rows)}"] if made.rows else []),
        *([f"when: {_quoted(made.when)}"] if made.when else []),
        "fields:",
        *(line for column in _in_order(made) for line in _field(column)),
    ]
    return "\n".join(lines) + "\n"


def _description(made: Proposal) -> str:
    keys = [names.spoken(name) for name in made.conflict[1:]]
    return f"One row per {' and '.join(filter(None, (', '.join(keys[:-1]), keys[-1])))}."


def _in_order(made: Proposal) -> list[Column]:
    """The key first, as people read a table; the rest as the sample has it."""
    keys = {name: place for place, name in enumerate(made.conflict)}
    return sorted(made.columns, key=lambda column: keys.get(column.name, len(keys)))


def _field(column: Column) -> Iterator[str]:
    yield f"  {column.name}:"
    yield from (f"    # unsure: {_line(doubt)}" for doubt in column.guess.doubts)
    yield f"    type: {_text(column.guess.type)}"
    yield f"    path: {_quoted(column.path)}"
    if column.guess.normalize:
        yield f"    normalize: [{', '.join(column.guess.normalize)}]"
    if column.required:
        yield "    required: true"
    if column.clear:
        yield "    on_missing: clear"
    if column.filter:
        yield "    filter: true"


def _line(text: str) -> str:
    return " ".join(text.split())


def _text(text: str) -> str:
    """A YAML scalar: bare where nothing in it could be read as something else."""
    return text if re.fullmatch(r"[A-Za-z][A-Za-z0-9_.]*( [A-Za-z0-9_.]+)*", text) else _quoted(text)


def _quoted(text: str) -> str:
    return json.dumps(text)


# --- the case -------------------------------------------------------------------------------------------------------


def _case(made: Proposal, text: str, value: Json) -> dict[str, str]:
    """The case directory: the sample, and what the draft makes of it."""
    plan = _compiled(made, text)
    found = document.from_file(value, made.operation)
    extraction = extract.extract(plan, found["operation"]["id"], found)
    folder = f"{_CASES}/{made.name}"
    return {
        f"{folder}/{'step_output' if _payload(value) is None else 'output_payload'}.json": _pretty(value),
        f"{folder}/extraction.json": render.dumps(render.extraction(plan, extraction), indent=True).decode() + "\n",
    }


def _compiled(made: Proposal, text: str) -> Plan:
    checked = checks.check([yaml_source.parse(text, f"specs/{made.name}.yaml")])
    if checked.diagnostics:
        said = "\n".join(map(str, checked.diagnostics))
        raise NotDrafted(f"the draft does not pass the checks:\n{said}", hint="choose another `--name`")
    ((origin, held),) = checked.specs
    return plans.compile(held, origin.file)


def _pretty(value: Json) -> str:
    option = orjson.OPT_INDENT_2 | orjson.OPT_PASSTHROUGH_SUBCLASS
    try:
        return orjson.dumps(value, default=_exact, option=option).decode() + "\n"
    except orjson.JSONEncodeError:  # deeper than orjson goes, or half a surrogate pair, which becomes its escape
        return "".join(chunks(value)).encode("utf-8", "backslashreplace").decode() + "\n"


def _exact(value: Any) -> orjson.Fragment:
    assert isinstance(value, ExactFloat | ExactInt)
    return orjson.Fragment(value.text)
