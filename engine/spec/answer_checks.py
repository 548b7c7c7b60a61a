"""Check the schema of a spec's answer against the provider's limits, and the spec's fields against the schema.

Only specs without shape errors and without mistakes in their paths are checked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from engine.errors import suggest_name
from engine.jmespath.path import CompiledPath, Steps
from engine.research.answer_json_schema import AnswerColumn, build_answer_schema
from engine.research.answer_paths import AnswerPaths
from engine.research.json_schema_limits import Schema, SchemaMistake, find_schema_mistakes
from engine.research.json_schema_paths import EACH, AnswerSteps, find_dead_step, list_kinds, list_properties
from engine.research.providers import OUTPUT_KEYS, PROVIDERS, ResearchProvider
from engine.spec.diagnostics import Diagnostic
from engine.spec.models import FieldSpec, Spec
from engine.spec.research_checks import find_prompt, report_missing_file
from engine.spec.yaml_source import Place, Source, parse_source
from engine.values.column_types import TYPES, name_kinds
from engine.values.exact_json import JsonKind
from engine.values.normalizers import NORMALIZERS

Paths = Mapping[str, CompiledPath]
_SCHEMA_PLACE: Place = ("research", "output_schema")
#: Keys of the output that the runner fills by itself.
_KNOWN_KEYS = frozenset(OUTPUT_KEYS)


def check_answer(source: Source, spec: Spec, paths: Paths) -> None:
    """Report the mistakes in the answer's schema, and the fields that no answer of this schema can fill."""
    research = spec.research
    if research is None or research.provider not in PROVIDERS or len(spec.operations) != 1:
        return
    provider = PROVIDERS[research.provider]
    located = AnswerPaths(provider, _list_rows(spec, paths))
    schema = _find_schema(source, spec, paths, located, provider)
    if isinstance(schema, dict):
        _check_length(source, spec, schema, provider)
    if schema is not None:
        _check_field_paths(source, spec, paths, located, schema)


def build_schema_from_fields(spec: Spec, paths: Paths) -> Schema:
    """Return the JSON Schema of the answer for a checked spec with `output_schema: from_fields`."""
    assert spec.research is not None
    located = AnswerPaths(PROVIDERS[spec.research.provider], _list_rows(spec, paths))
    columns = [column for _, column in _list_answer_columns(spec, paths, located)]
    return build_answer_schema(columns, located.lists, _describe_rows(spec))[0]


def _describe_rows(spec: Spec) -> str:
    return " ".join(spec.description.split())


def _find_schema(
    source: Source, spec: Spec, paths: Paths, located: AnswerPaths, provider: ResearchProvider
) -> Schema | bool | None:
    """Return the schema of the answer; True for `auto`, False for `text`, None for a wrong one, which is reported."""
    assert spec.research is not None
    word = spec.research.output_schema
    if word in ("auto", "text"):
        return word == "auto"
    if word == "from_fields":
        return _check_from_fields(source, spec, paths, located, provider)
    return _check_schema_file(source, word, provider) if word.endswith(".json") else None


def _check_schema_file(source: Source, name: str, provider: ResearchProvider) -> Schema | None:
    file = source.files.get(name)
    if file is None or file.text is None:
        report_missing_file(source, _SCHEMA_PLACE, name, file)
        return None
    try:
        schema = json.loads(file.text)
    except (json.JSONDecodeError, RecursionError) as error:
        line, column = (error.lineno, error.colno) if isinstance(error, json.JSONDecodeError) else (1, 1)
        message = f"not JSON: {error.msg.lower()}" if isinstance(error, json.JSONDecodeError) else "nests too deep"
        hint = "write one JSON object"
        source.diagnostics.append(Diagnostic(file.file, line, column, "SPEC609", message, hint))
        return None
    positions = parse_source(file.text, file.file)  # JSON is YAML
    mistakes = list(find_schema_mistakes(schema, provider))
    for mistake in mistakes:
        position = positions.find_key_position(mistake.place)
        found = (file.file, position.line, position.column)
        source.diagnostics.append(Diagnostic(*found, _choose_code(mistake), mistake.message, mistake.hint))
    return None if mistakes else schema


def _choose_code(mistake: SchemaMistake) -> str:
    return "SPEC611" if mistake.is_reserved_name else "SPEC610"


