"""A proposal for a spec from one sample output: its columns, its rows and its key.

What one sample cannot tell is listed among the doubts of the proposal or of a column.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from engine.draft import names, sample
from engine.draft.sample import Guess, KeyPath
from engine.jmespath.path import compile_path
from engine.values.exact_json import Json

#: Keys of an output that say how the research was done: a newer result overwrites them, with NULL if need be.
_PROVENANCE: Final = ("parallel_run_id", "run_id", "processor", "model")
#: Paths under which providers keep an answer in prose.
_ANSWER_PATHS: Final = (
    "output[?type == 'message'].content[] | [?type == 'output_text'].text | [0]",
    "choices[0].message.content",
    "candidates[0].content.parts[?text].text | [0]",
    "outputs[?type == 'text'].text | [-1]",
)
#: Values of a body's `status` while it is no result yet, or when it never will be one.
_UNFINISHED_STATUSES: Final = (
    "pending",
    "queued",
    "in_progress",
    "running",
    "failed",
    "error",
    "cancelled",
    "incomplete",
)
#: Entity an operation is about -> words of columns that identify it, the best first; "" is any other entity.
_IDENTITIES: Final = {"person": ("email", "linkedin", "full_name", "name"), "": ("domain", "email", "linkedin", "name")}
_ELEMENT_IDENTITIES: Final = ("domain", "email", "linkedin", "id", "url", "name", "title")
#: Keys that need the name of their owner, or of the element, as a prefix to be understood in a table.
_KEYS_NEEDING_OWNER: Final = ("domain", "name", "full_name", "email", "linkedin_url")
_KEYS_NEEDING_ELEMENT: Final = (*_KEYS_NEEDING_OWNER, "id", "title", "url", "description", "type", "status")


@dataclass(slots=True)
class Column:
    """A column of the proposal: the path of its value, the values of the sample there, the type guessed from them."""

    name: str
    path: str
    guess: Guess
    values: tuple[Json, ...]
    required: bool = False
    filter: bool = False
    clear: bool = False

    @property
    def may_be_key(self) -> bool:
        """Whether the column may be part of a key: a scalar that is never missing in the sample."""
        return self.guess.type not in ("jsonb", "text[]") and all(map(self.guess.accepts_value, self.values))

    @property
    def has_distinct_values(self) -> bool:
        """Whether no two elements of the sample share a value, apart from case and surrounding blanks."""
        return len(set(map(_fold_text, self.values))) == len(self.values)


def _fold_text(value: Json) -> str:
    return str(value).strip().lower()


@dataclass(slots=True)
class Proposal:
    """The parts of a spec, as far as the sample tells."""

    operation: str
    name: str
    output: Json
    context: Json
    rows: str | None = None
    when: str | None = None
    conflict: list[str] = field(default_factory=lambda: ["org_id"])
    columns: list[Column] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)

    @property
    def owner(self) -> str:
        """The entity the operation is about: `company`, `person`."""
        return names.extract_owner(self.operation)

    def add_column(
        self, name: str, path: str, values: Iterable[Json], guess: Guess | None = None, owner: str = ""
    ) -> Column:
        """Add a column, under a free name, and return it; without `guess`, the values tell its type."""
        name = names.choose_column_name(name, owner or "provider", [column.name for column in self.columns])
        values = tuple(values)
        column = Column(name, path, guess or sample.guess_column(name, values), values, clear=name in _PROVENANCE)
        self.columns.append(column)
        return column

    def add_to_key(self, column: Column, *, required: bool) -> None:
        """Make a column part of the key, and a filter."""
        self.conflict.append(column.name)
        column.filter, column.required, column.clear = True, required, False

    def search_output(self, path: str) -> Json:
        """Return the sample's value at a path that begins with `output`."""
        value: Json = compile_path(path).search({"output": self.output})
        return value


def propose_spec(operation: str, name: str, output: Json, context: Json) -> Proposal:
    """Return the proposal for an operation from one sample of its output and the context around it."""
    proposal = Proposal(operation, name, output, context)
    raw = sample.find_raw_body(output)
    root = sample.build_path(("output", *(raw or ())))
    answer = next((path for path in _ANSWER_PATHS if isinstance(proposal.search_output(f"{root}.{path}"), str)), None)
    array_keys = None if answer and not raw else sample.find_main_array(output, raw)
    if array_keys is None:
        _propose_single_row(proposal, raw, root, answer)
    else:
        _propose_rows(proposal, raw, array_keys)
    _add_client_to_key(proposal)
    _propose_guard(proposal, root)
    for other in sample.find_other_arrays(output, array_keys)[:3]:
        path = sample.build_path(("output", *other))
        proposal.doubts.append(f"one row per element of `{path}`? then that is `rows`, and paths begin with `item`")
    return proposal


# --- one row --------------------------------------------------------------------------------------------------------


