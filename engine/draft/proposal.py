"""Propose a spec from one sample output: its columns, its rows and its key.

Whatever one sample cannot tell is noted as a doubt, of the proposal or of a column.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from engine.draft import names, places, provider_bodies, row_keys
from engine.draft.column_names import choose_element_name, choose_owner_name, is_site_key
from engine.draft.columns import PROVENANCE, Column, Proposal
from engine.draft.places import KeyPath, Place
from engine.draft.sample import Guess, is_site
from engine.values.exact_json import Json

_BODY_WORDS: Final = ("raw", "response", "output", "body", "result", "payload")
#: The most columns from outside the elements, and from an element; more are left out, with a doubt.
_MOST_PARENT_COLUMNS: Final = 24
_MOST_COLUMNS: Final = 60


@dataclass(frozen=True, slots=True)
class _Parts:
    """The parts of a sample, which are examined separately: the output, and the documents inside the answer."""

    raw: KeyPath | None
    root: str  # the path of the provider's body
    answer: Place | None  # an answer in prose, not JSON
    contents: tuple[Place, ...]  # objects and arrays of the answer, also those parsed from texts
    skipped: frozenset[str]  # keys of the output under which `contents` lie
    is_body: bool  # whether the output is the provider's body itself


def propose_spec(operation: str, name: str, output: Json, context: Json) -> Proposal:
    """Return a proposal for an operation from one sample: an output and the context beside it."""
    proposal = Proposal(operation, name, output, context)
    parts = _split_sample(proposal)
    main = _find_rows(proposal, parts)
    if main is None:
        _propose_single_row(proposal, parts)
    else:
        _propose_rows(proposal, parts, *main)
    row_keys.add_client_to_key(proposal)
    _add_evidence(proposal, parts)
    proposal.when, doubt = provider_bodies.build_guard(parts.root, proposal.search_output)
    proposal.doubts += [doubt] if doubt else []
    _note_other_arrays(proposal, parts, main)
    return proposal


def _split_sample(proposal: Proposal) -> _Parts:
    output = proposal.output
    raw = places.find_raw_body(output)
    root = places.build_path(("output",), raw or ())
    answer = provider_bodies.find_answer(root, proposal.search_output)
    opened = None if answer is None else places.open_text(answer)
    contents = [provider_bodies.find_content(root, proposal.search_output), opened]
    texts = {key: places.open_text(Place("output", output).enter((key,))) for key in _list_keys(output)}
    contents += texts.values()
    return _Parts(
        raw,
        root,
        None if opened else answer,
        tuple(place for place in contents if place is not None),
        frozenset((*(raw or ()), *(key for key, place in texts.items() if place))),
        raw is None and provider_bodies.is_body(root, proposal.search_output),
    )


def _list_keys(value: Json) -> list[str]:
    return list(value) if isinstance(value, dict) else []


def _find_rows(proposal: Proposal, parts: _Parts) -> tuple[Place, KeyPath] | None:
    """Return the document that consists mainly of one array of objects, with the array's keys; None without one."""
    if not parts.is_body:
        keys = places.find_main_array(proposal.output, parts.skipped)
        if keys is not None:
            return Place("output", proposal.output), keys
    for content in parts.contents:
        keys = places.find_main_array(content.value)
        if keys is not None:
            return content, keys
    return None


def _note_other_arrays(proposal: Proposal, parts: _Parts, main: tuple[Place, KeyPath] | None) -> None:
    roots = [] if parts.is_body else [Place("output", proposal.output)]
    found = []
    for document in [*roots, *parts.contents]:
        for keys, _ in places.walk_arrays(document.value):
            if main is None or (document.path, keys) != (main[0].path, main[1]):
                found.append(document.enter(keys).path)
    for path in list(dict.fromkeys(found))[:3]:
        proposal.doubts.append(f"one row per element of `{path}`? then that is `rows`, and paths begin with `item`")


# --- one row --------------------------------------------------------------------------------------------------------