def _check_from_fields(
    source: Source, spec: Spec, paths: Paths, located: AnswerPaths, provider: ResearchProvider
) -> Schema | None:
    columns = list(_list_answer_columns(spec, paths, located))
    if not columns:
        example = "item.name" if _list_rows(spec, paths) else f"{'.'.join(provider.content)}.name"
        message = "no field reads the answer's content by a dotted path"
        if _list_rows(spec, paths) and not located.lists:
            message = "`rows` reads no array of the answer's content by a dotted path, so no field reads the answer"
            example = f"{'.'.join(provider.content)}.items"
        source.report_value(_SCHEMA_PLACE, "SPEC613", message, f"write a path such as `{example}`")
        return None
    places = {column.name: place for place, column in columns}
    schema, contradictions = build_answer_schema([column for _, column in columns], located.lists, _describe_rows(spec))
    for contradiction in contradictions:
        message = f"`{contradiction.column}` asks for a value that another column asks for otherwise"
        hint = "give both the same type, or one of them another path"
        source.report_value(places[contradiction.column], "SPEC614", f"{message}: {contradiction.message}", hint)
    mistakes = list(find_schema_mistakes(schema, provider))
    for mistake in mistakes:
        _report_schema_mistake(source, mistake, columns)
    return None if contradictions or mistakes else schema


def _report_schema_mistake(
    source: Source, mistake: SchemaMistake, columns: Sequence[tuple[Place, AnswerColumn]]
) -> None:
    """Report a mistake of a schema built from fields at the first column that reads the property, at its name."""
    steps = _read_answer_steps(mistake.place)
    code = _choose_code(mistake)
    for place, column in columns:
        if steps and column.steps[: len(steps)] == steps:
            name = next((step for step in reversed(steps) if step is not None), "")
            text = source.scalars[place].value if place in source.scalars else ""
            offset = max(text.rfind(name), 0)
            source.report_character(place, offset, code, mistake.message, mistake.hint)
            return
    source.report_value(_SCHEMA_PLACE, code, mistake.message, mistake.hint)


def _read_answer_steps(place: Sequence[str | int]) -> AnswerSteps:
    """Convert the place of a schema in its root schema to the steps of the value that it describes."""
    steps: list[str | None] = []
    index = 0
    while index < len(place):
        if place[index] == "properties" and index + 1 < len(place):
            steps.append(str(place[index + 1]))
            index += 1
        elif place[index] == "items":
            steps.append(EACH)
        index += 1
    return tuple(steps)


def _check_length(source: Source, spec: Spec, schema: Schema, provider: ResearchProvider) -> None:
    assert spec.research is not None
    prompt = find_prompt(source, {"prompt": spec.research.prompt})
    length = len(json.dumps(schema, ensure_ascii=False)) + (len(prompt.text) if prompt else 0)
    most = provider.limits.most_order_characters
    if length > most:
        message = f"prompt and schema have {length} characters: {provider.title} takes at most {most} together"
        source.report_value(("research", "prompt"), "SPEC610", message, "shorten the prompt or the descriptions")


# --- fields -----------------------------------------------------------------------------------------------------------


def _list_rows(spec: Spec, paths: Paths) -> list[CompiledPath]:
    (override,) = spec.operations.values()
    rows = override.rows or spec.rows or ()
    return [paths[text] for text in ([rows] if isinstance(rows, str) else rows)]


def _list_field_paths(spec: Spec, paths: Paths) -> Iterator[tuple[Place, str, FieldSpec, CompiledPath]]:
    """Yield place, name, field and path of each field that has a path in the spec's one operation."""
    ((operation, override),) = spec.operations.items()
    for name, column in spec.fields.items():
        own = override.fields.get(name)
        is_own = own is not None and own.path is not None
        place: Place = ("operations", operation, "fields", name, "path") if is_own else ("fields", name, "path")
        text = own.path if own is not None and is_own else column.path
        if text is not None:
            yield place, name, column, paths[text]


def _list_answer_columns(spec: Spec, paths: Paths, located: AnswerPaths) -> Iterator[tuple[Place, AnswerColumn]]:
    """Yield the columns that read a property of the answer, by the first of their alternatives that does."""
    for place, name, column, path in _list_field_paths(spec, paths):
        properties = (steps for steps in located.locate_alternatives(path) if steps and steps[-1] is not EACH)
        steps = next(properties, None)
        if steps is not None:
            is_element_key = name in spec.conflict and EACH in steps
            yield (
                place,
                AnswerColumn(
                    name=name,
                    type=column.type,
                    steps=steps,
                    required=column.required or is_element_key,
                    description=column.description,
                    normalizers=tuple(column.normalize),
                ),
            )


def _check_field_paths(source: Source, spec: Spec, paths: Paths, located: AnswerPaths, schema: Schema | bool) -> None:
    mistakes = len(source.diagnostics)
    assert spec.research is not None
    rows = _list_rows(spec, paths)
    for index, (path, place) in enumerate(zip(rows, _list_row_places(spec), strict=True)):
        outside = AnswerPaths(PROVIDERS[spec.research.provider], rows[:index])  # here `item` is the outer element
        if not _report_dead_path(source, place, path, "rows", spec, outside, schema) and isinstance(schema, dict):
            _check_array(source, place, located, schema, index)
    if len(source.diagnostics) > mistakes:
        return  # every `item` would be reported again
    for place, name, column, path in _list_field_paths(spec, paths):
        if not _report_dead_path(source, place, path, name, spec, located, schema) and isinstance(schema, dict):
            _check_type(source, place, name, column, path, located, schema)