def _propose_single_row(proposal: Proposal, raw: KeyPath | None, root: str, answer: str | None) -> None:
    empty = []
    for keys, value in _merge_synonyms(proposal.output, set(raw or ())):
        if value is None:
            empty.append(sample.build_path(("output", keys[-1])))
        else:
            proposal.add_column(_choose_key(proposal.owner, keys), _build_alternatives("output", keys), [value])
    _note_left_out(proposal, empty, "null in the sample, so nothing tells their type")
    if answer:
        doubts = ["the answer in prose; if it is always JSON, say `type: jsonb` and `normalize: [json]`"]
        path = f"{root}.{answer}"
        proposal.add_column("answer", path, [proposal.search_output(path)], Guess("text", doubts=doubts))
    _add_raw_body(proposal, raw, root)
    identities = _IDENTITIES.get(proposal.owner, _IDENTITIES[""])
    found = _find_identity([column for column in proposal.columns if not _is_client_column(column)], identities)
    if found:
        proposal.add_to_key(found, required=True)
    else:
        _add_run_to_key(proposal)


def _note_left_out(proposal: Proposal, paths: Sequence[str], why: str) -> None:
    if paths:
        proposal.doubts.append(f"left out, {why}: {', '.join(f'`{path}`' for path in paths[:20])}")


def _merge_synonyms(output: Json, skipped: set[str]) -> Iterator[tuple[list[str], Json]]:
    """Yield the keys of an object with their value, in order.

    Keys that are a short and a long name of one value (`domain`, `company_domain`) come together, the shortest first.
    """
    if not isinstance(output, dict):
        return
    left = [key for key in output if key not in skipped]
    while left:
        key = left.pop(0)
        value = output[key]
        equal = [other for other in left if isinstance(value, str) and value and output[other] == value]
        synonyms = [other for other in equal if other.endswith(f"_{key}") or key.endswith(f"_{other}")]
        left = [other for other in left if other not in synonyms]
        yield sorted([key, *synonyms], key=len), value


def _choose_key(owner: str, keys: Sequence[str]) -> str:
    """Return a column name for synonymous keys, the shortest first.

    That is a key that names the owner; else the shortest after the owner, where it needs that; else the longest.
    """
    prefixed = [key for key in keys if names.to_snake_case(key).startswith(f"{owner}_")]
    if prefixed:
        return prefixed[0]
    return f"{owner}_{keys[0]}" if names.to_snake_case(keys[0]) in _KEYS_NEEDING_OWNER else keys[-1]


def _build_alternatives(root: str, keys: Iterable[str]) -> str:
    return " || ".join(sample.build_path((root, key)) for key in keys)


def _add_raw_body(proposal: Proposal, raw: KeyPath | None, root: str) -> None:
    """Add the provider's body as a column: its `output.content` where there is one, as in the other specs, else all."""
    has_output = isinstance(proposal.search_output(f"{root}.output"), dict)
    content = proposal.search_output(f"{root}.output.content") if has_output else None
    path = f"{root}.output.content || {root}" if content not in (None, "", [], {}) else root
    doubts = [] if raw else ["no key looks like the provider's body, so the whole output is kept"]
    words = names.to_snake_case(raw[0]).split("_") if raw else []
    provider = [word for word in words if word not in _BODY_WORDS]
    name = "_".join(("raw", *provider, "output"))
    proposal.add_column(name, path, [proposal.search_output(path)], Guess("jsonb", doubts=doubts)).required = True


_BODY_WORDS: Final = ("raw", "response", "output", "body", "result", "payload")


# --- one row per element --------------------------------------------------------------------------------------------


def _propose_rows(proposal: Proposal, raw: KeyPath | None, array_keys: KeyPath) -> None:
    proposal.rows = sample.build_path(("output", *array_keys))
    array = proposal.search_output(proposal.rows)
    elements = [element for element in array if isinstance(element, dict)] if isinstance(array, list) else []
    parent = _add_parent_columns(proposal, set(raw or ()) | set(array_keys[:1]))
    element_name = _name_element(proposal, array_keys)
    keys = dict.fromkeys(key for element in elements for key in element)
    present = [key for key in keys if any(element.get(key) is not None for element in elements)]
    columns = [_add_element_column(proposal, key, element_name, elements) for key in present]
    empty = [sample.build_path(("item", key)) for key in keys if key not in present]
    _note_left_out(proposal, empty, "null in the sample, so nothing tells their type")
    proposal.add_column(f"raw_{element_name}", "item", elements, Guess("jsonb")).required = True
    if parent:
        proposal.add_to_key(parent, required=True)
    _add_element_to_key(proposal, columns, element_name, len(elements))


def _name_element(proposal: Proposal, array_keys: KeyPath) -> str:
    """Return the noun for one element: the singular of the array's key, or of the spec's name for a key like `data`."""
    word = names.to_singular(names.to_snake_case(array_keys[-1])) if array_keys else ""
    return word if word not in ("", *_BODY_WORDS, "item", "data", "value") else names.to_singular(proposal.name)