def _propose_single_row(proposal: Proposal, parts: _Parts) -> None:
    empty: list[str] = []
    left: list[str] = []
    columns: list[Column] = []
    for document in _list_documents(proposal, parts, None):
        for keys, value in _list_named_leaves(document, _list_skipped(parts, document)):
            path = _build_alternatives(document, keys)
            if value is None:
                empty.append(path)
            elif len(columns) >= _MOST_COLUMNS or (_is_provider_key(parts, document, keys)):
                left.append(path)
            else:
                columns.append(_add_owner_column(proposal, keys, path, value))
    proposal.note_left_out(empty, "null in the sample, so nothing tells their type")
    proposal.note_left_out(left, "they are about the answer, or too many")
    if parts.answer:
        doubts = ["the answer in prose; if it is always JSON, say `type: jsonb` and `normalize: [json]`"]
        proposal.add_column("answer", parts.answer.path, [parts.answer.value], Guess("text", doubts=doubts))
    _add_raw_body(proposal, parts)
    if not row_keys.add_owner_to_key(proposal, proposal.columns):
        row_keys.add_run_to_key(proposal)


def _list_documents(proposal: Proposal, parts: _Parts, main: Place | None) -> list[Place]:
    """Return the documents outside of the elements that become columns: the output, then those of the answer.

    For a spec with rows, the only document of the answer is the one that has the array.
    """
    contents = parts.contents if main is None else (main,)
    inner = [content for content in contents if content.path != "output" and isinstance(content.value, dict)]
    return [Place("output", proposal.output), *inner]


def _list_skipped(parts: _Parts, document: Place) -> list[KeyPath]:
    return [(key,) for key in parts.skipped] if document.path == "output" else []


def _is_provider_key(parts: _Parts, document: Place, keys: Sequence[KeyPath]) -> bool:
    """Return whether a key of the output belongs to the provider, because the output is the provider's response."""
    return parts.is_body and document.path == "output" and keys[0][-1] not in PROVENANCE


def _list_named_leaves(document: Place, skipped: Sequence[KeyPath]) -> Iterator[tuple[list[KeyPath], Json]]:
    """Yield the keys to each value inside a document, in order.

    If two keys have the same value and one is a suffix of the other (`domain`, `company_domain`), they are yielded
    together, the shorter first.
    """
    leaves = {keys: values[0] for keys, values in places.list_leaves([document.value], skipped)}
    while leaves:
        keys = next(iter(leaves))
        value = leaves.pop(keys)
        synonyms = [
            other
            for other, theirs in leaves.items()
            if len(other) == len(keys) == 1 and isinstance(value, str) and value and theirs == value
            if other[0].endswith(f"_{keys[0]}") or keys[0].endswith(f"_{other[0]}")
        ]
        for other in synonyms:
            del leaves[other]
        yield sorted([keys, *synonyms], key=lambda each: len(each[-1])), value


def _build_alternatives(document: Place, keys: Sequence[KeyPath]) -> str:
    return " || ".join(document.enter(path).path for path in keys)


def _add_owner_column(proposal: Proposal, keys: Sequence[KeyPath], path: str, value: Json) -> Column:
    """Add a column about the owner, which is the entity of the operation."""
    name = choose_owner_name(proposal.owner, keys)
    prefix, _, last = name.rpartition("_")
    if is_site_key(keys[0]) and proposal.owner != "person" and is_site([value]):
        domain = names.join_words(prefix if last == "website" else proposal.owner, "domain")
        if all(column.name != domain for column in proposal.columns):
            return proposal.add_column(domain, path, [value], Guess("text", ("domain",)))
    return proposal.add_column(name, path, [value])


def _add_raw_body(proposal: Proposal, parts: _Parts) -> None:
    """Add the provider's response as a column: only its `output.content` if it has that, as in other specs."""
    root = parts.root
    has_output = isinstance(proposal.search_output(f"{root}.output"), dict)
    content = proposal.search_output(f"{root}.output.content") if has_output else None
    path = f"{root}.output.content || {root}" if content not in (None, "", [], {}) else root
    is_known = parts.raw or parts.is_body
    doubts = [] if is_known else ["no key looks like the provider's body, so the whole output is kept"]
    words = names.to_snake_case(parts.raw[0]).split("_") if parts.raw else []
    provider = [word for word in words if word not in _BODY_WORDS]
    name = "_".join(("raw", *provider, "output"))
    proposal.add_column(name, path, [proposal.search_output(path)], Guess("jsonb", doubts=doubts)).required = True