def _list_row_places(spec: Spec) -> list[Place]:
    ((operation, override),) = spec.operations.items()
    place: Place = ("operations", operation, "rows") if override.rows else ("rows",)
    rows = override.rows or spec.rows or ()
    return [place] if isinstance(rows, str) else [(*place, index) for index in range(len(rows))]


def _check_array(source: Source, place: Place, located: AnswerPaths, schema: Schema, index: int) -> None:
    if index < len(located.lists):
        kinds = list_kinds(schema, located.lists[index])
        if "array" not in kinds:
            message = f"`rows` takes an array, and the answer's schema has {_join_kinds(kinds)} there"
            source.report_value(place, "SPEC612", message, "mend the path, or the schema")


def _check_type(
    source: Source,
    place: Place,
    name: str,
    column: FieldSpec,
    path: CompiledPath,
    located: AnswerPaths,
    schema: Schema,
) -> None:
    """Report a column that accepts none of the types that the answer's schema has at its path."""
    chain = column.normalize
    if not path.alternatives or column.type not in TYPES or (chain and chain[0] not in NORMALIZERS):
        return
    answers = [located.locate_steps(steps) for steps in path.alternatives]
    if None in answers:
        return  # a part of the document outside of the answer may fill it
    kinds = {kind for steps in answers if steps is not None for kind in list_kinds(schema, steps)} - {"null"}
    takes = NORMALIZERS[chain[0]].accepts if chain else TYPES[column.type].takes
    if kinds and takes.isdisjoint(_KINDS[kind] for kind in kinds):
        taker = f"normalizer `{chain[0]}`" if chain else f"a column of type `{column.type}`"
        message = f"the answer's schema has {_join_kinds(kinds)} for `{name}`, and {taker} takes {name_kinds(takes)}"
        source.report_value(place, "SPEC615", message, "change the type of one of the two, or add a normalizer")


#: Type of JSON Schema -> JSON type.
_KINDS: Mapping[str, JsonKind] = {
    "array": JsonKind.ARRAY,
    "boolean": JsonKind.BOOLEAN,
    "integer": JsonKind.NUMBER,
    "number": JsonKind.NUMBER,
    "object": JsonKind.OBJECT,
    "string": JsonKind.STRING,
}


def _report_dead_path(
    source: Source,
    place: Place,
    path: CompiledPath,
    name: str,
    spec: Spec,
    located: AnswerPaths,
    schema: Schema | bool,
) -> bool:
    """Report a path whose alternatives can never have a value; return whether it was reported."""
    problems = [_find_problem(steps, spec, located, schema) for steps in _list_reads(path)]
    first = next((problem for problem in problems if problem), None)
    if not first or not all(problems):
        return False
    steps, dead, hint = first
    what = f"`{name}` can never have a value"
    message = f"{what}: {_describe_dead_step(steps, dead, located)}"
    source.report_character(place, _find_step(path.text, steps, dead), "SPEC612", message, hint)
    return True


def _list_reads(path: CompiledPath) -> Sequence[Steps]:
    return path.alternatives or sorted(path.reads)


_Problem = tuple[Steps, int, str]  # the steps of a path, the index of the first without a value, and a hint


def _find_problem(steps: Steps, spec: Spec, located: AnswerPaths, schema: Schema | bool) -> _Problem | None:
    """Return why there can be no value at `steps`; None when there may be one."""
    assert spec.research is not None
    answer = located.locate_steps(steps)
    if answer is not None:
        if schema is True:
            return None
        tree: Schema = schema if isinstance(schema, dict) else {"type": "string"}
        dead = find_dead_step(tree, answer)
        if dead is None:
            return None
        hint = suggest_name(str(answer[dead]), list_properties(tree, answer[:dead]))
        return steps, len(steps) - (len(answer) - dead), hint
    if len(steps) > 1 and steps[0] == "output":
        keys = {*_KNOWN_KEYS, *spec.research.inputs, *spec.research.output}
        if steps[1] not in keys:
            return steps, 1, suggest_name(steps[1], keys)
    return None


def _describe_dead_step(steps: Steps, dead: int, located: AnswerPaths) -> str:
    if located.locate_steps(steps) is None:
        return f"the output has no key `{steps[dead]}`"
    return f"the answer's schema has no `{steps[dead]}` there"


def _find_step(text: str, steps: Steps, dead: int) -> int:
    """Return the offset in the text of the step with index `dead`."""
    before = ".".join(steps[:dead])
    whole = f"{before}.{steps[dead]}"
    offset = text.find(whole)
    return offset + len(before) + 1 if offset >= 0 else max(text.find(steps[dead]), 0)


def _join_kinds(kinds: set[str]) -> str:
    return " or ".join(sorted(kinds)) or "nothing"
