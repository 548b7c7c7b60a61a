"""Draft a whole operation from the wanted columns: the prompt, the schema of the answer, the rows and a test case."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from engine.draft import names, sample
from engine.draft.columns import Column, Proposal
from engine.draft.places import build_path
from engine.draft.row_keys import find_identity
from engine.draft.sample import Guess
from engine.draft.spec_text import NotDrafted, build_files
from engine.research.providers import PROVIDERS
from engine.spec.checks import suggest_type
from engine.values.column_types import TYPES
from engine.values.exact_json import Json

_PROVIDER: Final = PROVIDERS["parallel"]
_PROCESSOR: Final = "pro"
#: By entity of an operation, the inputs of its research: name, paths, normalizers, and a value for the test case.
_INPUTS: Final = {
    "company": (
        ("company_name", ("company_name",), (), "Acme Robotics"),
        ("company_domain", ("company_domain", "domain"), ("domain",), "acme-robotics.example"),
    ),
    "person": (
        ("person_full_name", ("person_full_name", "full_name"), (), "Ada Example"),
        ("person_linkedin_url", ("person_linkedin_url", "linkedin_url"), ("linkedin_url",), "linkedin.com/in/ada"),
    ),
}
#: Words in names of columns that identify an element, the best first; words of addresses come last.
_IDENTITIES: Final = ("domain", "email", "id", "full_name", "name", "title")
_ADDRESSES: Final = ("linkedin", "url", "website")
#: By column type, two values for the test case; "{}" is replaced by the name of the column.
_VALUES: Final[dict[str, tuple[Json, Json]]] = {
    "text": ("First {}", "Second {}"),
    "jsonb": ({"note": "as the provider gives it"}, {"note": "another"}),
    "boolean": (True, False),
    "integer": (12, 7),
    "bigint": (1200, 70),
    "numeric": (1.5, 2),
    "double precision": (0.75, 0.5),
    "date": ("2026-05-15", "2026-01-31"),
    "timestamptz": ("2026-05-15T18:52:36Z", "2026-01-31T08:00:00Z"),
    "uuid": ("6f1f9a53-39c5-4a9e-8a5e-0d2b7f3f1a11", "0c9d6b1e-5a57-4b0c-9a3c-6e0f6b1c2d22"),
    "text[]": (["one", "two"], ["three"]),
}
#: By normalizer, two values for the test case, which it accepts.
_SPELLINGS: Final[dict[str, tuple[Json, Json]]] = {
    "domain": ("https://www.first.example/", "second.example"),
    "url": ("https://first.example/about", "https://second.example/about"),
    "email": ("ada@first.example", "bob@second.example"),
    "linkedin_url": ("https://www.linkedin.com/in/first/", "linkedin.com/in/second"),
    "phone": ("+14155552671", "+442071838750"),
}


def draft_from_columns(
    operation: str, columns: str, *, name: str | None = None, rows: str | None = None
) -> dict[str, str]:
    """Return the texts of a spec with `research` and of its test case, by path, for columns `name:type,...`.

    If `rows` is given or the operation's last word is a plural, each element of the list of that name gives a row;
    otherwise a step result gives one row. Raises NotDrafted for an unknown column type or an unusable name.
    """
    wanted = _parse_columns(columns)
    name = names.to_snake_case(name or names.build_table_name(operation))
    proposal = Proposal(operation, name, None, {})
    last = names.to_snake_case(operation.rsplit(".", maxsplit=1)[-1])
    array = names.to_snake_case(rows) if rows else (last if names.is_plural(last) else None)
    element = names.to_singular(array or last)
    inputs = _INPUTS.get(
        proposal.owner, ((f"{proposal.owner}_name", (f"{proposal.owner}_name", "name"), (), "Example"),)
    )
    for input_name, _, normalizers, value in inputs:
        proposal.add_column(input_name, f"output.{input_name}", [value], Guess("text", normalizers))
    owner = proposal.columns[-1]
    owner.guess.normalize = owner.guess.normalize or ("trim",)
    proposal.add_to_key(owner, required=True)
    content = build_path(_PROVIDER.content)
    proposal.rows = f"{content}.{array}" if array else None
    known = {input_name for input_name, *_ in inputs}
    wanted = [(column, kind) for column, kind in wanted if column not in known]  # inputs are columns already
    if not wanted:
        raise NotDrafted("every column is an input of the research", hint="name a column for the research to find")
    entity = element if array else proposal.owner
    facts = [_add_fact(proposal, column, kind, "item" if array else content, entity) for column, kind in wanted]
    if array:
        _add_element_key(proposal, facts)
        proposal.description = f"One row per {names.to_words(proposal.owner)} and {names.to_words(element)}."
    _add_provenance(proposal, content, element if array else None)
    proposal.research = list(_build_research(inputs, _build_prompt(proposal, inputs, facts, array)))
    return build_files(proposal, _build_output(inputs, facts, array), "columns")


def _parse_columns(text: str) -> list[tuple[str, str]]:
    """Parse `name:type,...` to pairs of name and type. Raises NotDrafted when a part is not of that form."""
    columns: list[tuple[str, str]] = []
    for part in re.split(r",(?![^(]*\))", text):
        name, _, kind = (word.strip() for word in part.partition(":"))
        if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", name):
            raise NotDrafted(f"`{part.strip()}` is no column", hint="write name:type, such as round_name:text")
        if (kind or "text") not in TYPES:
            raise NotDrafted(f"unknown type `{kind}` of `{name}`", hint=suggest_type(kind))
        if any(name == other for other, _ in columns):
            raise NotDrafted(f"column `{name}` is given twice", hint="keep one of the two")
        columns.append((name, kind or "text"))
    return columns


def _add_fact(proposal: Proposal, name: str, kind: str, root: str, entity: str) -> Column:
    """Add a column that the research has to find, under exactly this name; the checks refuse a name that is taken."""
    guess = Guess(kind, _choose_normalizers(name) if kind == "text" else ())
    spelled = _SPELLINGS.get(guess.normalize[0]) if guess.normalize else None
    values = spelled or tuple(
        value.format(names.to_words(name)) if isinstance(value, str) else value for value in _VALUES[kind]
    )
    column = Column(name, build_path((root,), (name,)), guess, values)
    column.description = f"{names.describe_fact(name, entity)}."
    proposal.columns.append(column)
    return column


def _choose_normalizers(name: str) -> tuple[str, ...]:
    return next((each for word, each in sample.NAME_NORMALIZERS if re.search(rf"(^|_){word}($|_)", name)), ())


def _add_element_key(proposal: Proposal, facts: Sequence[Column]) -> None:
    """Add the column that identifies an element to the key: chosen by its name, else the first text column.

    A name is preferred to an address: research finds the name of an element more often than its page, and a row needs
    all columns of its key.
    """
    texts = [column for column in facts if column.guess.type == "text"]
    identity = find_identity(facts, _IDENTITIES) or find_identity(texts, _ADDRESSES) or next(iter(texts), None)
    if identity:
        if identity.guess.type == "text" and not identity.guess.normalize:
            identity.guess.normalize = ("trim",)
        proposal.add_to_key(identity, required=True)
        return
    guess = Guess("text", ("fingerprint",), ["no column tells the elements apart"])
    proposal.add_to_key(proposal.add_column("fingerprint", "item", ["x"], guess), required=True)


def _add_provenance(proposal: Proposal, content: str, element: str | None) -> None:
    """Add columns for the whole answer, for its basis (the provider's evidence), and for the run at the provider."""
    raw, path = (f"raw_{element}", "item") if element else ("raw_parallel_output", content)
    proposal.add_column(raw, path, [{}], Guess("jsonb")).required = True
    basis = proposal.add_column("basis", f"{content.rpartition('.')[0]}.basis", [[]], Guess("jsonb"))
    basis.description = "Citations, reasoning and confidence for each part of the answer."
    for key in ("parallel_run_id", "processor"):
        proposal.add_column(key, f"output.{key}", ["x"], Guess("text"))


# --- the question -----------------------------------------------------------------------------------------------------


_Inputs = Sequence[tuple[str, tuple[str, ...], tuple[str, ...], str]]


def _build_prompt(proposal: Proposal, inputs: _Inputs, facts: Sequence[Column], array: str | None) -> list[str]:
    owner, subject = names.to_words(proposal.owner), proposal.operation.rsplit(".", maxsplit=1)[-1]
    subject = names.to_words(names.to_snake_case(subject))
    lines = [f"Find out the {subject} of this {owner}.", ""]
    lines += [f"{_build_label(name, proposal.owner)}: {{{{{name}}}}}" for name, *_ in inputs]
    if array:
        element = names.to_words(names.to_singular(array))
        lines += ["", f"Give one entry for each {element}, with:"]
    else:
        lines += ["", "Give:"]
    lines += [f"- `{fact.name}`: {fact.description[:1].lower()}{fact.description[1:].rstrip('.')}" for fact in facts]
    return [*lines, "", "Leave out what no source says; guess nothing."]


def _build_label(name: str, owner: str) -> str:
    label = (
        names.to_words(name.removeprefix(f"{owner}_")).replace("domain", "website").replace("linkedin url", "LinkedIn")
    )
    return f"{label[:1].upper()}{label[1:]}"


def _build_research(inputs: _Inputs, prompt: Sequence[str]) -> Iterator[str]:
    yield "research:"
    yield f"  provider: {_PROVIDER.name}"
    yield f"  processor: {_PROCESSOR}"
    yield "  prompt: |"
    yield from (f"    {line}".rstrip() for line in prompt)
    yield "  inputs:"
    for name, keys, normalizers, _ in inputs:
        paths = ", ".join(f'"context.{key}"' for key in keys)
        path = paths if len(keys) == 1 else f"[{paths}]"
        normalize = f", normalize: [{', '.join(normalizers)}]" if normalizers else ""
        yield f"    {name}: {{path: {path}{normalize}, required: true}}"
    yield "  output_schema: from_fields"


# --- the case ---------------------------------------------------------------------------------------------------------


def _build_output(inputs: _Inputs, facts: Sequence[Column], array: str | None) -> Json:
    """Return an output of the operation with invented values, as the runner would record it."""
    elements: list[Json] = [{column.name: column.values[index] for column in facts} for index in (0, 1)]
    content: Json = {array: elements} if array else elements[0]
    prefixes = [f"{array}.{index}." for index in (0, 1)] if array else [""]
    citation: Json = {"title": "Made up for this case", "url": "https://source.example/", "excerpts": ["An excerpt."]}
    basis: list[Json] = [
        {"field": f"{prefix}{column.name}", "citations": [citation], "reasoning": "Made up.", "confidence": "high"}
        for prefix in prefixes
        for column in facts
    ]
    return {
        **{name: value for name, _, _, value in inputs},
        "parallel_run_id": "trun_made_up",
        "processor": _PROCESSOR,
        "parallel_raw_response": {
            "run": {"run_id": "trun_made_up", "status": "completed", "processor": _PROCESSOR},
            "output": {"type": "json", "content": content, "basis": basis},
        },
    }