def _add_evidence(proposal: Proposal, parts: _Parts) -> None:
    """Add columns for the evidence of the answer: citations, reasoning, confidence."""
    for name, place in provider_bodies.find_evidence(parts.root, proposal.search_output):
        doubts = ["the same for every element: drop it where rows are many"] if proposal.rows else []
        proposal.add_column(name, place.path, [place.value], Guess("jsonb", doubts=doubts), owner="answer")


# --- one row per element --------------------------------------------------------------------------------------------


def _propose_rows(proposal: Proposal, parts: _Parts, document: Place, array_keys: KeyPath) -> None:
    array = document.enter(array_keys)
    proposal.rows = array.path
    elements = array.value if isinstance(array.value, list) else []
    element_name = _name_element(proposal, array_keys)
    parents = _add_parent_columns(proposal, parts, document, array_keys)
    if not row_keys.add_owner_to_key(proposal, parents):
        proposal.doubts.append(
            "nothing around the elements says whose they are, so rows of two results meet by their own key alone"
        )
    columns: list[Column] = []
    empty = []
    for keys, values in list(places.list_leaves(elements))[:_MOST_COLUMNS]:
        if any(value is not None for value in values):
            columns += _add_element_columns(proposal, keys, element_name, values)
        else:
            empty.append(Place("item", None).enter(keys).path)
    proposal.note_left_out(empty, "null in the sample, so nothing tells their type")
    proposal.add_column(f"raw_{element_name}", "item", elements, Guess("jsonb")).required = True
    row_keys.add_element_to_key(proposal, columns, element_name, len(elements))


def _name_element(proposal: Proposal, array_keys: KeyPath) -> str:
    """Return the noun for one element: the singular of the array's key, or of the spec's name for a key like `data`."""
    word = names.to_singular(names.to_snake_case(array_keys[-1])) if array_keys else ""
    return word if word not in ("", *_BODY_WORDS, "item", "data", "value") else names.to_singular(proposal.name)


def _add_element_columns(
    proposal: Proposal, keys: KeyPath, element_name: str, values: Sequence[Json]
) -> Iterator[Column]:
    """Add the column of a value inside the elements; if their web site identifies them, also one of its domain."""
    path = Place("item", None).enter(keys).path
    name = choose_element_name(element_name, keys)
    if is_site_key(keys) and is_site(values):
        domain = names.join_words(name.rpartition("_")[0] or element_name, "domain")
        column = Column(domain, path, Guess("text", ("domain",)), tuple(values))
        if column.has_distinct_values and all(other.name != domain for other in proposal.columns):
            yield proposal.add_column(domain, path, values, column.guess, owner=element_name)
            return
    yield proposal.add_column(name, path, values, owner=element_name)


def _add_parent_columns(proposal: Proposal, parts: _Parts, document: Place, array_keys: KeyPath) -> list[Column]:
    """Add the columns that all elements share: the owner, the client, how the research was done, and other scalars."""
    columns: list[Column] = []
    left = []
    for place in _list_documents(proposal, parts, document):
        skipped = _list_skipped(parts, place) + ([array_keys] if place.path == document.path else [])
        for keys, value in _list_named_leaves(place, [skipped_keys for skipped_keys in skipped if skipped_keys]):
            path = _build_alternatives(place, keys)
            is_plain = isinstance(value, str | bool | int | float) and len(str(value)) <= 300
            if value is None:
                continue
            if not is_plain or len(columns) >= _MOST_PARENT_COLUMNS or _is_provider_key(parts, place, keys):
                left.append(path)
            else:
                columns.append(_add_owner_column(proposal, keys, path, value))
    if not any(column.name.endswith("domain") and not row_keys.is_client_column(column) for column in columns):
        columns += _add_domain_from_context(proposal)
    proposal.note_left_out(left, "they are the same for every element")
    return columns


def _add_domain_from_context(proposal: Proposal) -> Iterator[Column]:
    document = Place("context", proposal.context)
    for keys, value in _list_named_leaves(document, []):
        name = choose_owner_name(proposal.owner, keys)
        if name.endswith("domain") and not name.startswith("client_") and isinstance(value, str):
            yield proposal.add_column(name, _build_alternatives(document, keys), [value])
            return
