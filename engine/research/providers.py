"""The providers of research that a spec may name, and the limits that each has for the JSON Schema of an answer.

The runner talks to them (`trigger/src/research/`); the checks of specs use what is here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaLimits:
    """The limits that a provider sets for the JSON Schema of an answer."""

    most_levels: int  # levels of nested objects and arrays, the root included
    most_properties: int  # properties of all objects together
    most_enum_values: int  # values of all enums together
    most_schema_characters: int
    most_order_characters: int  # characters of prompt and schema together
    unsupported_keywords: frozenset[str]
    #: Names of what the provider returns for every property anyway, so that a property of that name is redundant.
    reserved_names: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResearchProvider:
    """A provider of research: where an operation's output has its answer, and its limits.

    The basis is the provider's evidence: an array of `{field, citations, reasoning, confidence}` objects. `field` names
    a part of the answer in dotted notation, such as `founders.0.name`.
    """

    name: str
    title: str
    content: tuple[str, ...]  # the steps of the path to the answer's content
    basis: tuple[str, ...]  # the steps of the path to the basis of the answer
    whole_names: frozenset[str]  # the `field` of a basis entry that is about the whole answer
    limits: SchemaLimits


_PARALLEL = ResearchProvider(
    name="parallel",
    title="Parallel",
    content=("output", "parallel_raw_response", "output", "content"),
    basis=("output", "parallel_raw_response", "output", "basis"),
    whole_names=frozenset(("", "content", "output")),
    limits=SchemaLimits(
        most_levels=5,
        most_properties=100,
        most_enum_values=500,
        most_schema_characters=15_000,
        most_order_characters=25_000,
        unsupported_keywords=frozenset(
            (
                *("contains", "format", "maxContains", "maxItems", "maxLength", "maxProperties", "maximum"),
                *("minContains", "minItems", "minLength", "minProperties", "minimum", "multipleOf", "pattern"),
                *("patternProperties", "propertyNames", "unevaluatedItems", "unevaluatedProperties", "uniqueItems"),
            )
        ),
        reserved_names=frozenset(("citations", "confidence", "evidence", "reasoning", "source", "sources")),
    ),
)

PROVIDERS: Mapping[str, ResearchProvider] = MappingProxyType({provider.name: provider for provider in (_PARALLEL,)})

#: Keys that the runner puts into the output of every operation; no input and no key of `output` may have their name.
OUTPUT_KEYS = ("parallel_run_id", "processor", "parallel_raw_response")
