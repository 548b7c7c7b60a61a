"""Report why a key has no row.

The reasons: no step is about the key; the step's result is pending, failed or rejected; or its answer lacks the key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.explain.contributions import read_contributions
from engine.explain.key_elements import ElementMatcher, Reasons, list_refused_elements
from engine.explain.key_lookup import PartialKey
from engine.explain.key_match import KeyMatcher
from engine.explain.key_states import FoundStep, KeyState, judge_elements, judge_step
from engine.plan import Plan
from engine.rows.document import Run
from engine.rows.fold import UnitFold
from engine.rows.keys import Key, build_key
from engine.rows.units import build_unit, get_unit_fields
from engine.runs.statuses import StepStatus
from engine.sql.absence import build_answers_statement, build_candidates_statement
from engine.sql.identifiers import Statement
from engine.store.connection import Connection
from engine.store.errors import wrap_errors
from engine.store.tenant import open_tenant_snapshot
from engine.values import exact_json

#: The most step results that are read, newest first, and the most findings that are returned.
_MOST_CANDIDATES = 1000
_MOST_ENTRIES = 20
#: The most step results that are read with all their elements, which may be large.
_MOST_LISTS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A step result that could have given the key a row, and why it did not."""

    state: KeyState
    message: str
    step_result_id: str
    recorded_at: str
    operation: str | None = None
    submission_id: str | None = None
    pipeline_run_id: str | None = None
    order_id: str | None = None
    superseded_by: str | None = None
    reasons: Sequence[Mapping[str, Any]] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the finding as a JSON object."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return {**fields, "state": self.state.value, "reasons": list(self.reasons)}


