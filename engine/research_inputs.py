"""Normalize the inputs of research before it is ordered; the normalizers are those of columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.research_plan import Research, ResearchInput
from engine.values.column_types import shorten_json
from engine.values.exact_json import Json, write_number
from engine.values.normalizers import NormalizeError


@dataclass(frozen=True, slots=True)
class NormalizedInput:
    """The text of one research input.

    `text` is None where none of its values gave one; `refused` is the first reason a normalizer had for refusing a
    value.
    """

    text: str | None
    refused: str | None = None


def normalize_inputs(research: Research, candidates: Mapping[str, Sequence[Json]]) -> dict[str, NormalizedInput]:
    """Return each input of `candidates` by name, normalized: the first of its values that gives a text."""
    inputs = {research_input.name: research_input for research_input in research.inputs}
    return {name: _choose_value(inputs[name], values) for name, values in candidates.items() if name in inputs}


def _choose_value(research_input: ResearchInput, values: Sequence[Json]) -> NormalizedInput:
    refused = None
    for value in values:
        try:
            text = _normalize_value(research_input, value)
        except NormalizeError as error:
            refused = refused or str(error)
            continue
        if text:
            return NormalizedInput(text)
    return NormalizedInput(None, refused)


def _normalize_value(research_input: ResearchInput, value: Json) -> str:
    """Return the normalized text of a value, "" if it has none. Raises NormalizeError when a normalizer refuses it."""
    original = value
    for normalizer in research_input.normalizers:
        try:
            value = normalizer.function(value)
        except NormalizeError as error:
            message = f"`{normalizer.name}` refuses {shorten_json(original)}: {error.message}"
            raise NormalizeError(message) from error
    if isinstance(value, str):
        return value.strip()
    return write_number(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else ""
