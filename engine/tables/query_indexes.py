"""The indexes that serve the questions of a plan's query endpoint, and which of them a table lacks.

Each begins with `org_id`, since every question is one organisation's. Behind it stands the order of answers, so that a
deep page costs what the first one costs; in front of that order, for each filter, the filter's column. Text stands
under the collation "C", as queries compare it (`engine/sql/conditions.py`). Nothing is added for what no index can
serve under row level security (numbers of type `numeric`, full text, `contains`): it reads the organisation's rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from engine.plan import Plan
from engine.tables.catalog import IndexRow, Table
from engine.tables.ddl import build_index

_COLLATION: Final = "C"
#: Types of which no b-tree serves a filter: an array is asked for its elements.
_UNSERVED: Final = ("text[]", "jsonb")


@dataclass(frozen=True, slots=True)
class IndexKey:
    """One column of an index. Where the direction is None, either serves."""

    name: str
    collation: str = ""  # "" for the database's own
    descending: bool | None = None

    @property
    def text(self) -> str:
        """The column as CREATE INDEX takes it."""
        collation = f' COLLATE "{self.collation}"' if self.collation else ""
        return f"{self.name}{collation}{' DESC' if self.descending else ''}"


@dataclass(frozen=True, slots=True)
class QueryIndex:
    """An index that a question needs. `purpose` names the question, for messages."""

    suffix: str  # of its name
    keys: tuple[IndexKey, ...]
    purpose: str

    def build_sql(self, table: str) -> str:
        """Return the statement that makes the index."""
        return build_index(table, self.suffix, [key.text for key in self.keys])


_ORG: Final = IndexKey("org_id")
_NEWEST: Final = (IndexKey("created_at", descending=True), IndexKey("id", descending=True))
_CHANGED: Final = (IndexKey("updated_at", descending=True), IndexKey("id", descending=True))


def list_query_indexes(plan: Plan) -> Iterator[QueryIndex]:
    """Yield the indexes of a plan's questions: no filter, one per filter, what changed, and where rows come from."""
    yield QueryIndex("org", (_ORG, *_NEWEST), "rows newest first")
    for column in plan.filters:
        if column.type.name not in _UNSERVED:
            key = IndexKey(column.name, _COLLATION if column.type.name == "text" else "")
            yield QueryIndex(f"{column.name}_newest", (_ORG, key, *_NEWEST), f"the filter `{column.name}`")
    yield QueryIndex("changed", (_ORG, *_CHANGED), "`updated_at`")
    yield QueryIndex("source_submission", (IndexKey("source_submission_id"),), "the rows of a submission")
    yield QueryIndex("source_run", (IndexKey("source_pipeline_run_id"),), "the rows of a run")


def list_missing_indexes(plan: Plan, table: Table) -> list[QueryIndex]:
    """Return the indexes of `list_query_indexes` that no index of the table serves; a longer one serves too."""
    usable = [index for index in table.indexes if index.valid and not index.partial and not index.has_expressions]
    return [wanted for wanted in list_query_indexes(plan) if not any(_serves(index, wanted.keys) for index in usable)]


def _serves(index: IndexRow, keys: Sequence[IndexKey]) -> bool:
    if len(index.columns) < len(keys) or any(
        (name, collation) != (key.name, key.collation)
        for name, collation, key in zip(index.columns, index.collations, keys, strict=False)
    ):
        return False
    flips = {
        descending != key.descending
        for descending, key in zip(index.descending, keys, strict=False)
        if key.descending is not None
    }
    return len(flips) <= 1  # read backward, an index serves the opposite order
