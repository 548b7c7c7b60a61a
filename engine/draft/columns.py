"""The parts of a proposed spec: its columns with the sample's values, its rows, its key, and its doubts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from engine.draft import names, sample
from engine.draft.sample import Guess
from engine.jmespath.path import compile_path
from engine.values.exact_json import Json

#: Keys of an output that say how the research was done. A newer result overwrites their columns, even with NULL.
PROVENANCE: Final = ("parallel_run_id", "run_id", "processor", "model")


@dataclass(slots=True)
class Column:
    """A proposed column: the path of its value, the values that the sample has there, and the guessed type."""

    name: str
    path: str
    guess: Guess
    values: tuple[Json, ...]
    required: bool = False
    filter: bool = False
    clear: bool = False
    description: str = ""

    @property
    def may_be_key(self) -> bool:
        """Whether the column can be part of a key: a scalar that is never missing in the sample."""
        return self.guess.type not in ("jsonb", "text[]") and all(map(self.guess.accepts_value, self.values))

    @property
    def has_distinct_values(self) -> bool:
        """Whether every element of the sample has another value, compared as stored."""
        return len(set(self.list_stored_values())) == len(self.values)

    def list_stored_values(self) -> list[str]:
        """Return the sample's values as they would be stored, in lower case for comparison."""
        return [str(self.guess.convert_value(value)).strip().lower() for value in self.values]


@dataclass(slots=True)
class Proposal:
    """The parts of a spec that is proposed from a sample."""

    operation: str
    name: str
    output: Json
    context: Json
    rows: str | None = None
    when: str | None = None
    description: str = ""  # what a row is; "": derived from the key
    research: list[str] = field(default_factory=list)  # the lines of the `research` block, if there is one
    conflict: list[str] = field(default_factory=lambda: ["org_id"])
    columns: list[Column] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)

    @property
    def owner(self) -> str:
        """The entity that the operation is about, such as `company` or `person`."""
        return names.extract_owner(self.operation)

    def add_column(
        self, name: str, path: str, values: Iterable[Json], guess: Guess | None = None, owner: str = ""
    ) -> Column:
        """Add a column under a free name and return it; without `guess`, its type is guessed from its values."""
        name = names.choose_column_name(name, owner or "provider", [column.name for column in self.columns])
        values = tuple(values)
        column = Column(name, path, guess or sample.guess_column(name, values), values, clear=name in PROVENANCE)
        self.columns.append(column)
        return column

    def add_to_key(self, column: Column, *, required: bool) -> None:
        """Make a column part of the key, and one that queries may filter by."""
        self.conflict.append(column.name)
        column.filter, column.required, column.clear = True, required, False

    def search_output(self, path: str) -> Json:
        """Return the sample's value at a path that begins with `output`."""
        value: Json = compile_path(path).search({"output": self.output})
        return value

    def note_left_out(self, paths: list[str], why: str) -> None:
        """Add a doubt that lists the parts of the sample that became no column, and `why`."""
        if paths:
            more = f" and {len(paths) - 20} more" if len(paths) > 20 else ""
            self.doubts.append(f"left out, {why}: {', '.join(f'`{path}`' for path in paths[:20])}{more}")
