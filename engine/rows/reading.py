"""Which parts of a stored step result travel to the client, and which documents stay on the server."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from engine import plan as plans
from engine.jmespath.path import Path, Steps
from engine.plan import Plan
from engine.rows.document import STORED

#: `#>` takes such a step for an array index where JMESPath takes it for a key. It reads numbers as C does.
_INDEX_LIKE = re.compile(r"[ \t\n\v\f\r]*[-+]?[0-9]+")


@dataclass(frozen=True)
class Reading:
    """How a plan reads stored step results."""

    plan: Plan

    @cached_property
    def parts(self) -> tuple[Steps, ...]:
        """The prefixes below `output` and `context` that travel, none of them inside another."""
        wanted = {_cut(steps) for path in self._travelling() for steps in _expand(path.reads) if steps[0] in STORED}
        return tuple(
            sorted(steps for steps in wanted if not any(steps[:end] in wanted for end in range(1, len(steps))))
        )

    @cached_property
    def held(self) -> tuple[plans.Field, ...]:
        """Fields that stay on the server in every operation (so that a batch has one shape)."""
        return tuple(item for index, item in enumerate(self.plan.fields) if self._stays(index, item))

    def alternatives(self, operation: str, field: plans.Field) -> tuple[Steps, ...]:
        """The dotted paths of a held field in `operation`, in order."""
        mapping = self.plan.mapping_for(operation)
        assert mapping is not None
        found = mapping.paths[self.plan.fields.index(field)].alternatives
        assert found is not None
        return found

    def document_of(self, values: Iterable[Any]) -> dict[str, Any]:
        """Rebuild `{output, context}` from the values of `parts`, as far as the plan's paths look."""
        document: dict[str, Any] = {"output": None, "context": None}
        for steps, value in zip(self.parts, values, strict=True):
            _put(document, steps, value)
        return document

    def _stays(self, index: int, item: plans.Field) -> bool:
        return (
            item.type.name == "jsonb"
            and not item.normalizers
            and all(mapping.rows is None and _plain(mapping.paths[index]) for mapping in self.plan.mappings)
        )

    def _travelling(self) -> Iterable[Path]:
        held = {self.plan.fields.index(item) for item in self.held}
        for mapping in self.plan.mappings:
            yield from (path for path in (mapping.rows, mapping.when) if path)
            yield from (path for index, path in enumerate(mapping.paths) if index not in held)


def _plain(path: Path) -> bool:
    return path.alternatives is not None and all(
        steps[0] in STORED and len(steps) > 1 and not any(map(_INDEX_LIKE.fullmatch, steps))
        for steps in path.alternatives
    )


def _expand(reads: Iterable[Steps]) -> Iterable[Steps]:
    """A path that reads the whole document reads every root."""
    for steps in reads:
        yield from [steps] if steps else [(root,) for root in STORED]


def _cut(steps: Steps) -> Steps:
    """The prefix that `#>` reads as JMESPath does: up to the first step that looks like an index."""
    for end, step in enumerate(steps):
        if _INDEX_LIKE.fullmatch(step):
            return steps[:end]
    return steps


def _put(document: dict[str, Any], steps: Steps, value: Any) -> None:
    for step in steps[:-1]:
        inner = document.get(step)
        if not isinstance(inner, dict):
            inner = document[step] = {}
        document = inner
    document[steps[-1]] = value
