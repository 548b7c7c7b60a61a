"""The columns the engine gives every table, with their types and constraints.

They are defined here, not in `engine/columns.py`, because the spec models need their names and that module imports the
plans, which import the spec models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvidedColumn:
    """A column that every table has and no spec fills."""

    name: str
    type: str  # the name of the type in specs, which is also its name in SQL
    constraint: str = ""  # the SQL that follows the type in CREATE TABLE and ADD COLUMN

    @property
    def has_default(self) -> bool:
        return "DEFAULT" in self.constraint

    @property
    def nullable(self) -> bool:
        return "NOT NULL" not in self.constraint and "PRIMARY KEY" not in self.constraint


#: The provided columns before those of the fields, in the table and in API answers.
LEADING_COLUMNS = (
    ProvidedColumn(name="id", type="uuid", constraint="PRIMARY KEY DEFAULT gen_random_uuid()"),
    ProvidedColumn(name="org_id", type="uuid", constraint="NOT NULL REFERENCES orgs(id) ON DELETE CASCADE"),
)
#: The columns that say where a row comes from: written with the fields, and sent by the caller of an upsert.
_SOURCE_COLUMNS = (
    ProvidedColumn(
        name="source_submission_id", type="uuid", constraint="REFERENCES submissions(id) ON DELETE SET NULL"
    ),
    ProvidedColumn(
        name="source_pipeline_run_id", type="uuid", constraint="REFERENCES pipeline_runs(id) ON DELETE SET NULL"
    ),
    ProvidedColumn(name="source_step_result_id", type="uuid"),  # no foreign key: see migration 027
    ProvidedColumn(name="source_recorded_at", type="timestamptz"),
)
#: The provided columns after those of the fields.
TRAILING_COLUMNS = (
    *_SOURCE_COLUMNS,
    ProvidedColumn(name="created_at", type="timestamptz", constraint="NOT NULL DEFAULT now()"),
    ProvidedColumn(name="updated_at", type="timestamptz", constraint="NOT NULL DEFAULT now()"),
)
#: All provided columns by name, in the order of the table.
PROVIDED_COLUMNS: Mapping[str, ProvidedColumn] = MappingProxyType(
    {column.name: column for column in (*LEADING_COLUMNS, *TRAILING_COLUMNS)}
)
#: The SQL type of each column of SOURCE_COLUMNS by its name.
SOURCE_COLUMNS: Mapping[str, str] = MappingProxyType({column.name: column.type for column in _SOURCE_COLUMNS})
#: The column that stores the words of a row in the table of a spec with `search`; Postgres computes it.
SEARCH_COLUMN = "search_document"
#: The names that no field may have, since the engine gives them to its own columns.
ENGINE_COLUMNS = (*PROVIDED_COLUMNS, SEARCH_COLUMN)
#: The columns of SOURCE_COLUMNS that are ids, in the order of the table.
SOURCE_IDS = tuple(name for name, type_ in SOURCE_COLUMNS.items() if type_ == "uuid")
