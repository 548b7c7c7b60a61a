"""Decide which parts of a stored step result to fetch, and which documents stay on the server.

Postgres itself copies a document from `step_results` to the target table if its path has the form `a.b || c` and no
normalizer changes it: a *copied document*. So its numbers keep their digits, and only the small values beside it are
fetched (`engine/sql/json_paths.py` has the SQL).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from engine.jmespath.path import CompiledPath, Steps
from engine.plan import Field, Plan
from engine.rows.document import STORED_PATHS

#: Steps that are an array index to `#>` but a key to JMESPath. Postgres parses them with `strtol` of C.
_INDEX_LIKE = re.compile(r"[ \t\n\v\f\r]*[-+]?[0-9]+")


@dataclass(frozen=True)
class FetchPlan:
    """Which parts of stored step results a plan reads. Without `copies_documents`, every document is fetched too."""

    plan: Plan
    copies_documents: bool = True

    @cached_property
    def parts(self) -> tuple[Steps, ...]:
        """The paths of the values to fetch, each beginning with a root; no path is the beginning of another."""
        wanted = {
            _cut_at_index(steps)
            for path in self._list_fetched_paths()
            for steps in _expand_roots(path.reads)
            if steps[0] in STORED_PATHS
        }
        return tuple(
            sorted(steps for steps in wanted if not any(steps[:end] in wanted for end in range(1, len(steps))))
        )

    @cached_property
    def copied_fields(self) -> tuple[Field, ...]:
        """The fields whose document Postgres copies. A field is copied in all operations or in none."""
        return tuple(column for index, column in enumerate(self.plan.fields) if self._is_copied(index, column))

    def find_alternatives(self, operation: str, field: Field) -> tuple[Steps, ...]:
        """Return the dotted paths by which `operation` fills a copied field, preferred ones first.

        A copied field is a document that Postgres copies without sending it here.
        """
        mapping = self.plan.find_mapping(operation)
        assert mapping is not None
        path = mapping.paths[self.plan.fields.index(field)]
        assert path is not None
        assert path.alternatives is not None
        return path.alternatives

    @cached_property
    def reads_company(self) -> bool:
        """Whether some path reads the company of the run."""
        reads = (steps for path in self._list_fetched_paths() for steps in path.reads)
        return any(steps in ((), ("run",), ("run", "company_id")) for steps in reads)

    def build_document(self, values: Iterable[Any]) -> dict[str, Any]:
        """Build the document `{output, context, step_input}` from the values of `parts`, only with what paths read."""
        document: dict[str, Any] = dict.fromkeys(STORED_PATHS)
        for (parents, name), value in zip(self._places, values, strict=True):
            target = document
            for step in parents:
                inner = target.get(step)
                if inner is None:
                    inner = target[step] = {}
                target = inner
            target[name] = value
        return document

    @cached_property
    def _places(self) -> tuple[tuple[Steps, str], ...]:
        """For each part: the steps to the object that contains it, and its key in that object."""
        return tuple((steps[:-1], steps[-1]) for steps in self.parts)

    def _is_copied(self, index: int, column: Field) -> bool:
        return (
            self.copies_documents
            and column.type.name == "jsonb"
            and all(not mapping.fields[index].normalizers for mapping in self.plan.mappings)
            and all(mapping.rows is None and _is_plain_path(mapping.paths[index]) for mapping in self.plan.mappings)
        )

    def _list_fetched_paths(self) -> Iterable[CompiledPath]:
        copied = {self.plan.fields.index(column) for column in self.copied_fields}
        for mapping in self.plan.mappings:
            yield from (path for path in (mapping.rows, mapping.inner_rows, mapping.when) if path)
            yield from (path for index, path in enumerate(mapping.paths) if path and index not in copied)


def _is_plain_path(path: CompiledPath | None) -> bool:
    """Return whether, for every alternative of the path, the operator `#>` gives the same value as JMESPath."""
    return (
        path is not None
        and path.alternatives is not None
        and all(
            steps[0] in STORED_PATHS and len(steps) > 1 and not any(map(_INDEX_LIKE.fullmatch, steps))
            for steps in path.alternatives
        )
    )


def _expand_roots(reads: Iterable[Steps]) -> Iterable[Steps]:
    """Replace the empty path, which stands for the whole document, by a path to each root."""
    for steps in reads:
        yield from [steps] if steps else [(root,) for root in STORED_PATHS]


def _cut_at_index(steps: Steps) -> Steps:
    """Return the steps up to the first that looks like an index: only those mean the same to `#>` and JMESPath."""
    for end, step in enumerate(steps):
        if _INDEX_LIKE.fullmatch(step):
            return steps[:end]
    return steps
