"""Build examples of bodies and answers from a plan's columns, for the pages of the reference and for OpenAPI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from engine.columns import list_columns
from engine.plan import Field, Plan

_TIMESTAMP: Final = "2026-05-15T18:52:36+00:00"
PROVIDED_EXAMPLES: Final[Mapping[str, Any]] = {
    "id": "7d4f0f5e-5b0a-4c43-9a86-1f3c2b9d8e70",
    "org_id": "b0293785-aa7a-4234-8201-cc47305295f8",
    "source_submission_id": "0921f10b-890b-47ab-8ceb-b1986df51cbb",
    "source_pipeline_run_id": "5f0b1c1e-3f0a-4b1e-9f7e-0a6f3b1d2c4e",
    "source_step_result_id": "5b1f2c64-9c0e-4d6f-8a52-3f7a1e0b9d11",
    "source_recorded_at": _TIMESTAMP,
    "created_at": _TIMESTAMP,
    "updated_at": _TIMESTAMP,
}

#: The value that examples show, by column type, or by normalizer of a text column.
_EXAMPLE_BY_TYPE: Final[Mapping[str, Any]] = {
    "jsonb": {"summary": "as the provider wrote it"},
    "boolean": True,
    "integer": 12,
    "bigint": 1200,
    "numeric": 55.6,
    "double precision": 0.87,
    "date": "2026-05-15",
    "timestamptz": _TIMESTAMP,
    "uuid": "3f8e2f0a-6f7c-4d39-8d0d-2a3b1c4d5e6f",
    "text[]": ["one", "two"],
}
_EXAMPLE_BY_NORMALIZER: Final[Mapping[str, str]] = {
    "domain": "acme.com",
    "registrable_domain": "acme.com",
    "linkedin_url": "https://www.linkedin.com/in/ada-lovelace",
    "url": "https://www.acme.com/about",
    "email": "ada@acme.com",
    "phone": "+14155552671",
}


def build_upsert_example(plan: Plan) -> dict[str, Any]:
    """Return an example of an upsert's body."""
    row = {column.name: _choose_example(column) for column in plan.given_fields}
    return {"rows": [row]} if plan.many else row


def build_upsert_answer_example(plan: Plan) -> dict[str, Any]:
    """Return an example of the response to an upsert."""
    row = _build_example_row(plan)
    return {"data": [row] if plan.many else row, "meta": {"outcome": "written"}}


def build_filters_example(plan: Plan) -> dict[str, Any]:
    """Return an example of filters: one of the spec's, if it has any, and one of the provided columns'."""
    filters = {column.name: _choose_filter_example(column) for column in plan.filters[:1]}
    return {**filters, "updated_at": {"gte": "2026-01-01T00:00:00Z"}}


def _choose_filter_example(column: Field) -> Any:
    value = _choose_example(column)
    return {"contains": value[0]} if column.type.name == "text[]" else value


def _build_example_row(plan: Plan) -> dict[str, Any]:
    """Return an example row in the form of API answers, in which the documents come last."""
    values = {**PROVIDED_EXAMPLES, **{column.name: _choose_example(column) for column in plan.fields}}
    names = list_columns(plan)
    documents = [name for name in names if name not in PROVIDED_EXAMPLES and plan.field(name).type.name == "jsonb"]
    return {name: values[name] for name in (*(name for name in names if name not in documents), *documents)}


def _choose_example(column: Field) -> Any:
    for normalizer in reversed(column.normalizers):
        if normalizer.name in _EXAMPLE_BY_NORMALIZER and column.type.name == "text":
            return _EXAMPLE_BY_NORMALIZER[normalizer.name]
    return _EXAMPLE_BY_TYPE.get(column.type.name, f"the {column.name.replace('_', ' ')}")
