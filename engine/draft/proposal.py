"""A sample output -> the columns, rows and key a spec for it might have.

In: an operation's id, an output and the context around it. Out: a Proposal, with what one sample cannot tell among its
doubts. It must not know how a spec is written down.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from engine.draft import names, sample
from engine.draft.sample import Guess, Steps
from engine.jmespath.path import compile as compile_path
from engine.values.exact_json import Json

#: Keys of an output that say how the research was done: a newer row takes them over, missing ones included.
_PROVENANCE: Final = ("parallel_run_id", "run_id", "processor", "model")
#: Where providers keep an answer in prose.
_ANSWERS: Final = (
    "output[?type == 'message'].content[] | [?type == 'output_text'].text | [0]",
    "choices[0].message.content",
    "candidates[0].content.parts[?text].text | [0]",
    "outputs[?type == 'text'].text | [-1]",
)
#: What a body says of itself while it is no result yet, or never will be.
_UNFINISHED: Final = ("pending", "queued", "in_progress", "running", "failed", "error", "cancelled", "incomplete")
#: What makes a row the same row, most telling first, by whom the operation is about.
_IDENTITIES: Final = {"person": ("email", "linkedin", "full_name", "name"), "": ("domain", "email", "linkedin", "name")}
_ELEMENT_IDENTITIES: Final = ("domain", "email", "linkedin", "id", "url", "name", "title")
#: Keys that say little without whom they are about.
_OF_OWNER: Final = ("domain", "name", "full_name", "email", "linkedin_url")
_OF_ELEMENT: Final = (*_OF_OWNER, "id", "title", "url", "description", "type", "status")


@dataclass(slots=True)
class Column:
    """One column: where its value comes from, what the sample has there, and what to make of it."""

    name: str
    path: str
    guess: Guess
    values: tuple[Json, ...]
    required: bool = False
    filter: bool = False
    clear: bool = False

    @property
    def tells(self) -> bool:
        """Whether it may be part of a key: a scalar that is never missing in the sample."""
        return self.guess.type not in ("jsonb", "text[]") and all(map(self.guess.takes, self.values))

    @property
    def distinct(self) -> bool:
        return len({str(value).strip().lower() for value in self.values}) == len(self.values)


@dataclass(slots=True)
class Proposal:
    """What a spec might say, as far as the sample tells."""

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
        """Whom the operation is about: `company`, `person`."""
        return names.owner(self.operation)

    def add(self, name: str, path: str, values: Iterable[Json], guess: Guess | None = None, owner: str = "") -> Column:
        """Add a column; one that the engine keeps for itself gets the owner's name in front."""
        free = names.column(name, owner or "provider", [column.name for column in self.columns])
        told = tuple(values)
        made = Column(free, path, guess or sample.guess(free, told), told, clear=free in _PROVENANCE)
        self.columns.append(made)
        return made

    def key(self, made: Column, *, required: bool) -> None:
        """Make a column part of the key."""
        self.conflict.append(made.name)
        made.filter, made.required, made.clear = True, required, False

    def find(self, path: str) -> Json:
        """What the sample has at a path that begins with `output`."""
        found: Json = compile_path(path).search({"output": self.output})
        return found


def propose(operation: str, name: str, output: Json, context: Json) -> Proposal:
    """Return the proposal for one sample."""
    made = Proposal(operation, name, output, context)
    raw = sample.raw_body(output)
    root = sample.path(("output", *(raw or ())))
    answer = next((path for path in _ANSWERS if isinstance(made.find(f"{root}.{path}"), str)), None)
    steps = None if answer and not raw else sample.main_array(output, raw)
    if steps is None:
        _propose_one(made, raw, root, answer)
    else:
        _propose_many(made, raw, steps)
    _key_by_client(made)
    _guard(made, root)
    for other in sample.other_arrays(output, steps)[:3]:
        path = sample.path(("output", *other))
        made.doubts.append(f"one row per element of `{path}`? then that is `rows`, and paths begin with `item`")
    return made