def _add_element_column(proposal: Proposal, key: str, element_name: str, elements: Sequence[dict[str, Json]]) -> Column:
    name = f"{element_name}_{key}" if names.to_snake_case(key) in _KEYS_NEEDING_ELEMENT else key
    return proposal.add_column(
        name, sample.build_path(("item", key)), (element.get(key) for element in elements), owner=element_name
    )


def _add_parent_columns(proposal: Proposal, skipped: set[str]) -> Column | None:
    """Add what all elements share (parent, client, provenance), and return the parent's domain, part of the key."""
    parent, left = None, []
    for keys, value in _merge_synonyms(proposal.output, skipped):
        name = names.to_snake_case(_choose_key(proposal.owner, keys))
        if parent is None and name.endswith("domain") and not name.startswith("client_"):
            parent = proposal.add_column(name, _build_alternatives("output", keys), [value])
        elif name in _PROVENANCE or name.startswith("client_") or name == f"{proposal.owner}_name":
            proposal.add_column(name, _build_alternatives("output", keys), [value])
        else:
            left.append(sample.build_path(("output", keys[-1])))
    parent = parent or _add_domain_from_context(proposal)
    _note_left_out(proposal, left, "they are the same for every element")
    if parent is None or not parent.may_be_key:
        proposal.doubts.append(
            "neither output nor context has a domain, so rows of two results meet by their own key alone"
        )
        return None
    return parent


def _add_domain_from_context(proposal: Proposal) -> Column | None:
    for keys, value in _merge_synonyms(proposal.context, set()):
        name = names.to_snake_case(_choose_key(proposal.owner, keys))
        if name.endswith("domain") and not name.startswith("client_") and isinstance(value, str):
            return proposal.add_column(name, _build_alternatives("context", keys), [value])
    return None


def _add_element_to_key(proposal: Proposal, columns: Sequence[Column], element_name: str, count: int) -> None:
    """Add what tells the elements apart to the key: an identity, two columns together, else a fingerprint of them."""
    candidates = [column for column in columns if column.may_be_key]
    found = _find_distinct_columns(candidates, _ELEMENT_IDENTITIES)
    for column in found:
        proposal.add_to_key(column, required=True)
    if found and count == 1:
        found[-1].guess.doubts.append("part of the key, but the sample has one element, so nothing shows that it tells")
    if not found:
        doubts = ["nothing in the sample tells the elements apart: a change of any of their values makes a new row"]
        column = proposal.add_column(
            f"{element_name}_fingerprint", "item", ["x"], Guess("text", ("fingerprint",), doubts)
        )
        proposal.add_to_key(column, required=True)


def _find_distinct_columns(columns: Sequence[Column], words: Iterable[str]) -> list[Column]:
    """Return the column, or else two, whose values tell all elements of the sample apart, an identity first."""
    words = tuple(words)
    if single := _find_identity([column for column in columns if column.has_distinct_values], words):
        return [single]
    named = [column for column in columns if _find_identity([column], words)]
    others = [column for column in columns if column.guess.type in ("text", "date", "timestamptz", "uuid")]
    for first in named:
        for second in others:
            pairs = {(_fold_text(one), _fold_text(two)) for one, two in zip(first.values, second.values, strict=True)}
            if first is not second and len(pairs) == len(first.values):
                return [first, second]
    return []


# --- the key, the guard ---------------------------------------------------------------------------------------------


def _find_identity(columns: Sequence[Column], words: Iterable[str]) -> Column | None:
    """Return the column whose name holds the first of `words` that any column holds."""
    for word in words:
        for column in columns:
            if column.may_be_key and f"_{word}_" in f"_{column.name}_":
                return column
    return None


def _is_client_column(column: Column) -> bool:
    return column.name.startswith("client_")


def _add_client_to_key(proposal: Proposal) -> None:
    """Add the client to the key, where there is one: each client has research, and so a row, of its own."""
    found = _find_identity([column for column in proposal.columns if _is_client_column(column)], ("domain", "name"))
    if found:
        proposal.add_to_key(found, required=False)
        found.guess.doubts.append("part of the key, so that each client has a row of its own; drop it to share one")


def _add_run_to_key(proposal: Proposal) -> None:
    doubts = ["nothing in the sample says what makes two results the same, so each run has rows of its own"]
    column = proposal.add_column("pipeline_run", "run.pipeline_run_id", [None], Guess("uuid", doubts=doubts))
    proposal.add_to_key(column, required=False)


def _propose_guard(proposal: Proposal, root: str) -> None:
    """Guard a body that has a status: only a completed one is a result."""
    status = proposal.search_output(f"{root}.status")
    if status == "completed":
        proposal.when = f"{root}.status == 'completed'"
    elif isinstance(status, str) and status.lower() in _UNFINISHED_STATUSES:
        proposal.doubts.append(f"the sample's status is `{status}`: draft from a completed one, and add a guard `when`")
