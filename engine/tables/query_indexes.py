"""The indexes that serve a plan's query endpoint, and which of them a table lacks.

Each begins with `org_id`, since every query is about one organisation. The columns of the order come last, so that a
deep page costs as much as the first; the column of a filter comes before them. Text has the collation "C", with which
queries compare it (`engine/sql/conditions.py`). Conditions that no index can serve under row level security
(`numeric`, full text, `contains`) have none: they read all rows of the organisation. Nor have orders by the source
columns; these are stored in the index of `updated_at` too, so that all rows are read from it and not from the table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from engine.plan import Plan
from engine.provided_columns import SOURCE_COLUMNS
from engine.tables.catalog import IndexRow, Table
from engine.tables.ddl import build_index, spell_index_columns

_COLLATION: Final = "C"
#: Types whose filters no btree can serve: a filter on an array tests its elements.
_UNSERVED: Final = ("text[]", "jsonb")


@dataclass(frozen=True, slots=True)
class IndexKey:
    """One column of an index; `descending` is None if either direction will do."""

    name: str
    collation: str = ""  # "" means the database's own
    descending: bool | None = None

    @property
    def text(self) -> str:
        """The column as written in CREATE INDEX."""
        collation = f' COLLATE "{self.collation}"' if self.collation else ""
        return f"{self.name}{collation}{' DESC' if self.descending else ''}"


@dataclass(frozen=True, slots=True)
class QueryIndex:
    """An index that serves a query. `purpose` describes the query in messages."""

    suffix: str  # the end of the index's name
    keys: tuple[IndexKey, ...]
    purpose: str
    included: tuple[str, ...] = ()  # the columns that the index stores besides its keys

    @property
    def columns(self) -> str:
        """The columns as written in CREATE INDEX."""
        return spell_index_columns([key.text for key in self.keys], self.included)

    def build_sql(self, table: str) -> str:
        """Return the statement that creates the index."""
        return build_index(table, self.suffix, [key.text for key in self.keys], self.included)


_ORG: Final = IndexKey("org_id")
_NEWEST: Final = (IndexKey("created_at", descending=True), IndexKey("id", descending=True))
_CHANGED: Final = (IndexKey("updated_at", descending=True), IndexKey("id", descending=True))


def list_query_indexes(plan: Plan) -> Iterator[QueryIndex]:
    """Yield the indexes for queries without a filter, for each filter, for `updated_at`, and for the source columns."""
    yield QueryIndex("org", (_ORG, *_NEWEST), "rows newest first")
    for column in plan.filters:
        if column.type.name not in _UNSERVED:
            key = IndexKey(column.name, _COLLATION if column.type.name == "text" else "")
            yield QueryIndex(f"{column.name}_newest", (_ORG, key, *_NEWEST), f"the filter `{column.name}`")
    sources = tuple(SOURCE_COLUMNS)
    yield QueryIndex("changed_with_source", (_ORG, *_CHANGED), "`updated_at` and orders by source columns", sources)
    yield QueryIndex("source_submission", (IndexKey("source_submission_id"),), "the rows of a submission")
    yield QueryIndex("source_run", (IndexKey("source_pipeline_run_id"),), "the rows of a run")


def list_missing_indexes(plan: Plan, table: Table) -> list[QueryIndex]:
    """Return those of `list_query_indexes` that the table lacks; an index that begins with the same columns will do."""
    usable = [index for index in table.indexes if index.valid and not index.partial and not index.has_expressions]
    return [wanted for wanted in list_query_indexes(plan) if not any(_can_serve(index, wanted) for index in usable)]


def _can_serve(index: IndexRow, wanted: QueryIndex) -> bool:
    keys = wanted.keys
    if not {*wanted.included} <= {*index.columns, *index.included}:
        return False
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
    return len(flips) <= 1  # read backwards, an index serves the opposite order
