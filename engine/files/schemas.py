"""The Arrow schemas of step results and of what is extracted from them. Importing it needs `pyarrow`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from engine.errors import EngineError
from engine.files.cells import LEADING, SOURCES
from engine.plan import Plan


class ArrowMissing(EngineError):
    """A library that reads and writes files is not installed."""

    def __init__(self, library: str = "pyarrow") -> None:
        super().__init__(
            f"files need `{library}`", hint="install the optional part: `pip install data-engine-x[files]`"
        )


try:
    import pyarrow as arrow
    from pyarrow import parquet
except ModuleNotFoundError as error:
    raise ArrowMissing from error

__all__ = [
    "INPUT",
    "ArrowMissing",
    "arrow",
    "build_newest_schema",
    "build_output_schema",
    "build_rows_schema",
    "parquet",
]

_MOMENT: Final = arrow.timestamp("us", tz="UTC")
#: The schema of step results to extract, as `dex export-steps` writes them; the same for every spec.
INPUT: Final = arrow.schema(
    [
        *((name, arrow.string()) for name in ("id", "org_id", "company_id", "submission_id", "pipeline_run_id")),
        ("step_position", arrow.int32()),
        ("status", arrow.string()),
        ("recorded_at", _MOMENT),
        ("input_payload", arrow.large_string()),
        ("output_payload", arrow.large_string()),
    ]
)
_TYPES: Final[Mapping[str, Any]] = {
    "boolean": arrow.bool_(),
    "integer": arrow.int32(),
    "bigint": arrow.int64(),
    "double precision": arrow.float64(),
    "date": arrow.date32(),
    "timestamptz": _MOMENT,
    "text[]": arrow.list_(arrow.string()),
    "jsonb": arrow.large_string(),
}


def build_output_schema(plan: Plan) -> Any:
    """Return the Arrow schema of an extraction's output: one row per step result."""
    row = arrow.struct([("Element", arrow.int32()), *_list_fields(plan)])
    leading = [(name, INPUT.field(name).type) for name in LEADING]
    texts = [(name, arrow.string()) for name in ("spec", "spec_digest", "outcome")]
    counts = [(name, arrow.int32()) for name in ("elements", "duplicates", "refused")]
    nested = [("rows", arrow.list_(row)), ("parent", arrow.struct(_list_fields(plan)))]
    return arrow.schema([*leading, *texts, *counts, ("reasons", arrow.large_string()), *nested])


def build_rows_schema(plan: Plan) -> Any:
    """Return the Arrow schema of the rows in an extraction's output, with the index of each row's element."""
    return arrow.schema([("Element", arrow.int32()), ("Complete", arrow.bool_()), *build_newest_schema(plan)])


def build_newest_schema(plan: Plan) -> Any:
    """Return the Arrow schema of one row per key: the table's columns except `id`, `created_at` and `updated_at`."""
    sources = [(name, INPUT.field(column).type) for name, column in SOURCES.items()]
    return arrow.schema([("org_id", arrow.string()), *_list_fields(plan), *sources])


def _list_fields(plan: Plan) -> list[tuple[str, Any]]:
    """Return the name and Arrow type of each field; `numeric` (unlimited in Postgres) and `uuid` are strings."""
    return [(column.name, _TYPES.get(column.type.name, arrow.string())) for column in plan.fields]
