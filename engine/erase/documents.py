"""Find out whom JSON documents are about, and remove a person or company (the subject) from documents that are kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from engine.erase.subject import (
    Identities,
    KeyRole,
    Subject,
    SubjectKind,
    collect_identities,
    find_role,
    is_own_key,
    mentions_text,
    split_words,
)
from engine.jmespath.path import ELEMENT_ROOTS, CompiledPath
from engine.plan import OperationMapping, Plan
from engine.research_plan import Research
from engine.values.exact_json import Json

_ROOTS: Final = frozenset(("output", "context", "step_input"))


@dataclass(frozen=True)
class SubjectColumns:
    """The columns and paths by which a project's specs say whom a step result is about."""

    kind: SubjectKind
    plans: Sequence[Plan]

    @cached_property
    def by_plan(self) -> Mapping[str, Mapping[str, KeyRole]]:
        """For each spec, the columns that name the subject, with their roles.

        They are key columns, or columns read from a top-level key, whose name says so (`person_full_name`).
        """
        return {
            plan.name: {
                plan.fields[place].name: role
                for mapping in plan.mappings
                for place, role in self._roles[plan.name, mapping.operation].items()
            }
            for plan in self.plans
        }

    @cached_property
    def _roles(self) -> Mapping[tuple[str, str], Mapping[int, KeyRole]]:
        """The roles of the columns in `by_plan` by spec and operation, each by the index of the column's field."""
        return {
            (plan.name, mapping.operation): dict(self._list_roles(plan, mapping))
            for plan in self.plans
            for mapping in plan.mappings
        }

    def _list_roles(self, plan: Plan, mapping: OperationMapping) -> Iterator[tuple[int, KeyRole]]:
        identity = {name for column in plan.key_fields for name in (column.name, *column.coalesce)}
        for place, column in enumerate(plan.fields):
            path = mapping.paths[place]
            if column.type.name != "text" or path is None or not path.roots.isdisjoint(ELEMENT_ROOTS):
                continue
            names = ([column.name] if column.name in identity else []) + list_top_keys(path)
            if role := next((role for name in names if (role := find_role(self.kind, name))), None):
                yield place, role

    def identify_result(self, operation: str | None, document: Mapping[str, Any]) -> Identities:
        """Return whom a step result is about: by the top-level keys of its output, and by the paths of the specs."""
        pairs = list(self._list_keys(document.get("output")))
        for plan in self.plans:
            mapping = plan.find_mapping(operation)
            if mapping is not None:
                roles = self._roles[plan.name, mapping.operation]
                sources = ((role, mapping.paths[place]) for place, role in roles.items())
                pairs += [(role, path.search_or_none(document)) for role, path in sources if path is not None]
        return collect_identities(pairs)

    def identify_input(self, run_input: Json) -> Identities:
        """Return whom the input of a run is about: by its top-level keys."""
        return collect_identities(self._list_keys(run_input))

    def _list_keys(self, value: Any) -> Iterator[tuple[KeyRole, Any]]:
        if isinstance(value, dict):
            for key, part in value.items():
                if role := find_role(self.kind, key):
                    yield role, part

    @cached_property
    def own_keys(self) -> frozenset[str]:
        """The keys of a context that tell only about the erased person or company: inputs of the research about it."""
        keys: set[str] = set()
        for plan in self.plans:
            if plan.research is not None and self.by_plan[plan.name]:
                keys |= _list_own_keys(self.kind, plan.research)
        return frozenset(keys)

    def is_own_key(self, key: str) -> bool:
        """Return whether a key of a context tells only about the person or company to erase."""
        starts = self.kind is SubjectKind.PERSON and split_words(key)[:1] == ("person",)
        return starts or key in self.own_keys or find_role(self.kind, key) is not None


def _list_own_keys(kind: SubjectKind, research: Research) -> set[str]:
    keys: set[str] = set()
    for research_input in research.inputs:
        if is_own_key(kind, research_input.name):
            keys |= {research_input.name, *(leaf for path in research_input.paths for leaf in list_top_keys(path))}
            keys |= {name for name, path in research.output if path.reads == {("inputs", research_input.name)}}
    return keys


def list_top_keys(path: CompiledPath) -> list[str]:
    """Return the names of the top-level keys that a path reads: `[domain, site]` for `output.domain || context.site`.

    The words of a name tell whether the path reads whom to erase. Alternatives that lead deeper (`output.company.name`)
    or start at another root are left out; an expression that is not dotted paths joined by `||` has none.
    """
    return [steps[1] for steps in path.alternatives or () if len(steps) == 2 and steps[0] in _ROOTS]


@dataclass(frozen=True)
class Scrubber:
    """Removes a person or company from documents that are kept: the keys about it, and every text that mentions it."""

    subject: Subject
    columns: SubjectColumns
    pattern: re.Pattern[str]

    def scrub_context(self, context: Json, added: Iterable[Mapping[str, Any]] = ()) -> Json:
        """Return an input or a context without what it says about the person or company.

        Its keys about the subject are removed with their values, and so are those that outputs of erased step results
        (`added`) brought in. Keys about somebody else, for example a founder of an erased company, stay as they are.
        In every other value only the mentions are removed.
        """
        if not isinstance(context, dict):
            return self.scrub_texts(context)
        brought = [output.items() for output in added]
        kept: dict[str, Any] = {}
        for key, value in context.items():
            is_brought = any((key, value) in items for items in brought) and not self._is_foreign(key)
            if is_brought or self.columns.is_own_key(key):
                continue
            scrubbed = value if self._is_foreign(key) else self.scrub_texts(value)
            if scrubbed is not None or value is None:
                kept[key] = scrubbed
        return kept

    def _is_foreign(self, key: str) -> bool:
        """Return whether a key is about somebody else: for example a founder of the company, or the client."""
        return self.subject.kind is SubjectKind.COMPANY and not is_own_key(SubjectKind.COMPANY, key)

    def scrub_texts(self, value: Json) -> Json:
        """Return a copy of a value without mentions of the person or company, at any depth.

        A text that mentions it becomes null, a key that mentions it is removed.
        """
        holder: list[Any] = [value]
        stack: list[Any] = [holder]
        while stack:
            part = stack.pop()
            places: Iterable[tuple[Any, Any]] = part.items() if isinstance(part, dict) else enumerate(part)
            for place, child in list(places):
                if isinstance(child, str) and mentions_text(self.pattern, child):
                    part[place] = None
                elif isinstance(child, dict | list):
                    part[place] = copy = child.copy()
                    stack.append(copy)
            if isinstance(part, dict):
                for key in [key for key in part if mentions_text(self.pattern, key)]:
                    del part[key]
        return holder[0]  # type: ignore[no-any-return]

    def scrub_text(self, text: str | None) -> str | None:
        """Return the text, or None if it mentions the person or company."""
        return None if text is not None and mentions_text(self.pattern, text) else text


def read_output(payload: Json) -> dict[str, Any]:
    """Return the output of a stored `output_payload`; {} where it has none."""
    result = payload.get("operation_result") if isinstance(payload, dict) else None
    output = result.get("output") if isinstance(result, dict) else None
    return output if isinstance(output, dict) else {}
