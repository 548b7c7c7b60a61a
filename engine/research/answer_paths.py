"""Find which part of a provider's answer a path of a spec reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.jmespath.path import CompiledPath, Steps
from engine.research.json_schema_paths import EACH, AnswerSteps
from engine.research.providers import ResearchProvider


class AnswerPaths:
    """Finds where the dotted paths of one operation lie inside the content of an answer, also those below `rows`.

    With `rows`, `item` is an element of the (innermost) array and `parent` one of the array around it. If the path of
    an array is not dotted, for example filtered, the place of the array and its elements is unknown.
    """

    def __init__(self, provider: ResearchProvider, rows: Sequence[CompiledPath]) -> None:
        self._content = provider.content
        self._anchors: dict[str, AnswerSteps] = {}
        self.lists: list[AnswerSteps] = []  # the arrays of `rows` whose place is known, outermost first
        for path in rows:
            located = next(self.locate_alternatives(path), None)
            if "item" in self._anchors:
                self._anchors["parent"] = self._anchors.pop("item")
            if located is None:
                break
            self.lists.append(located)
            self._anchors["item"] = (*located, EACH)

    def locate_steps(self, steps: Steps) -> AnswerSteps | None:
        """Return the steps from the answer's content to what a dotted path reads; None if it reads something else."""
        size = len(self._content)
        if steps[:size] == self._content:
            return steps[size:]
        anchor = self._anchors.get(steps[0]) if steps else None
        return None if anchor is None else (*anchor, *steps[1:])

    def locate_alternatives(self, path: CompiledPath) -> Iterator[AnswerSteps]:
        """Yield the same steps for each alternative of `a.b || c.d` that reads the answer's content."""
        for steps in path.alternatives or ():
            if (located := self.locate_steps(steps)) is not None:
                yield located
