"""Decide whether a step that gave no row is about a key, from the step's input and output."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from engine.explain.key_lookup import PartialKey
from engine.jmespath.path import ELEMENT_ROOTS, CompiledPath
from engine.plan import Field, OperationMapping, Plan
from engine.plans import index_research
from engine.research_inputs import normalize_inputs
from engine.research_plan import Research
from engine.rows.document import Run, build_document, merge_context
from engine.rows.extract import Rejected, convert_value
from engine.rows.fetch_plan import FetchPlan
from engine.values.exact_json import Json


@dataclass(frozen=True)
class KeyMatcher:
    """Compares keys with steps, by the key columns that are not read from elements of `rows`."""

    plan: Plan
    research: Mapping[str, Research]  # by operation

    @classmethod
    def from_plans(cls, plan: Plan, plans: Iterable[Plan]) -> KeyMatcher:
        """Build the matcher of `plan`; `plans` are those of the project, which have the research of each operation."""
        return cls(plan, index_research((*plans, plan)))

    @cached_property
    def fetch_plan(self) -> FetchPlan:
        """The parts of a step result to fetch: only those from which the compared columns are read."""
        names = {name for column in self.plan.parent_key for name in (column.name, *column.coalesce)}
        places = [place for place, column in enumerate(self.plan.fields) if column.name in names]
        mappings = tuple(
            replace(
                mapping,
                rows=None,
                inner_rows=None,
                when=None,
                fields=tuple(mapping.fields[place] for place in places),
                paths=tuple(mapping.paths[place] for place in places),
            )
            for mapping in self.plan.mappings
        )
        fields = tuple(self.plan.fields[place] for place in places)
        return FetchPlan(replace(self.plan, fields=fields, mappings=mappings), copies_documents=False)

    def is_about(self, key: PartialKey, operation: str, values: Iterable[Json], step_input: Json, run: Run) -> bool:
        """Return whether a step is about `key`: whether it has the key's value for each compared column.

        The compared columns are those of the key that are not read from elements. Their values are searched in the
        result (`values`, one per path of `fetch_plan.parts`), and in the output expected for `step_input`, since a
        running step has no result. A key without such columns matches every step of the spec's operations.
        """
        mapping = self.fetch_plan.plan.find_mapping(operation)
        if mapping is None:
            return False
        documents = [
            self._build_recorded(operation, values, run),
            self._build_expected(operation, step_input, run),
        ]
        return all(
            key[column.name] in self._list_values(mapping, column, documents)
            for column in self.plan.parent_key
            if column.name in key
        )

    def _build_recorded(self, operation: str, values: Iterable[Json], run: Run) -> dict[str, Any]:
        roots = self.fetch_plan.build_document(values)
        return build_document(roots["output"], roots["context"], run, operation, step_input=roots["step_input"])

    def _build_expected(self, operation: str, step_input: Json, run: Run) -> dict[str, Any]:
        """Build the document of a step that has no answer yet: its output is what its research inputs would give."""
        research = self.research.get(operation)
        output = step_input if research is None else _build_output(research, step_input)
        return build_document(output, merge_context(step_input, output), run, operation, step_input=step_input)

    def _list_values(
        self, mapping: OperationMapping, column: Field, documents: Iterable[Mapping[str, Any]]
    ) -> list[Any]:
        """Return the values that the documents have for a key column; `[None]` if they have none."""
        names = column.coalesce or (column.name,)
        paths = [
            path for source, path in zip(mapping.fields, mapping.paths, strict=True) if source.name in names and path
        ]
        own = next(source for source in mapping.fields if source.name == column.name)
        values = [value for document in documents for value in _convert_values(own, paths, document)]
        return values or [None]


def _build_output(research: Research, step_input: Json) -> dict[str, Any]:
    document = {"context": step_input, "step_input": step_input, "output": None}
    candidates = {
        research_input.name: [
            value for path in research_input.paths if (value := path.search_or_none(document)) is not None
        ]
        for research_input in research.inputs
    }
    inputs = {name: value.text for name, value in normalize_inputs(research, candidates).items()}
    more = {name: path.search_or_none({**document, "inputs": inputs}) for name, path in research.output}
    return {**inputs, **more}


def _convert_values(column: Field, paths: Iterable[CompiledPath], document: Mapping[str, Any]) -> Iterator[Any]:
    for path in paths:
        if not path.roots.isdisjoint(ELEMENT_ROOTS):
            continue
        try:
            value = convert_value(column, path.search_or_none(document))
        except Rejected:
            continue
        if value is not None:
            yield value
