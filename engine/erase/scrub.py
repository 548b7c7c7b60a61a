"""Remove the subject from the runs and submissions that are kept, and from step results in them about others."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from engine.erase.documents import Scrubber, read_output
from engine.erase.search import load_json
from engine.sql import erase
from engine.store.connection import Connection, RawJson, fetch_rows
from engine.values import exact_json
from engine.values.exact_json import Json


@dataclass(slots=True)
class _Run:
    """A run about the person or company to erase, or with a step result about it."""

    id: str
    submission_id: str
    blueprint: Json
    message: str | None
    details: Json
    added: list[Mapping[str, Any]] = field(default_factory=list)  # erased outputs, which its context repeats
    has_other_results: bool = False

    @property
    def entity(self) -> Any:
        return self.blueprint.get("entity") if isinstance(self.blueprint, dict) else None

    @property
    def input(self) -> Any:
        """The input of the run."""
        return self.entity.get("input") if isinstance(self.entity, dict) else None


@dataclass(slots=True)
class _Step:
    """A step result that is kept: it is about somebody else, or has no result."""

    id: str
    run_id: str
    input: Json
    payload: Json
    message: str | None
    details: Json


@dataclass(slots=True)
class DocumentScrub:
    """Removes the person or company from documents that are kept.

    Call `read_documents` before the step results about it are deleted, `scrub_everything` after.
    """

    connection: Connection
    scrubber: Scrubber
    keys: Mapping[str, Any]
    counts: Counter[str]
    _runs: dict[str, _Run] = field(default_factory=dict)
    _steps: list[tuple[_Step, _Step]] = field(default_factory=list)
    _inputs: dict[tuple[str, bytes], Json] = field(default_factory=dict)

    @property
    def changed_steps(self) -> list[str]:
        """The ids of the step results that are not deleted but lose what they say about the person or company."""
        return [old.id for old, _ in self._steps]

    async def read_documents(self) -> None:
        """Read the kept runs and step results, and compute their changes."""
        for run_id, submission_id, blueprint, message, details in await fetch_rows(
            self.connection, erase.READ_RUNS_SQL, self.keys
        ):
            run = _Run(run_id, submission_id, load_json(blueprint), message, load_json(details))
            self._runs[run_id] = run
        for run_id, output in await fetch_rows(self.connection, erase.READ_OUTPUTS_SQL, self.keys):
            if run_id in self._runs:
                run = self._runs[run_id]
                run_input = run.input if isinstance(run.input, dict) else {}
                added = load_json(output)
                if isinstance(added, dict):
                    run.added.append({key: value for key, value in added.items() if key not in run_input})
        for row in await fetch_rows(self.connection, erase.READ_RUN_STEPS_SQL, self.keys):
            step = _Step(row[0], row[1], load_json(row[2]), load_json(row[3]), row[4], load_json(row[5]))
            self._runs[step.run_id].has_other_results |= bool(read_output(step.payload))
            if (scrubbed := self._scrub_step(step)) != step:
                self._steps.append((step, scrubbed))

    def _scrub_step(self, step: _Step) -> _Step:
        added = self._runs[step.run_id].added
        payload = step.payload
        if isinstance(payload, dict):
            payload = {key: self._scrub_part(key, part, added) for key, part in payload.items()}
        return _Step(
            step.id,
            step.run_id,
            self.scrubber.scrub_context(step.input, added),
            payload,
            self.scrubber.scrub_text(step.message),
            self.scrubber.scrub_texts(step.details),
        )

    def _scrub_part(self, key: str, part: Any, added: Iterable[Mapping[str, Any]]) -> Json:
        """Return a part of an `output_payload` without the erased person or company.

        An output about somebody else stays unchanged.
        """
        if key == "cumulative_context":
            return self.scrubber.scrub_context(part, added)
        if key == "operation_result" and isinstance(part, dict):
            return {
                name: value if name == "output" else self.scrubber.scrub_texts(value) for name, value in part.items()
            }
        return self.scrubber.scrub_texts(part)

    async def scrub_everything(self) -> None:
        """Write the changes of step results, runs and submissions."""
        for _, step in self._steps:
            parameters = {
                "id": step.id,
                "given": _dump_json(step.input),
                "output": _dump_json(step.payload),
                "message": step.message,
                "details": _dump_json(step.details),
            }
            await self._update_row("step_results", erase.UPDATE_STEP_SQL, parameters)
        await self._scrub_runs()
        await self._scrub_submissions()

    async def _scrub_runs(self) -> None:
        attempts: defaultdict[tuple[str, bytes], str] = defaultdict(lambda: str(uuid4()))
        for run in self._runs.values():
            key = (run.submission_id, exact_json.dumps(run.input))
            scrubbed = self.scrubber.scrub_context(run.input, run.added) if run.has_other_results else {}
            blueprint = run.blueprint
            if isinstance(blueprint, dict) and isinstance(run.entity, dict):
                # Runs for the same input have equal entities; runs for different inputs do not.
                entity = {"input": scrubbed, "erased": attempts[key]} if scrubbed != run.input else run.entity
                blueprint = {**blueprint, "entity": entity}
                self._inputs[key] = scrubbed
            parameters = {
                "id": run.id,
                "blueprint": _dump_json(self.scrubber.scrub_texts(blueprint)),
                "message": self.scrubber.scrub_text(run.message),
                "details": _dump_json(self.scrubber.scrub_texts(run.details)),
            }
            before = [_dump_json(run.blueprint), run.message, _dump_json(run.details)]
            if before != list(parameters.values())[1:]:
                await self._update_row("pipeline_runs", erase.UPDATE_RUN_SQL, parameters)

    async def _scrub_submissions(self) -> None:
        for submission_id, payload, source, metadata, key in await fetch_rows(
            self.connection, erase.READ_SUBMISSIONS_SQL, self.keys
        ):
            scrubbed = self._scrub_payload(submission_id, load_json(payload))
            is_quoted = key is not None and self.scrubber.scrub_text(key) is None
            parameters = {
                "id": submission_id,
                "given": _dump_json(scrubbed),
                "source": self.scrubber.scrub_text(source),
                "metadata": _dump_json(self.scrubber.scrub_texts(load_json(metadata))),
                "key": f"erased {submission_id}" if is_quoted else key,
            }
            before = [_dump_json(load_json(payload)), source, _dump_json(load_json(metadata)), key]
            if before != list(parameters.values())[1:]:
                await self._update_row("submissions", erase.UPDATE_SUBMISSION_SQL, parameters)

    def _scrub_payload(self, submission_id: str, payload: Json) -> Json:
        """Return the payload of a submission with the scrubbed inputs of its runs."""
        if isinstance(payload, dict) and isinstance(payload.get("inputs"), list):
            inputs = [self._scrub_input(submission_id, run_input) for run_input in payload["inputs"]]  # type: ignore[union-attr]
            return {**payload, "inputs": inputs}
        return self._scrub_input(submission_id, payload)

    def _scrub_input(self, submission_id: str, run_input: Json) -> Json:
        key = (submission_id, exact_json.dumps(run_input))
        if key in self._inputs:
            return self._inputs[key]
        if self.scrubber.subject.is_subject(self.scrubber.columns.identify_input(run_input)):
            return self.scrubber.scrub_context(run_input)
        return run_input

    async def _update_row(self, table: str, sql: str, parameters: Mapping[str, Any]) -> None:
        await self.connection.execute(sql, parameters)
        self.counts[table] += 1


def _dump_json(value: Json) -> RawJson | None:
    return None if value is None else RawJson(exact_json.dumps(value))
