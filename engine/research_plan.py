"""Compile the `research` block of a checked spec: how the runner buys the research of an operation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from engine.jmespath.path import CompiledPath
from engine.research.providers import PROVIDERS, ResearchProvider
from engine.spec.answer_checks import build_schema_from_fields
from engine.spec.models import Spec
from engine.spec.referenced_files import ReferencedFile
from engine.spec.research_models import is_file_reference, parse_duration
from engine.values.normalizers import NORMALIZERS, Normalizer

#: The output schema that asks the provider for a report in prose.
TEXT_SCHEMA: Mapping[str, Any] = {"type": "text"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ResearchInput:
    """One input of the research: the first of `paths` that gives a text after normalizing."""

    name: str
    paths: tuple[CompiledPath, ...]
    normalizers: tuple[Normalizer, ...]
    required: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Research:
    """How the runner buys the research of one operation from a provider: the compiled `research` block of its spec."""

    operation: str
    provider: ResearchProvider
    processor: str
    prompt: str  # a template with `{{input}}` placeholders
    inputs: tuple[ResearchInput, ...]
    #: `{"type": "json", "json_schema": ...}` or `{"type": "text"}`; None: the provider decides the form of its answer.
    output_schema: Mapping[str, Any] | None
    output: tuple[tuple[str, CompiledPath], ...]  # key and path of each further key of the operation's output
    fresh_for: timedelta | None  # how long the answer to an equal question is reused

    @property
    def fresh_for_seconds(self) -> float | None:
        """For how many seconds an answer is reused; None: only unfinished orders are shared."""
        return self.fresh_for.total_seconds() if self.fresh_for else None


def compile_research(
    spec: Spec, paths: Mapping[str, CompiledPath], files: Mapping[str, ReferencedFile]
) -> Research | None:
    """Compile the `research` block of a spec that passed the checks; None for a spec without one.

    `files` are those that the spec refers to (`Source.files`).
    """
    research = spec.research
    if research is None:
        return None
    (operation,) = spec.operations
    return Research(
        operation=operation,
        provider=PROVIDERS[research.provider],
        processor=research.processor.strip(),
        prompt=_read_prompt(research.prompt, files),
        inputs=tuple(
            ResearchInput(
                name=name,
                paths=tuple(paths[text] for text in settings.path),
                normalizers=tuple(NORMALIZERS[normalizer] for normalizer in settings.normalize),
                required=settings.required,
            )
            for name, settings in research.inputs.items()
        ),
        output_schema=_build_output_schema(spec, paths, files),
        output=tuple((name, paths[text]) for name, text in research.output.items()),
        fresh_for=None if research.fresh_for is None else parse_duration(research.fresh_for),
    )


def _read_prompt(prompt: str, files: Mapping[str, ReferencedFile]) -> str:
    return _read_file(prompt.strip(), files) if is_file_reference(prompt) else prompt


def _build_output_schema(
    spec: Spec, paths: Mapping[str, CompiledPath], files: Mapping[str, ReferencedFile]
) -> Mapping[str, Any] | None:
    assert spec.research is not None
    word = spec.research.output_schema
    if word == "auto":
        return None
    if word == "text":
        return TEXT_SCHEMA
    if word == "from_fields":
        return {"type": "json", "json_schema": build_schema_from_fields(spec, paths)}
    return {"type": "json", "json_schema": json.loads(_read_file(word, files))}


def _read_file(name: str, files: Mapping[str, ReferencedFile]) -> str:
    text = files[name].text
    assert text is not None, f"unchecked spec: `{name}` was not read"
    return text.replace("\r\n", "\n")
