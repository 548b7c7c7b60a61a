"""What a runner or a database holds -> the document paths are evaluated over.

In: a step output, a whole `output_payload`, or parts of one. Out: `{output, context, run, operation}`.
It must not know specs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.values.exact_json import Json, as_stored

#: Where the roots stand inside `step_results.output_payload`.
STORED = {"output": ("operation_result", "output"), "context": ("cumulative_context",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a path may read of the run a step result belongs to."""

    org_id: str | None = None
    submission_id: str | None = None
    pipeline_run_id: str | None = None
    step_position: int | None = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "org_id": self.org_id,
            "submission_id": self.submission_id,
            "pipeline_run_id": self.pipeline_run_id,
            "step_position": self.step_position,
        }


def build(output: Json, context: Json, run: Run, operation: str | None, status: str | None = "found") -> dict[str, Any]:
    """Return the document of one step result."""
    return {
        "output": output,
        "context": context,
        "run": run.as_dict(),
        "operation": {"id": operation, "status": status},
    }


def from_payload(payload: Json, run: Run) -> dict[str, Any]:
    """Return the document of a stored `output_payload` (see STORED)."""
    result = _get(payload, "operation_result")
    return build(
        _get(result, "output"),
        _get(payload, "cumulative_context"),
        run,
        _get(result, "operation_id"),
        _get(result, "status"),
    )


def from_file(value: Json, operation: str) -> dict[str, Any]:
    """Return the document of a file: a whole `output_payload`, or the output of `operation` alone.

    An output alone is its own context, as it would be after a first step. Either is taken as the database would give it
    back, so that a path sees here what it sees there.
    """
    value = as_stored(value)
    if isinstance(value, dict) and isinstance(value.get("operation_result"), dict):
        return from_payload(value, Run())
    return build(value, value if isinstance(value, dict) else {}, Run(), operation)


def _get(value: Json, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None
