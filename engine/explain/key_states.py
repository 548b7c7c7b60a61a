"""Say why a step result gave no row for a key, as a state and as a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeAlias

from engine.explain.key_elements import Reasons, list_refused_elements
from engine.orders.statuses import RUN_UNKNOWN, OrderStatus
from engine.plan import Plan
from engine.rows.extract import Reason
from engine.rows.outcomes import ACCEPTED, Outcome
from engine.runs.statuses import RunStatus, StepStatus

#: A step result with its ledger entry and its order, by column name of the statements in `engine/sql/absence.py`.
FoundStep: TypeAlias = Mapping[str, Any]


class KeyState(StrEnum):
    """Why a key has no row. `docs/howto/explain-a-row.md` says what each state means."""

    NEVER_ASKED = "never_asked"
    RUNNING = "running"
    ORDERED = "ordered"
    FAILED = "failed"
    PENDING = "pending"
    FILTERED = "filtered"
    REJECTED = "rejected"
    NOT_LISTED = "not_listed"
    SUPERSEDED = "superseded"
    REMOVED = "removed"


def judge_elements(step: FoundStep, possible: Reasons) -> tuple[KeyState, str]:
    """Return what an answer with refused elements says about a key, as a state and as a sentence.

    `possible` are the reasons of the refused elements that may be the key.
    """
    count, refused = step["element_count"], list_refused_elements(possible)
    if not refused:
        return KeyState.NOT_LISTED, _describe_list(step)
    lines = [_describe_reason(reason) for reason in possible if reason["element"] in refused]
    verb = "can be this key, and is rejected" if len(refused) == 1 else "can be this key, and are rejected"
    return KeyState.REJECTED, f"{len(refused)} of its {count} elements {verb}: {'; '.join(lines[:3])}"


def _describe_list(step: FoundStep) -> str:
    count, refused = step["element_count"], step["refused_count"]
    listed = f"{count} element" if count == 1 else f"{count or 'no'} elements"
    rejected = f" ({refused} of them rejected, and not this key either)" if refused else ""
    return f"the answer lists {listed}, none with this key{rejected}: step result {step['id']}"


def _describe_reason(reason: Mapping[str, Any]) -> str:
    value = "" if reason["value"] is None else f", found {reason['value']}"
    return Reason(**reason).sentence + value


def judge_step(plan: Plan, step: FoundStep) -> tuple[KeyState, str]:
    """Return why a step gave no row, as a state and as a sentence."""
    status = StepStatus(step["status"])
    if status is StepStatus.SUCCEEDED:
        return _judge_result(plan, step)
    if step["order_status"] in (OrderStatus.REQUESTED, OrderStatus.OPEN):
        at = f" as `{step['provider_run_id']}`" if step["provider_run_id"] else ""
        note = "; `dex orders collect` asks for the answer" if status.is_final else ""
        if step["error_code"] == RUN_UNKNOWN:
            note = f"; {step['error_message']}"
        message = f"ordered at {step['provider']}{at} on {step['requested_at'].isoformat()}{note}"
        return KeyState.ORDERED, message
    if status.is_final or step["run_status"] in (RunStatus.FAILED, RunStatus.CANCELED):
        verb = "was skipped" if status is StepStatus.SKIPPED else "failed"
        if not status.is_final:
            verb = f"did not end, its run is `{step['run_status']}`"
        code = f" ({step['error_code']})" if step["error_code"] else ""
        error = f": {step['error_message']}" if step["error_message"] else ""
        return KeyState.FAILED, f"the step {verb}{error}{code}"
    return KeyState.RUNNING, f"the step is `{status.value}`, its run is `{step['run_status']}`"


def _judge_result(plan: Plan, step: FoundStep) -> tuple[KeyState, str]:
    """Return why a step that succeeded gave no row, as a state and as a sentence."""
    if step["result_status"] != "found":
        return KeyState.FILTERED, f"the operation's status is `{step['result_status']}`"
    if not step["is_recorded"]:
        return KeyState.PENDING, f"the step result waits for a backfill: `dex backfill {plan.name}`"
    if step["outcome"] in ACCEPTED and not step["refused_count"]:
        return KeyState.NOT_LISTED, _describe_list(step)
    messages = [reason["message"] for reason in step["reasons"]]
    because = f" because {'; '.join(messages[:3])}" if messages else ""
    if step["outcome"] == Outcome.FILTERED:
        return KeyState.FILTERED, f"the step result is filtered{because}"
    if step["outcome"] == Outcome.REJECTED:
        return KeyState.REJECTED, f"the step result is rejected{because}"
    return KeyState.REJECTED, f"{step['refused_count']} of its elements are rejected{because}"