@dataclass(frozen=True, slots=True)
class Absence:
    """A key without a row, and one finding per step result about it, newest first."""

    plan: Plan
    findings: Sequence[Finding]

    @property
    def state(self) -> KeyState:
        """Why the key has no row, by the newest finding; NEVER_ASKED when there is no finding."""
        return self.findings[0].state if self.findings else KeyState.NEVER_ASKED

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object that `dex explain` and the explain endpoint answer."""
        never = f"no step of {', '.join(f'`{name}`' for name in self.plan.operations)} was asked about it"
        return {
            "id": None,
            "state": self.state.value,
            "explanation": self.findings[0].message if self.findings else never,
            "cells": [],
            "known": [finding.as_dict() for finding in self.findings],
        }


async def explain_absence(
    connection: Connection, plan: Plan, org_id: str, key: PartialKey, plans: Iterable[Plan]
) -> Absence:
    """Return why a key of the organisation has no row, according to the newest step results about it.

    `plans` are all plans of the project: their research inputs tell which key an unfinished step is about.
    """
    matcher = KeyMatcher.from_plans(plan, plans)
    async with wrap_errors(), open_tenant_snapshot(connection, org_id):
        steps = await _list_steps(connection, matcher, org_id, key)
        superseded = await _list_superseded(connection, plan, org_id, key)
        findings = await _build_findings(connection, plan, key, steps)
    if superseded:  # they tell which answers had the key, so answers without it add nothing
        findings = [finding for finding in findings if finding.state is not KeyState.NOT_LISTED] + superseded
    findings.sort(key=lambda finding: (finding.recorded_at, finding.step_result_id), reverse=True)
    return Absence(plan, findings[:_MOST_ENTRIES])


async def _list_steps(connection: Connection, matcher: KeyMatcher, org_id: str, key: PartialKey) -> list[FoundStep]:
    """Return the step results about the key that gave no row, only some rows, or rows for other keys of a list."""
    plan = matcher.plan
    statement = build_candidates_statement(plan, matcher.fetch_plan, org_id, _MOST_CANDIDATES)
    steps = await _select_steps(connection, statement, matcher, org_id, key)
    parent = {column.name: key[column.name] for column in plan.parent_key if column.name in key}
    if plan.many and parent:
        statement = build_answers_statement(plan, matcher.fetch_plan, org_id, parent, _MOST_ENTRIES)
        steps += await _select_steps(connection, statement, matcher, org_id, key)
    return steps


async def _select_steps(
    connection: Connection, statement: Statement, matcher: KeyMatcher, org_id: str, key: PartialKey
) -> list[FoundStep]:
    cursor = await connection.execute(*statement)
    names = [column.name for column in cursor.description or ()][:-2]
    steps: list[FoundStep] = []
    for *values, parts, step_input in await cursor.fetchall():
        step = dict(zip(names, values, strict=True))
        run = Run(
            org_id=org_id,
            company_id=step["company_id"],
            submission_id=step["submission_id"],
            pipeline_run_id=step["pipeline_run_id"],
            step_position=step["step_position"],
        )
        read, input_value = exact_json.loads(parts), None if step_input is None else exact_json.loads(step_input)
        assert isinstance(read, list)
        if matcher.is_about(key, step["operation_id"], read, input_value, run):
            steps.append(step)
    return steps


async def _build_findings(
    connection: Connection, plan: Plan, key: PartialKey, steps: Sequence[FoundStep]
) -> list[Finding]:
    """Return a finding for each step result; its refused elements are narrowed to those that may be the key.

    If all columns of the key come from elements, a step result without such an element says nothing about the key, and
    is left out.
    """
    matcher = ElementMatcher(plan, key)
    refused = {step["id"]: step["reasons"] for step in steps if matcher.columns and _has_refused_elements(step)}
    narrowed = await matcher.narrow_reasons(connection, dict(list(refused.items())[:_MOST_LISTS]))
    is_shared = any(column.name in key for column in plan.parent_key) or not matcher.columns
    findings = []
    for step in steps:
        reasons = narrowed.get(step["id"])
        if reasons is None and step["id"] in refused:
            continue
        finding = _build_finding(plan, step if reasons is None else {**step, "reasons": reasons}, reasons)
        if is_shared or finding.state is not KeyState.NOT_LISTED:
            findings.append(finding)
    return findings


def _has_refused_elements(step: FoundStep) -> bool:
    is_present = step["status"] == StepStatus.SUCCEEDED and step["result_status"] == "found" and step["is_recorded"]
    return bool(is_present and list_refused_elements(step["reasons"] or ()))


def _build_finding(plan: Plan, step: FoundStep, narrowed: Reasons | None) -> Finding:
    state, message = judge_step(plan, step) if narrowed is None else judge_elements(step, narrowed)
    is_refused = state in (KeyState.FILTERED, KeyState.REJECTED)
    return Finding(
        state=state,
        message=message,
        step_result_id=step["id"],
        recorded_at=step["recorded_at"].isoformat(),
        operation=step["operation_id"],
        submission_id=step["submission_id"],
        pipeline_run_id=step["pipeline_run_id"],
        order_id=step["order_id"],
        reasons=(step["reasons"] or []) if is_refused and step["is_recorded"] else [],
    )


async def _list_superseded(connection: Connection, plan: Plan, org_id: str, key: PartialKey) -> list[Finding]:
    """Return a finding for each step result that gave the key a row which a newer one of its parent key removed."""
    if not all(column.name in key for column in (*get_unit_fields(plan), *plan.key_fields)):
        return []
    contributions = await read_contributions(connection, plan, build_unit(plan, org_id, key))
    if not contributions.contributors:
        return []
    (fold,) = await contributions.fold_up_to([len(contributions.contributors) - 1], whole=True)
    return [_describe_contributor(plan, fold, place) for place in _list_places(plan, fold, build_key(plan, key))]


def _list_places(plan: Plan, fold: UnitFold, key: Key) -> list[int]:
    """Return the indices of the step results that have a row for the key which the database accepted."""
    return [
        place
        for place, contributor in enumerate(fold.contributors)
        if contributor.step
        and any(
            build_key(plan, contributor.step.extraction.rows[number]) == key and number not in contributor.refusals
            for number in contributor.rows
        )
    ]


def _describe_contributor(plan: Plan, fold: UnitFold, place: int) -> Finding:
    contributor, complete = fold.contributors[place], fold.find_complete()
    newer = complete if complete is not None and complete.sort_key > contributor.sort_key else None
    if newer is None:
        message = (
            f"the step result gives the row, but the table lacks it: `dex verify {plan.name} --repair` restores it"
        )
        state = KeyState.REMOVED
    else:
        message = f"superseded by {newer.step_id}, whose answer no longer has it"
        state = KeyState.SUPERSEDED
    step = contributor.extracted
    return Finding(
        state=state,
        message=message,
        step_result_id=step.id,
        recorded_at=step.recorded_at.isoformat(),
        submission_id=step.submission_id,
        pipeline_run_id=step.pipeline_run_id,
        superseded_by=newer.step_id if newer else None,
    )