# --- one row --------------------------------------------------------------------------------------------------------


def _propose_one(made: Proposal, raw: Steps | None, root: str, answer: str | None) -> None:
    empty = []
    for keys, value in _merged(made.output, set(raw or ())):
        if value is None:
            empty.append(sample.path(("output", keys[-1])))
        else:
            made.add(_named(made.owner, keys), _alternatives("output", keys), [value])
    _leave_out(made, empty, "null in the sample, so nothing tells their type")
    if answer:
        doubts = ["the answer in prose; if it is always JSON, say `type: jsonb` and `normalize: [json]`"]
        path = f"{root}.{answer}"
        made.add("answer", path, [made.find(path)], Guess("text", doubts=doubts))
    _add_raw(made, raw, root)
    identities = _IDENTITIES.get(made.owner, _IDENTITIES[""])
    found = _identity([column for column in made.columns if not _is_client(column)], identities)
    if found:
        made.key(found, required=True)
    else:
        _key_by_run(made)


def _leave_out(made: Proposal, paths: Sequence[str], why: str) -> None:
    if paths:
        made.doubts.append(f"left out, {why}: {', '.join(f'`{path}`' for path in paths[:20])}")


def _merged(output: Json, aside: set[str]) -> Iterator[tuple[list[str], Json]]:
    """The keys of an object in order, a short and a long name of one thing (`domain`, `company_domain`) as one."""
    if not isinstance(output, dict):
        return
    left = [key for key in output if key not in aside]
    while left:
        key = left.pop(0)
        value = output[key]
        alike = [other for other in left if isinstance(value, str) and value and output[other] == value]
        same = [other for other in alike if other.endswith(f"_{key}") or key.endswith(f"_{other}")]
        left = [other for other in left if other not in same]
        yield sorted([key, *same], key=len), value


def _named(owner: str, keys: Sequence[str]) -> str:
    """The column for some keys: the one that names the owner, else the owner before a word that needs it."""
    named = [key for key in keys if names.snake(key).startswith(f"{owner}_")]
    if named:
        return named[0]
    return f"{owner}_{keys[0]}" if names.snake(keys[0]) in _OF_OWNER else keys[-1]


def _alternatives(root: str, keys: Iterable[str]) -> str:
    return " || ".join(sample.path((root, key)) for key in keys)


def _add_raw(made: Proposal, raw: Steps | None, root: str) -> None:
    """The provider's body: its content where it has one, as the other specs do, else the whole."""
    content = made.find(f"{root}.output.content") if isinstance(made.find(f"{root}.output"), dict) else None
    path = f"{root}.output.content || {root}" if content not in (None, "", [], {}) else root
    doubts = [] if raw else ["no key looks like the provider's body, so the whole output is kept"]
    provider = "_".join(word for word in names.snake(raw[0]).split("_") if word not in _BODY_WORDS) if raw else ""
    name = "_".join(filter(None, ("raw", provider, "output")))
    made.add(name, path, [made.find(path)], Guess("jsonb", doubts=doubts)).required = True


_BODY_WORDS: Final = ("raw", "response", "output", "body", "result", "payload")


# --- one row per element --------------------------------------------------------------------------------------------


def _propose_many(made: Proposal, raw: Steps | None, steps: Steps) -> None:
    made.rows = sample.path(("output", *steps))
    found = made.find(made.rows)
    elements = [element for element in found if isinstance(element, dict)] if isinstance(found, list) else []
    parent = _add_parent(made, set(raw or ()) | set(steps[:1]))
    thing = _thing(made, steps)
    keys = dict.fromkeys(key for element in elements for key in element)
    told = [key for key in keys if any(element.get(key) is not None for element in elements)]
    own = [_add_element(made, key, thing, elements) for key in told]
    empty = [sample.path(("item", key)) for key in keys if key not in told]
    _leave_out(made, empty, "null in the sample, so nothing tells their type")
    made.add(f"raw_{thing}", "item", elements, Guess("jsonb")).required = True
    if parent:
        made.key(parent, required=True)
    _key_by_element(made, own)


