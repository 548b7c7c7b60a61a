"""Check the JSON Schema of an operation's answer against the provider's limits.

Specs with shape errors or with mistakes in their paths are not checked. Afterwards `answer_path_checks.py` checks the
paths of every spec that reads the answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engine.research.answer_json_schema import AnswerColumn, build_answer_schema
from engine.research.answer_paths import AnswerPaths
from engine.research.json_schema_limits import Schema, SchemaMistake, find_schema_mistakes
from engine.research.json_schema_paths import EACH, AnswerSteps
from engine.research.providers import PROVIDERS, ResearchProvider
from engine.spec.diagnostics import Diagnostic
from engine.spec.models import Spec
from engine.spec.operation_paths import Paths, list_field_paths, list_rows
from engine.spec.research_checks import find_prompt, report_missing_file
from engine.spec.research_models import ResearchSpec
from engine.spec.yaml_source import Place, Source, parse_source

_SCHEMA_PLACE: Place = ("research", "output_schema")


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known about the answer to one operation: which spec requests it, how, and its JSON Schema."""

    file: str  # the file of the spec that asks
    research: ResearchSpec
    schema: Schema | bool  # True for `auto`, whose schema is unknown; False for `text`

    @property
    def provider(self) -> ResearchProvider:
        return PROVIDERS[self.research.provider]


def check_answer_schema(source: Source, spec: Spec, paths: Paths) -> Answer | None:
    """Report the mistakes in the schema that `research` asks for; return the answer if there are none, else None."""
    research = spec.research
    if research is None or research.provider not in PROVIDERS or len(spec.operations) != 1:
        return None
    provider = PROVIDERS[research.provider]
    located = AnswerPaths(provider, list_rows(spec, paths, *spec.operations))
    schema = _find_schema(source, spec, paths, located, provider)
    if isinstance(schema, dict):
        _check_length(source, spec, schema, provider)
    return None if schema is None else Answer(source.file, research, schema)


def build_schema_from_fields(spec: Spec, paths: Paths) -> Schema:
    """Return the JSON Schema of the answer for a spec without mistakes that has `output_schema: from_fields`."""
    assert spec.research is not None
    located = AnswerPaths(PROVIDERS[spec.research.provider], list_rows(spec, paths, *spec.operations))
    columns = [column for _, column in _list_answer_columns(spec, paths, located)]
    return build_answer_schema(columns, located.lists, _describe_rows(spec))[0]


def _describe_rows(spec: Spec) -> str:
    return " ".join(spec.description.split())


def _find_schema(
    source: Source, spec: Spec, paths: Paths, located: AnswerPaths, provider: ResearchProvider
) -> Schema | bool | None:
    """Return the schema of the answer: True for `auto`, False for `text`, None after reporting its mistakes."""
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
    positions = parse_source(file.text, file.file)  # every JSON text is YAML
    mistakes = list(find_schema_mistakes(schema, provider))
    for mistake in mistakes:
        position = positions.find_key_position(mistake.place)
        location = (file.file, position.line, position.column)
        source.diagnostics.append(Diagnostic(*location, _choose_code(mistake), mistake.message, mistake.hint))
    return None if mistakes else schema


def _choose_code(mistake: SchemaMistake) -> str:
    return "SPEC611" if mistake.is_reserved_name else "SPEC610"


def _check_from_fields(
    source: Source, spec: Spec, paths: Paths, located: AnswerPaths, provider: ResearchProvider
) -> Schema | None:
    columns = list(_list_answer_columns(spec, paths, located))
    if not columns:
        has_rows = bool(list_rows(spec, paths, *spec.operations))
        example = "item.name" if has_rows else f"{'.'.join(provider.content)}.name"
        message = "no field reads the answer's content by a dotted path"
        if has_rows and not located.lists:
            message = "`rows` reads no array of the answer's content by a dotted path, so no field reads the answer"
            example = f"{'.'.join(provider.content)}.items"
        source.report_value(_SCHEMA_PLACE, "SPEC613", message, f"write a path such as `{example}`")
        return None
    places = {column.name: place for place, column in columns}
    schema, contradictions = build_answer_schema([column for _, column in columns], located.lists, _describe_rows(spec))
    for contradiction in contradictions:
        message = f"`{contradiction.column}` expects another form of a value that a second column reads"
        hint = "give both the same type, or one of them another path"
        source.report_value(places[contradiction.column], "SPEC614", f"{message}: {contradiction.message}", hint)
    mistakes = list(find_schema_mistakes(schema, provider))
    for mistake in mistakes:
        _report_schema_mistake(source, mistake, columns)
    return None if contradictions or mistakes else schema


def _report_schema_mistake(
    source: Source, mistake: SchemaMistake, columns: Sequence[tuple[Place, AnswerColumn]]
) -> None:
    """Report a mistake in a schema built from fields, at the first column whose path reads the property."""
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
    """Convert the place of a part of a schema to the steps that lead to the value it describes."""
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


def _list_answer_columns(spec: Spec, paths: Paths, located: AnswerPaths) -> Iterator[tuple[Place, AnswerColumn]]:
    """Yield the columns whose path has an alternative that reads a property of the answer, with the first such one."""
    for place, name, column, path in list_field_paths(spec, paths, *spec.operations):
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
