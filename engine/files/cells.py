"""Extract step results that are plain dictionaries, list their rows, and fold the rows by key; without Arrow.

A column of a spec never begins with a capital letter; `Element` and `Complete` do, so they are no spec's columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from engine.plan import Plan
from engine.rows.document import Run, build_from_payload
from engine.rows.extract import Extraction, build_unreadable, extract_rows
from engine.rows.fold import Contributor, FoldedRow, UnitFold
from engine.rows.outcomes import ExtractionOutcome
from engine.rows.steps import Step
from engine.rows.units import Unit, build_unit
from engine.spec.enums import OnAbsent
from engine.values import exact_json

Cells = dict[str, Any]

#: The outcome of step results that the spec does not count: of another operation, unfinished, or with nothing found.
NOT_FOUND: Final = "not_found"
#: With `on_absent: delete`, the `Element` of an extra row: its step result replaces all rows of its parent key.
PARENT_ELEMENT: Final = -1
#: The columns of a step result that are copied to its output.
LEADING: Final = ("id", "org_id", "submission_id", "pipeline_run_id", "recorded_at")
#: The source columns of a row, each with the column of the step result that gives its value.
SOURCES: Final = {
    "source_submission_id": "submission_id",
    "source_pipeline_run_id": "pipeline_run_id",
    "source_step_result_id": "id",
    "source_recorded_at": "recorded_at",
}
_EARLIEST: Final = datetime(1, 1, 1, tzinfo=UTC)
_NOTHING: Final = Extraction(ExtractionOutcome.FILTERED, elements=0)


def extract_cells(plan: Plan, result: Mapping[str, Any]) -> Cells:
    """Return the output of one step result: its outcome, reasons and rows. One that cannot be read is rejected."""
    extraction, outcome = _extract_result(plan, result)
    elements = extraction.indices or (0,) * len(extraction.rows)
    return {
        **{name: result[name] for name in LEADING},
        "spec": plan.name,
        "spec_digest": plan.digest,
        "outcome": outcome,
        "elements": extraction.elements,
        "duplicates": extraction.duplicates,
        "refused": extraction.refused,
        "reasons": exact_json.dumps([reason.as_dict() for reason in extraction.reasons]).decode(),
        "rows": [
            {"Element": element, **_write_row(plan, row)}
            for element, row in zip(elements, extraction.rows, strict=True)
        ],
        "parent": None if extraction.parent is None else _write_row(plan, extraction.parent),
    }


def _extract_result(plan: Plan, result: Mapping[str, Any]) -> tuple[Extraction, str]:
    if result["status"] not in (None, "succeeded") or result["output_payload"] is None:
        return _NOTHING, NOT_FOUND
    try:
        run = Run(
            org_id=result["org_id"],
            company_id=result["company_id"],
            submission_id=result["submission_id"],
            pipeline_run_id=result["pipeline_run_id"],
            step_position=result["step_position"],
        )
        payload, step_input = (_load_document(result[name]) for name in ("output_payload", "input_payload"))
        document = build_from_payload(payload, run, step_input)
        operation = document["operation"]
        if operation["status"] != "found" or plan.find_mapping(operation["id"]) is None:
            return _NOTHING, NOT_FOUND
        extraction = extract_rows(plan, operation["id"], document)
    except Exception as error:  # one step result must never keep the others of its batch from being extracted
        extraction = build_unreadable(plan.mappings[0], error)
    return extraction, extraction.outcome.value


def _load_document(text: str | None) -> Any:
    """Parse a JSON document to the values that Postgres would return for it."""
    return None if text is None else exact_json.convert_to_stored(exact_json.loads(text))


def _write_row(plan: Plan, row: Mapping[str, Any]) -> Cells:
    """Return the values of a row for a file, in which an exact number is written as its digits."""
    cells = {column.name: row.get(column.name) for column in plan.fields}
    return {name: format(value, "f") if isinstance(value, Decimal) else value for name, value in cells.items()}


def _read_row(plan: Plan, cells: Mapping[str, Any]) -> Cells:
    """Return the values of a row from a file, in which exact numbers are digits; the reverse of `_write_row`."""
    values = {column.name: cells[column.name] for column in plan.fields}
    exact = [name for name, value in values.items() if value is not None and plan.field(name).type.name == "numeric"]
    return values | {name: Decimal(values[name]) for name in exact}


def list_rows(outputs: Iterable[Mapping[str, Any]]) -> Iterator[Cells]:
    """Yield the rows in outputs of `extract_cells`, each with its source columns and the index of its element."""
    for output in outputs:
        source = {name: output[column] for name, column in SOURCES.items()}
        source |= {"org_id": output["org_id"], "Complete": output["refused"] == 0}
        if output["parent"] is not None:
            yield {**output["parent"], **source, "Element": PARENT_ELEMENT}
        yield from ({**row, **source} for row in output["rows"])


def fold_cells(plan: Plan, rows: Iterable[Mapping[str, Any]]) -> Iterator[Cells]:
    """Yield one row per key, as a backfill of all these rows would store it."""
    folds: dict[Unit, UnitFold] = {}
    for unit, contributor in _list_contributors(plan, rows):
        folds.setdefault(unit, UnitFold(plan, unit)).contributors.append(contributor)
    for fold in folds.values():
        fold.sort_contributors()
        yield from (_write_folded_row(plan, row) for row in fold.fold_rows())


def _write_folded_row(plan: Plan, row: FoldedRow) -> Cells:
    step = row.newest.extracted
    return {
        "org_id": step.org_id or None,
        **_write_row(plan, row.values),
        "source_submission_id": step.submission_id,
        "source_pipeline_run_id": step.pipeline_run_id,
        "source_step_result_id": step.id or None,
        "source_recorded_at": None if step.recorded_at == _EARLIEST else step.recorded_at,
    }


def _list_contributors(plan: Plan, rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Unit, Contributor]]:
    """Yield each step result with each unit (rows that are computed together) to which it gives rows."""
    groups: dict[tuple[Unit, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        unit = build_unit(plan, row["org_id"] or "", _read_row(plan, row))
        groups.setdefault((unit, row["source_step_result_id"] or ""), []).append(row)
    for (unit, step_id), group in groups.items():
        extraction = _build_extraction(plan, group)
        step = Step(
            id=step_id,
            org_id=unit.org_id,
            submission_id=group[0]["source_submission_id"],
            pipeline_run_id=group[0]["source_pipeline_run_id"],
            recorded_at=group[0]["source_recorded_at"] or _EARLIEST,
            version="",
            extraction=extraction,
        )
        yield unit, Contributor(step_id, step.recorded_at, step, range(len(extraction.rows)))


def _build_extraction(plan: Plan, group: Sequence[Mapping[str, Any]]) -> Extraction:
    """Build the extraction of one step result from its rows in a file; any refused elements count as one."""
    rows = tuple(_read_row(plan, row) for row in group if row["Element"] != PARENT_ELEMENT)
    return Extraction(
        ExtractionOutcome.ROW,
        rows=rows,
        elements=len(rows) + (not group[0]["Complete"]),
        parent=_read_row(plan, group[0]) if plan.on_absent is OnAbsent.DELETE else None,
    )
