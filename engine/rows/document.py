"""Build the document that paths are evaluated over, from one step result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.values.exact_json import Json, convert_to_stored, sort_keys

#: By root of paths: the column of `step_results` that stores its value, then the keys inside that column. The stored
#: context lacks the step's own output, which is stored only once: `merge_context` adds it when the context is read.
STORED_PATHS = {
    "output": ("output_payload", "operation_result", "output"),
    "context": ("output_payload", "cumulative_context"),
    "step_input": ("input_payload",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The run that a step result belongs to: the values of the root `run` in a document."""

    org_id: str | None = None
    company_id: str | None = None
    submission_id: str | None = None
    pipeline_run_id: str | None = None
    step_position: int | None = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "org_id": self.org_id,
            "company_id": self.company_id,
            "submission_id": self.submission_id,
            "pipeline_run_id": self.pipeline_run_id,
            "step_position": self.step_position,
        }


def build_document(
    output: Json,
    context: Json,
    run: Run,
    operation: str | None,
    status: str | None = "found",
    step_input: Json = None,
) -> dict[str, Any]:
    """Build the document of one step result: an object with a key for each root with which paths may start."""
    return {
        "output": output,
        "context": context,
        "step_input": step_input,
        "run": run.as_dict(),
        "operation": {"id": operation, "status": status},
    }


def build_from_payload(payload: Json, run: Run, step_input: Json = None) -> dict[str, Any]:
    """Build the document of a step result from its stored `output_payload` and `input_payload`."""
    result = _get_key(payload, "operation_result")
    output = _get_key(result, "output")
    return build_document(
        output,
        merge_context(_get_key(payload, "cumulative_context"), output),
        run,
        _get_key(result, "operation_id"),
        _get_key(result, "status"),
        step_input,
    )


def merge_context(context: Json, output: Json) -> Json:
    """Add a step's own output to its stored context: a shallow merge in which the keys of the output win.

    Step results of earlier versions have the output in their context already; for them this changes nothing. The keys
    come in the order of `jsonb`, as in Postgres and in the runner.
    """
    if not isinstance(output, dict):
        return context
    merged = {**context, **output} if isinstance(context, dict) else output
    return {key: merged[key] for key in sort_keys(merged)}


def build_from_file(value: Json, operation: str) -> dict[str, Any]:
    """Build the document of a step result from the JSON of a file (see `read_payloads`).

    The JSON is first converted to what Postgres would return for it, so that a path gives the same value here and in a
    backfill.
    """
    payload, step_input = read_payloads(convert_to_stored(value), operation)
    return build_from_payload(payload, Run(), step_input)


def read_payloads(value: Json, operation: str) -> tuple[dict[str, Any], Json]:
    """Return the `output_payload` and `input_payload` of a step result in a file.

    The JSON of the file is a whole step result (an object with the keys `output_payload` and `input_payload`), an
    `output_payload`, or only an output. An output is taken as found by `operation` in a first step, whose context is
    empty.
    """
    payload = _get_key(value, "output_payload")
    if isinstance(_get_key(payload, "operation_result"), dict):
        return payload, _get_key(value, "input_payload")
    if isinstance(value, dict) and isinstance(_get_key(value, "operation_result"), dict):
        return value, None
    result = {"operation_id": operation, "status": "found", "output": value}
    return {"operation_result": result, "cumulative_context": {}}, None


def _get_key(value: Json, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None