def _thing(made: Proposal, steps: Steps) -> str:
    """What one element is called."""
    word = names.singular(names.snake(steps[-1])) if steps else ""
    return word if word not in ("", *_BODY_WORDS, "item", "data", "value") else names.singular(made.name)


def _add_element(made: Proposal, key: str, thing: str, elements: Sequence[dict[str, Json]]) -> Column:
    name = f"{thing}_{key}" if names.snake(key) in _OF_ELEMENT else key
    return made.add(name, sample.path(("item", key)), (element.get(key) for element in elements), owner=thing)


def _add_parent(made: Proposal, aside: set[str]) -> Column | None:
    """Add what all elements share: whom they belong to, which is returned, the client, how they were found."""
    parent, left = None, []
    for keys, value in _merged(made.output, aside):
        name = names.snake(_named(made.owner, keys))
        if parent is None and name.endswith("domain") and not name.startswith("client_"):
            parent = made.add(name, _alternatives("output", keys), [value])
        elif name in _PROVENANCE or name.startswith("client_") or name == f"{made.owner}_name":
            made.add(name, _alternatives("output", keys), [value])
        else:
            left.append(sample.path(("output", keys[-1])))
    parent = parent or _from_context(made)
    _leave_out(made, left, "they are the same for every element")
    if parent is None or not parent.tells:
        made.doubts.append(
            "neither output nor context has a domain, so rows of two results meet by their own key alone"
        )
        return None
    return parent


def _from_context(made: Proposal) -> Column | None:
    for keys, value in _merged(made.context, set()):
        name = names.snake(_named(made.owner, keys))
        if name.endswith("domain") and not name.startswith("client_") and isinstance(value, str):
            return made.add(name, _alternatives("context", keys), [value])
    return None


def _key_by_element(made: Proposal, own: Sequence[Column]) -> None:
    told = [column for column in own if column.tells]
    found = _identity([column for column in told if column.distinct], _ELEMENT_IDENTITIES)
    if found is None and (found := _identity(told, _ELEMENT_IDENTITIES)):
        found.guess.doubts.append("part of the key, but two elements of the sample share a value: the last one wins")
    if found:
        made.key(found, required=True)
        return
    made.doubts.append("nothing tells the elements apart, so all of them are one row: add a column to `conflict`")
    if len(made.conflict) == 1:
        _key_by_run(made)


# --- the key, the guard ---------------------------------------------------------------------------------------------


def _identity(columns: Sequence[Column], telling: Iterable[str]) -> Column | None:
    """The column whose name holds the most telling word."""
    for word in telling:
        for column in columns:
            if column.tells and f"_{word}_" in f"_{column.name}_":
                return column
    return None


def _is_client(column: Column) -> bool:
    return column.name.startswith("client_")


def _key_by_client(made: Proposal) -> None:
    """The same research through another client's eyes is another row."""
    found = _identity([column for column in made.columns if _is_client(column)], ("domain", "name"))
    if found:
        made.key(found, required=False)
        found.guess.doubts.append("part of the key, so that each client has a row of its own; drop it to share one")


def _key_by_run(made: Proposal) -> None:
    doubts = ["nothing in the sample says what makes two results the same, so each run has rows of its own"]
    made.key(made.add("pipeline_run", "run.pipeline_run_id", [None], Guess("uuid", doubts=doubts)), required=False)


def _guard(made: Proposal, root: str) -> None:
    """A body that says of itself how far it is: only a completed one is a result."""
    status = made.find(f"{root}.status")
    if status == "completed":
        made.when = f"{root}.status == 'completed'"
    elif isinstance(status, str) and status.lower() in _UNFINISHED:
        made.doubts.append(f"the sample's status is `{status}`: draft from a completed one, and add a guard `when`")
