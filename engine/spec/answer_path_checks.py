"""Check the paths of a spec against the answers that research asks for: each has to be able to find a value.

Only specs without shape errors, whose paths all parse, are checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

from engine.errors import suggest_name
from engine.jmespath.path import CompiledPath, Steps
from engine.research.answer_paths import AnswerPaths
from engine.research.json_schema_limits import Schema
from engine.research.json_schema_paths import find_dead_step, list_kinds, list_properties
from engine.research.providers import OUTPUT_KEYS
from engine.spec.answer_checks import Answer
from engine.spec.models import FieldSpec, Spec
from engine.spec.operation_paths import Paths, list_field_paths, list_row_places, list_rows
from engine.spec.yaml_source import Place, Position, Source
from engine.values.column_types import TYPES, name_kinds
from engine.values.exact_json import JsonKind
from engine.values.normalizers import NORMALIZERS

#: The JSON kind of each type of JSON Schema.
_KINDS: Mapping[str, JsonKind] = {
    "array": JsonKind.ARRAY,
    "boolean": JsonKind.BOOLEAN,
    "integer": JsonKind.NUMBER,
    "number": JsonKind.NUMBER,
    "object": JsonKind.OBJECT,
    "string": JsonKind.STRING,
}


@dataclass(frozen=True, slots=True)
class _Mistake:
    """Why a path finds nothing in one operation, and at which position to report it."""

    position: Position
    code: str
    message: str
    hint: str


def check_answer_paths(source: Source, spec: Spec, paths: Paths, answers: Mapping[str, Answer]) -> None:
    """Report each path that finds nothing in any of the operations that use it.

    `answers` has the known answers by operation.
    """
    readers = [_Reader(source, spec, paths, operation, answers.get(operation)) for operation in spec.operations]
    if not _report_common_mistakes(source, (reader.check_rows() for reader in readers)):
        _report_common_mistakes(source, (reader.check_fields() for reader in readers))  # else a consequence


def _report_common_mistakes(source: Source, checks: Iterable[Iterator[tuple[Place, _Mistake | None]]]) -> bool:
    """Report the first mistake at each place that is wrong in every operation; return whether there was any."""
    found: dict[Place, list[_Mistake | None]] = {}
    for place, mistake in chain.from_iterable(checks):
        found.setdefault(place, []).append(mistake)
    common = [mistakes[0] for mistakes in found.values() if mistakes[0] is not None and all(mistakes)]
    for mistake in common:
        source.add_diagnostic(mistake.position, mistake.code, mistake.message, mistake.hint)
    return bool(common)


@dataclass(frozen=True, slots=True)
class _Reader:
    """The paths of a spec in one operation, and what is known about the operation's answer."""

    source: Source
    spec: Spec
    paths: Paths
    operation: str
    answer: Answer | None

    def check_rows(self) -> Iterator[tuple[Place, _Mistake | None]]:
        """Yield the place of each path of `rows` with its mistake, None if there is none."""
        rows = list_rows(self.spec, self.paths, self.operation)
        for index, (path, place) in enumerate(zip(rows, list_row_places(self.spec, self.operation), strict=True)):
            mistake = None
            if self.answer:
                located = AnswerPaths(self.answer.provider, rows[: index + 1])
                outside = AnswerPaths(self.answer.provider, rows[:index])  # `item` is of the outer array
                mistake = self._find_dead_path(self.answer, outside, place, path, "rows")
                mistake = mistake or self._find_no_array(self.answer, located, place, index)
            yield place, mistake

    def check_fields(self) -> Iterator[tuple[Place, _Mistake | None]]:
        """Yield the place of each field's path with its mistake, None if there is none."""
        rows = list_rows(self.spec, self.paths, self.operation)
        for place, name, column, path in list_field_paths(self.spec, self.paths, self.operation):
            mistake = None
            if self.answer:
                located = AnswerPaths(self.answer.provider, rows)
                mistake = self._find_dead_path(self.answer, located, place, path, name)
                mistake = mistake or self._find_wrong_type(self.answer, located, place, name, column, path)
            yield place, mistake

    def _find_no_array(self, answer: Answer, located: AnswerPaths, place: Place, index: int) -> _Mistake | None:
        """Return the mistake of a path of `rows` where the answer's schema has no array, else None."""
        if not isinstance(answer.schema, dict) or index >= len(located.lists):
            return None
        kinds = list_kinds(answer.schema, located.lists[index])
        if "array" in kinds:
            return None
        message = f"`rows` takes an array, and the answer's schema has {_join_kinds(kinds)} there"
        return _Mistake(self.source.find_value_position(place), "SPEC612", message, "correct the path, or the schema")

    def _find_wrong_type(
        self, answer: Answer, located: AnswerPaths, place: Place, name: str, column: FieldSpec, path: CompiledPath
    ) -> _Mistake | None:
        """Return the mistake of a column that accepts no type of the answer's schema at its path, else None."""
        chain = column.normalize
        is_known = column.type in TYPES and (not chain or chain[0] in NORMALIZERS)
        if not isinstance(answer.schema, dict) or not path.alternatives or not is_known:
            return None
        places = [located.locate_steps(steps) for steps in path.alternatives]
        if None in places:
            return None  # the column may get its value from outside the answer
        kinds = {kind for steps in places if steps is not None for kind in list_kinds(answer.schema, steps)} - {"null"}
        takes = NORMALIZERS[chain[0]].accepts if chain else TYPES[column.type].takes
        if not kinds or not takes.isdisjoint(_KINDS[kind] for kind in kinds):
            return None
        taker = f"normalizer `{chain[0]}`" if chain else f"a column of type `{column.type}`"
        message = f"the answer's schema has {_join_kinds(kinds)} for `{name}`, and {taker} takes {name_kinds(takes)}"
        hint = "change the type of one of the two, or add a normalizer"
        return _Mistake(self.source.find_value_position(place), "SPEC615", message, hint)

    def _find_dead_path(
        self, answer: Answer, located: AnswerPaths, place: Place, path: CompiledPath, name: str
    ) -> _Mistake | None:
        """Return the mistake of a path of which no alternative can have a value, else None."""
        reads = path.alternatives or sorted(path.reads)
        dead = [_find_dead_read(steps, answer, located) for steps in reads]
        if not reads or not all(dead):
            return None
        read = dead[0]
        assert read is not None
        key = read.steps[read.index]
        asked = "" if self.spec.research else f" that `{answer.file}` asks for"
        what = f"the answer's schema{asked} has no `{key}` there"
        if located.locate_steps(read.steps) is None:
            what = f"the output{asked} has no key `{key}`"
        hint = "; ".join(filter(None, [read.hint, asked and f"`{answer.file}` may ask for `{key}` too"]))
        offset = _find_step(path.text, read.steps, read.index)
        position = self.source.find_character_position(place, offset)
        return _Mistake(position, "SPEC612", f"`{name}` can never have a value: {what}", hint)


