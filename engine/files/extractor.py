"""The extractor of one spec: it takes a table of step results and returns a table of outputs. It can be pickled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from engine.errors import EngineError
from engine.files.cells import Cells, extract_cells
from engine.files.schemas import INPUT, arrow, build_output_schema
from engine.plan import Plan
from engine.plans import PortableSpec, compile_texts, find_plan, read_texts
from engine.project import find_project


class PayloadMissing(EngineError):
    """A table of step results has no column `output_payload`."""


@dataclass(frozen=True)
class Extractor:
    """Extracts the rows of one spec from tables of step results.

    The spec is one of the project around the working folder, unless `texts` are given. A call returns one row per step
    result: the columns that identify it, `spec`, `spec_digest`, `outcome` (row, filtered, rejected, not_found),
    `elements`, `duplicates`, `refused`, `reasons` (JSON), `rows` (a list of structs), and `parent`. A step result that
    cannot be read is rejected, with the reason. A table without `output_payload` raises PayloadMissing.
    """

    spec: str
    texts: tuple[PortableSpec, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if not self.texts:
            object.__setattr__(self, "texts", read_texts(find_project()))
        _ = self.plan  # an unknown spec raises here, not in a worker

    @property
    def plan(self) -> Plan:
        """The compiled spec; each process compiles it once."""
        return find_plan(compile_once(self.texts), self.spec)

    def __call__(self, table: Any) -> Any:
        plan = self.plan
        outputs = [extract_cells(plan, result) for result in _list_results(table)]
        return arrow.Table.from_pylist(outputs, schema=build_output_schema(plan))


def _list_results(table: Any) -> Iterator[Cells]:
    """Yield the step results of a table; other columns than `output_payload` that it lacks are None.

    Raises PayloadMissing when the table lacks that column: it would look like one in which nothing was found.
    """
    if "output_payload" not in table.column_names:
        raise PayloadMissing(
            "the step results have no column `output_payload`",
            hint="give the column with the payloads this name; `engine.arrow.schema` has all columns",
        )
    known = [name for name in INPUT.names if name in table.column_names]
    for batch in table.select(known).to_batches():
        yield from ({**dict.fromkeys(INPUT.names), **cells} for cells in batch.to_pylist())


@lru_cache(maxsize=8)
def compile_once(texts: tuple[PortableSpec, ...]) -> tuple[Plan, ...]:
    """Return the plans of specs that are given as text; each process compiles them only once."""
    return compile_texts(texts)
