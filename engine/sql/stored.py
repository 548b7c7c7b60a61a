"""What of a stored step result travels to the client, and what stays on the server.

In: a Plan. Out: the parts of `output_payload` its paths read, and the fields whose value never leaves the server, with
the SQL that spells their path. It must not know psycopg.

A document of any size behind a plain path (`a.b || c`) without normalizers stays: it is copied from step_results to the
target inside Postgres, so its numbers arrive as they were, and only the small values beside it travel.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from engine import plan as plans
from engine.document import STORED
from engine.path import Path, Steps
from engine.plan import Plan

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


# --- SQL ------------------------------------------------------------------------------------------------------------


def detoast(source: str, roots: Iterable[str]) -> str:
    """A subquery that reads each root of the toasted column once: every expression on it would read it anew."""
    chosen = [f"{source}.output_payload {_arrows(STORED[root])} as {root}" for root in sorted(set(roots))]
    return f"(select {', '.join(chosen) or '1'} offset 0)"


def value(steps: Steps, source: str) -> str:
    """The value at a dotted path, null where JMESPath says null."""
    root, *rest = steps
    return f"({source}.{root} #> {_array(rest)})" if rest else f"{source}.{root}"


def first_truthy(alternatives: tuple[Steps, ...], source: str) -> str:
    """`a || b || c` by JMESPath's truth, SQL null where the answer is null."""
    *earlier, last = [value(steps, source) for steps in alternatives]
    parts = [f"case when {item} not in ('null', 'false', '\"\"', '[]', '{{}}') then {item} end" for item in earlier]
    return f"coalesce({', '.join([*parts, _not_null(last)])})" if parts else _not_null(last)


def _not_null(item: str) -> str:
    return f"nullif({item}, 'null'::jsonb)"


def _arrows(steps: Steps) -> str:
    return " ".join(f"-> {_literal(step)}" for step in steps)


def _array(steps: Iterable[str]) -> str:
    return f"array[{', '.join(map(_literal, steps))}]::text[]"


def _literal(text: str) -> str:
    """A text constant. Keys of a path come from a checked spec, and still go through no door but this one."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("%", "%%")
    return f"E'{escaped}'" if "\\" in escaped else f"'{escaped}'"


def by_operation(reading: Reading, expression: Mapping[str, str], column: str) -> str:
    """`case` over the operation where the operations' expressions differ, the expression itself where they do not."""
    if len(set(expression.values())) == 1:
        return next(iter(expression.values()))
    cases = " ".join(f"when {_literal(operation)} then {text}" for operation, text in expression.items())
    return f"case {column} {cases} end"
