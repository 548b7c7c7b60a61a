"""Find what one organisation has about the subject: step results, rows, orders, and the inputs of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from engine.erase.documents import SubjectColumns
from engine.erase.subject import Identities, Subject, SubjectKind, collect_identities
from engine.plan import Plan
from engine.rows.document import Run, build_document, build_from_payload
from engine.sql import erase
from engine.store.connection import Connection
from engine.values import exact_json
from engine.values.exact_json import Json

#: Documents of step results per fetch: few, since each may have some megabytes.
_FETCH_SIZE: Final = 20


@dataclass(slots=True)
class Findings:
    """The ids of everything about the person or company to erase."""

    steps: set[str] = field(default_factory=set)
    runs: set[str] = field(default_factory=set)  # those of `steps`, and those with an input about the subject
    submissions: set[str] = field(default_factory=set)
    orders: set[str] = field(default_factory=set)
    rows: dict[str, set[str]] = field(default_factory=dict)  # by spec: those whose step result was deleted
    company_names: set[str] = field(default_factory=set)  # as the outputs spell them

    def __bool__(self) -> bool:
        return bool(self.steps or self.orders or any(self.rows.values()))

    def count_all(self) -> int:
        """Return the number of findings, to see whether a second search found more."""
        parts = (self.steps, self.runs, self.submissions, self.orders, *self.rows.values())
        return sum(map(len, parts))


@dataclass(frozen=True)
class SubjectSearch:
    """Searches the history of one organisation, inside the caller's transaction."""

    connection: Connection
    org_id: str
    subject: Subject
    columns: SubjectColumns
    stored: Sequence[Plan]  # the plans that have a table: a spec that was not migrated yet has no rows

    async def find_everything(self) -> Findings:
        """Return the ids of everything about the person or company.

        Profiles found beside a given name, and names found beside a given profile, are searched for too, until a pass
        finds no more of them.
        """
        findings, searched = Findings(), Identities()
        while new := self.subject.known - searched:
            searched = self.subject.known
            parameters = {"org_id": self.org_id, **erase.build_text_search(new.search_texts).parameters}
            await self._find_steps(parameters, findings)
            await self._find_rows(parameters, findings)
            await self._find_orders(parameters, findings)
            await self._find_inputs(parameters, findings)
        await self._find_connected(findings)
        return findings

    async def _find_steps(self, parameters: Mapping[str, Any], findings: Findings) -> None:
        async with self.connection.cursor(name="dex_erase") as cursor:
            await cursor.execute(erase.FIND_STEPS_SQL, parameters)
            while rows := await cursor.fetchmany(_FETCH_SIZE):
                for step_id, run_id, submission_id, operation, order_id, payload, step_input in rows:
                    output = load_json(payload)
                    identities = self._identify_step(operation, output, load_json(step_input))
                    if not self.subject.is_subject(identities):
                        continue
                    self.subject.learn_identities(identities)
                    findings.steps.add(step_id)
                    findings.runs.add(run_id)
                    findings.submissions.add(submission_id)
                    findings.orders |= {order_id} - {None}
                    findings.company_names |= self._list_company_names(output)

    def _identify_step(self, operation: str | None, payload: Json, step_input: Json) -> Identities:
        return self.columns.identify_result(operation, build_from_payload(payload, Run(), step_input))

    def _list_company_names(self, payload: Json) -> set[str]:
        """Return the names of a company in the output of its research: texts mention it by name, not by domain."""
        if self.subject.kind is SubjectKind.PERSON:
            return set()
        result = payload.get("operation_result") if isinstance(payload, dict) else None
        output = result.get("output") if isinstance(result, dict) else None
        names = [output.get(key) for key in ("company_name", "target_company_name")] if isinstance(output, dict) else []
        return {name for name in names if isinstance(name, str) and len(name.strip()) > 2}

    async def _find_rows(self, parameters: Mapping[str, Any], findings: Findings) -> None:
        for plan in self.stored:
            roles = self.columns.by_plan[plan.name]
            if not roles:
                continue
            cursor = await self.connection.execute(erase.build_find_rows_sql(plan.table, tuple(roles)), parameters)
            for row_id, *values in await cursor.fetchall():
                identities = collect_identities(zip(roles.values(), values, strict=True))
                if self.subject.is_subject(identities):
                    self.subject.learn_identities(identities)
                    findings.rows.setdefault(plan.name, set()).add(row_id)

    async def _find_orders(self, parameters: Mapping[str, Any], findings: Findings) -> None:
        cursor = await self.connection.execute(erase.FIND_ORDERS_SQL, parameters)
        for order_id, operation, output, step_id, run_id, submission_id in await cursor.fetchall():
            document = build_document(load_json(output), None, Run(), operation)
            if self.subject.is_subject(self.columns.identify_result(operation, document)):
                findings.orders.add(order_id)
                findings.steps |= {step_id} - {None}
                findings.runs |= {run_id} - {None}
                findings.submissions |= {submission_id} - {None}

    async def _find_inputs(self, parameters: Mapping[str, Any], findings: Findings) -> None:
        cursor = await self.connection.execute(erase.FIND_RUNS_SQL, parameters)
        for run_id, submission_id, run_input in await cursor.fetchall():
            if self.subject.is_subject(self.columns.identify_input(load_json(run_input))):
                findings.runs.add(run_id)
                findings.submissions.add(submission_id)
        cursor = await self.connection.execute(erase.FIND_SUBMISSIONS_SQL, parameters)
        for submission_id, payload in await cursor.fetchall():
            inputs = list_inputs(load_json(payload))
            if any(self.subject.is_subject(self.columns.identify_input(run_input)) for run_input in inputs):
                findings.submissions.add(submission_id)

    async def _find_connected(self, findings: Findings) -> None:
        """Add the orders and step results that share an answer with those found, and the runs of all of them."""
        while True:
            before = findings.count_all()
            keys = {"org_id": self.org_id, "steps": list(findings.steps), "orders": list(findings.orders)}
            cursor = await self.connection.execute(erase.FIND_SHARED_SQL, keys)
            for order_id, step_id, *_ in await cursor.fetchall():
                findings.orders.add(order_id)
                findings.steps |= {step_id} - {None}
            cursor = await self.connection.execute(erase.FIND_PLACES_SQL, keys)
            shared = await cursor.fetchall()
            findings.steps = {step_id for step_id, _, _ in shared}
            findings.runs |= {run_id for _, run_id, _ in shared}
            findings.submissions |= {submission_id for _, _, submission_id in shared}
            if findings.count_all() == before:
                return


def list_inputs(payload: Json) -> list[Json]:
    """Return the inputs of a stored submission: those under `inputs`, or its payload itself."""
    inputs = payload.get("inputs") if isinstance(payload, dict) else None
    return inputs if isinstance(inputs, list) else [payload]


def load_json(text: str | None) -> Json:
    """Decode the text of a document; None where there is none."""
    return None if text is None else exact_json.loads(text)
