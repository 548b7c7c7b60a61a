"""Extract rows from step results that lie in files, as Arrow tables: what Ray Data, Dask and Spark call on a batch.

    extractor = Extractor("company_intel_briefings")  # pickles: the specs travel as text
    output = extractor(table)  # one row per step result: outcome, reasons, rows
    found = newest(extractor.spec, rows(extractor.spec, output))  # as Postgres stores the rows

The input has the columns of `schema`; all but `output_payload` may be missing. Counting `outcome`
gives the account of the spec.

`pyarrow` is an optional part of the installation: importing this raises ArrowMissing without it.
"""

from __future__ import annotations

from typing import Any

from engine.files.cells import fold_cells, list_rows
from engine.files.extractor import Extractor, compile_once
from engine.files.schemas import INPUT, arrow, build_newest_schema, build_rows_schema
from engine.plan import Plan
from engine.plans import find_plan, read_texts
from engine.project import find_project

__all__ = ["Extractor", "newest", "rows", "schema"]


def schema(spec: str) -> Any:
    """Return the Arrow schema of the step results that `Extractor` takes, which `dex export-steps` writes.

    It is the same for every spec. Raises UnknownSpec when the project has no such spec.
    """
    _find_plan(spec)
    return INPUT


def rows(spec: str, output: Any) -> Any:
    """Return the extracted rows of an `Extractor` output as a table, one row each, with their step result and position.

    With `on_absent: delete` there is also a row with `Element` -1 for each step result that replaces all rows of its
    parent key (the part of the key that does not come from the row's element).
    """
    return arrow.Table.from_pylist(list(list_rows(output.to_pylist())), schema=build_rows_schema(_find_plan(spec)))


def newest(spec: str, table: Any) -> Any:
    """Return one row per key from the table of `rows`, as a backfill would store it.

    The newest step result wins; a column with `on_missing: keep` keeps an older value; with `on_absent: delete`, rows
    that the newest step result does not have are left out. All rows of a key have to be in one table: partition by
    `org_id`, which is part of every key.
    """
    plan = _find_plan(spec)
    return arrow.Table.from_pylist(list(fold_cells(plan, table.to_pylist())), schema=build_newest_schema(plan))


def _find_plan(spec: str) -> Plan:
    return find_plan(compile_once(read_texts(find_project())), spec)