@dataclass(frozen=True, slots=True)
class _DeadRead:
    """A dotted path that can find nothing: its steps, the index of the first one that does not exist, and a hint."""

    steps: Steps
    index: int
    hint: str


def _find_dead_read(steps: Steps, answer: Answer, located: AnswerPaths) -> _DeadRead | None:
    """Return why there can be no value at `steps`; None if there may be one."""
    place = located.locate_steps(steps)
    if place is not None:
        if answer.schema is True:
            return None
        tree: Schema = answer.schema if isinstance(answer.schema, dict) else {"type": "string"}
        dead = find_dead_step(tree, place)
        if dead is None:
            return None
        known = list_properties(tree, place[:dead])
        hint = "nothing there has keys: correct the path or the schema"
        if known:
            hint = suggest_name(str(place[dead]), known)
        return _DeadRead(steps, len(steps) - (len(place) - dead), hint)
    if len(steps) > 1 and steps[0] == "output":
        keys = {*OUTPUT_KEYS, *answer.research.inputs, *answer.research.output}
        if steps[1] not in keys:
            return _DeadRead(steps, 1, suggest_name(steps[1], keys))
    return None


def _find_step(text: str, steps: Steps, dead: int) -> int:
    """Return the offset of a step in the text of its path."""
    before = ".".join(steps[:dead])
    whole = f"{before}.{steps[dead]}"
    offset = text.find(whole)
    return offset + len(before) + 1 if offset >= 0 else max(text.find(steps[dead]), 0)


def _join_kinds(kinds: set[str]) -> str:
    return " or ".join(sorted(kinds)) or "nothing"
