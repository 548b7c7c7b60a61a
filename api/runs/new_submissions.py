"""Validate and store new submissions, and compute the most that they can cost."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

from pydantic import Field, StrictBool

from api.auth import Caller
from api.context import Context
from api.http.body import UNSTORABLE_JSON_HINT
from api.http.errors import Fault, InvalidBody
from api.http.models import Body, Id
from api.http.traces import current_traceparent
from engine.orders.steps import CostCeiling, StepRequest, check_steps, compute_cost_ceiling
from engine.runs import submissions
from engine.runs.errors import (
    ForeignCompany,
    IdempotencyConflict,
    InvalidStepConfig,
    TooManyQueuedSteps,
    UnknownOperation,
)
from engine.runs.statuses import Runner
from engine.spec.models import OPERATION_ID
from engine.store.connection import RawJson
from engine.values import exact_json
from engine.values.exact_json import ExactError

MAX_STEPS = 50
MAX_INPUTS = 500


class SubmittedStep(Body):
    """One step, which every run of the submission executes."""

    operation_id: Annotated[str, Field(min_length=1, max_length=200, pattern=OPERATION_ID)]
    step_config: dict[str, Any] | None = None


class NewSubmission(Body):
    """A new submission: steps, and inputs. Each input becomes a run of these steps."""

    steps: Annotated[list[SubmittedStep], Field(min_length=1, max_length=MAX_STEPS)]
    inputs: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MAX_INPUTS)]
    company_id: Id | None = None
    source: Annotated[str, Field(max_length=500)] | None = None
    metadata: dict[str, Any] | None = None
    dry_run: Annotated[StrictBool, Field(description="Answer the most it may cost, and queue nothing.")] = False


def check_idempotency_key(key: str | None) -> str | None:
    """Return the `Idempotency-Key` header if it is valid. Raises Fault 400 when it is blank or too long."""
    if key is not None and not 0 < len(key.strip()) <= 255:
        raise Fault("invalid_header", "`idempotency-key` is blank or longer than 255", hint="send a UUID, for example")
    return key.strip() if key else None


def compute_ceiling(context: Context, body: NewSubmission) -> CostCeiling:
    """Compute the most that a submission can cost. Raises Fault 422 for a step that cannot be executed."""
    steps = [StepRequest(step.operation_id, step.step_config or {}) for step in body.steps]
    try:
        check_steps(context.plans, steps)
    except UnknownOperation as error:
        raise InvalidBody(error.message, field="steps", hint=error.hint, code="unknown_operation") from error
    except InvalidStepConfig as error:
        raise InvalidBody(error.message, field="steps", hint=error.hint, code="invalid_step_config") from error
    return compute_cost_ceiling(context.plans, context.prices, steps, len(body.inputs))


async def store_submission(context: Context, submission: submissions.NewSubmission) -> submissions.CreatedSubmission:
    """Store a submission with its runs and steps, or return the stored one with the same idempotency key.

    Raises Fault 403 for a company of another organisation, 422 for a key that was used with another body, 429 when the
    organisation has too many queued steps.
    """
    async with context.connection() as connection:
        try:
            return await submissions.create_submission(connection, submission)
        except ForeignCompany as error:
            raise Fault("other_organisation", error.message, hint=error.hint) from error
        except IdempotencyConflict as error:
            raise Fault("idempotency_key_reused", error.message, hint=error.hint) from error
        except TooManyQueuedSteps as error:
            raise Fault("too_many_queued_steps", error.message, hint=error.hint) from error


def build_submission(
    context: Context, caller: Caller, body: NewSubmission, key: str | None
) -> submissions.NewSubmission:
    """Convert a caller's request to the submission to store. Raises Fault 403 for a company other than the caller's."""
    assert caller.org_id is not None
    snapshots = [_build_step_snapshot(position, step) for position, step in enumerate(body.steps, start=1)]
    steps = _encode_json("steps", snapshots)
    inputs, metadata = _encode_json("inputs", body.inputs), _encode_json("metadata", body.metadata or {})
    sent = exact_json.dumps([caller.company_id, body.model_dump()])
    return submissions.NewSubmission(
        org_id=caller.org_id,
        company_id=_choose_company(caller, body.company_id),
        steps=steps,
        inputs=inputs,
        source=body.source,
        metadata=metadata,
        runner=Runner.TRIGGER if context.settings.trigger_secret_key else Runner.LOCAL,
        requested_by=f"{caller.kind}:{caller.subject}" if caller.subject else str(caller.kind),
        traceparent=current_traceparent.get(),
        idempotency_key=key,
        request_digest=hashlib.sha256(sent).hexdigest(),
        step_count=len(body.steps) * len(body.inputs),
        max_queued_steps=context.settings.max_queued_steps,
    )


def _encode_json(field: str, value: Any) -> RawJson:
    """Encode a field as JSON with each number as sent. Raises Fault 422 for a number that Postgres cannot store."""
    try:
        return RawJson(exact_json.dumps(value))
    except ExactError as error:
        raise InvalidBody(f"`{field}`: {error.message}", field=field, hint=UNSTORABLE_JSON_HINT) from error


def _build_step_snapshot(position: int, step: SubmittedStep) -> dict[str, Any]:
    """Return a step in the form that the run's `blueprint_snapshot` has."""
    config = step.step_config or {}
    return {"position": position, "operation_id": step.operation_id, "step_config": config, "is_enabled": True}


def _choose_company(caller: Caller, named: str | None) -> str | None:
    """Return the company of a submission. Raises Fault 403 when a caller of one company names another."""
    if caller.company_id and named not in (None, caller.company_id):
        raise Fault("other_company", "`company_id` names another company than yours", hint="leave it out")
    return named or caller.company_id
