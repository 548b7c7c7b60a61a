"""Choose the key of a proposed spec: columns that distinguish the sample's rows, so that no two are merged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from engine.draft.columns import Column, Proposal
from engine.draft.sample import Guess

#: By entity, words in the names of columns that identify it, the best first; "" stands for any other entity.
_IDENTITIES: Final = {
    "person": ("linkedin", "email", "full_name", "name"),
    "": ("domain", "email", "linkedin", "name"),
}
_ELEMENT_IDENTITIES: Final = ("domain", "linkedin", "email", "id", "url", "name", "title")


def add_owner_to_key(proposal: Proposal, columns: Sequence[Column]) -> Column | None:
    """Add the column that identifies the owner (the operation's entity) to the key and return it; None without one."""
    words = _IDENTITIES.get(proposal.owner, _IDENTITIES[""])
    own = [column for column in columns if not is_client_column(column) and _is_owners(column, proposal.owner)]
    identity = find_identity(own, words)
    if identity:
        proposal.add_to_key(identity, required=True)
    return identity


def _is_owners(column: Column, owner: str) -> bool:
    """Return whether a column is about the owner itself, not about a part of the result."""
    return column.name.startswith(f"{owner}_") or "_" not in column.name or column.name.endswith("_domain")


def add_run_to_key(proposal: Proposal) -> None:
    """Add a column with the id of the run to the key, so that each run has rows of its own.

    It is for samples in which no column identifies the operation's entity, such as the company.
    """
    doubts = ["nothing in the sample says what makes two results the same, so each run has rows of its own"]
    column = proposal.add_column("pipeline_run", "run.pipeline_run_id", [None], Guess("uuid", doubts=doubts))
    proposal.add_to_key(column, required=False)


def add_element_to_key(proposal: Proposal, columns: Sequence[Column], element_name: str, count: int) -> None:
    """Add columns that identify an element to the key: one, else two together, else a fingerprint of the element."""
    distinct = _find_distinct_columns([column for column in columns if column.may_be_key])
    for column in distinct:
        proposal.add_to_key(column, required=True)
    if distinct and count == 1:
        distinct[-1].guess.doubts.append(
            "part of the key, but the sample has one element, so nothing shows that it tells"
        )
    if not distinct:
        doubts = ["nothing in the sample tells the elements apart: a change of any of their values makes a new row"]
        guess = Guess("text", ("fingerprint",), doubts)
        column = proposal.add_column(f"{element_name}_fingerprint", "item", ["x"], guess)
        proposal.add_to_key(column, required=True)


def add_client_to_key(proposal: Proposal) -> None:
    """Add the client to the key, if the sample has one: research for one client must not overwrite that for another."""
    identity = find_identity([column for column in proposal.columns if is_client_column(column)], ("domain", "name"))
    if identity:
        proposal.add_to_key(identity, required=False)
        identity.guess.doubts.append("part of the key, so that each client has a row of its own; drop it to share one")


def find_identity(columns: Iterable[Column], words: Iterable[str]) -> Column | None:
    """Return the column whose name has the first of `words` that occurs in any column's name; None without one."""
    columns = list(columns)
    for word in words:
        for column in columns:
            if column.may_be_key and f"_{word}_" in f"_{column.name}_":
                return column
    return None


def is_client_column(column: Column) -> bool:
    """Return whether a column's name says that it is about the client for whom the research is done."""
    return column.name.startswith("client_")


def _find_distinct_columns(columns: Sequence[Column]) -> list[Column]:
    """Return one column, or else two, that tell all elements of the sample apart; columns that identify come first."""
    single = find_identity([column for column in columns if column.has_distinct_values], _ELEMENT_IDENTITIES)
    if single:
        return [single]
    named = [column for column in columns if find_identity([column], _ELEMENT_IDENTITIES)]
    others = [column for column in columns if column.guess.type in ("text", "date", "timestamptz", "uuid")]
    for first in named:
        for second in others:
            pairs = set(zip(first.list_stored_values(), second.list_stored_values(), strict=True))
            if first is not second and len(pairs) == len(first.values):
                return [first, second]
    return []
