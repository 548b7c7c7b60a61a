"""The pydantic models of the `research` block: how to buy an operation's research from a provider."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, WithJsonSchema

from engine.research.providers import PROVIDERS
from engine.spec.strict_model import StrictModel
from engine.values.normalizers import NORMALIZERS

#: The values of `output_schema` that are not file names.
SCHEMA_WORDS: Final = ("auto", "text", "from_fields")
DURATION: Final = r"^[1-9][0-9]{0,4}[smhdw]$"
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def _wrap_in_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


_PATHS_SCHEMA = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
PathTexts = Annotated[list[str], BeforeValidator(_wrap_in_list), Field(min_length=1), WithJsonSchema(_PATHS_SCHEMA)]


class InputSpec(StrictModel):
    """One input of the research: the text to insert at its placeholder in the prompt."""

    path: PathTexts = Field(
        description="JMESPath over `context`, the cumulative context before the research, and `step_input`. A list of "
        "paths takes the first that gives a text after normalizing. A number is used as text; null, blank strings and "
        "all other values are skipped.",
        examples=["context.company_name", ["context.domain", "context.company_domain"]],
    )
    normalize: list[str] = Field(
        default=[],
        description="Normalizers by name, applied in order. A value that one of them refuses is skipped.",
        json_schema_extra={"items": {"type": "string", "enum": [*sorted(NORMALIZERS)]}},
        examples=[["domain"]],
    )
    required: bool = Field(
        default=False, description="Whether the step fails with `missing_inputs`, and orders nothing, without a text."
    )


class ResearchSpec(StrictModel):
    """How to buy the research of an operation from a provider. At most one spec per operation has it."""

    provider: str = Field(
        description="The provider of the research.",
        json_schema_extra={"enum": [*sorted(PROVIDERS)]},
        examples=["parallel"],
    )
    processor: str = Field(
        min_length=1,
        description="The provider's processor, unless a step's `step_config.processor` names another. Any word is "
        "accepted, since the provider's list grows.",
        examples=["pro"],
    )
    prompt: str = Field(
        min_length=1,
        description="The prompt, with `{{input}}` for each input; a line whose inputs are all blank is left out. Or "
        "the path of a `.md` or `.txt` file below `specs/`.",
        examples=["List the funding rounds of {{company_name}}.", "prompts/company_funding.md"],
    )
    inputs: dict[str, InputSpec] = Field(
        min_length=1,
        description="The texts to insert into the prompt, by name. The output has the inputs under the same names.",
    )
    output_schema: str = Field(
        default="auto",
        min_length=1,
        description="The form of the answer: with `auto` the provider chooses it, `text` is a report in prose, "
        "`from_fields` is made from the fields of this spec, and the path of a `.json` file below `specs/` is a JSON "
        "Schema.",
        examples=["auto", "from_fields", "schemas/company_funding.json"],
    )
    output: dict[str, str] = Field(
        default={},
        description="Further keys of the operation's output, each a JMESPath over `inputs` (the texts by name), "
        "`context` and `step_input`. The output always has the inputs, `parallel_run_id`, `processor` and "
        "`parallel_raw_response`.",
        examples=[{"domain": "inputs.company_domain"}],
    )
    fresh_for: str | None = Field(
        default=None,
        pattern=DURATION,
        description="For how long the answer to an equal question is used instead of ordering again: a number and `s`, "
        "`m`, `h`, `d` or `w`.",
        examples=["90d"],
    )


def parse_duration(text: str) -> timedelta:
    """Convert a text such as `90d` or `12h` to a timedelta."""
    assert re.match(DURATION, text), f"unchecked spec: `{text}` is no duration"
    return timedelta(**{_UNITS[text[-1]]: int(text[:-1])})


def is_file_reference(prompt: str) -> bool:
    """Return whether a prompt is the path of a file: one word that ends in `.md` or `.txt`."""
    return re.fullmatch(r"\S+\.(md|txt)\s*", prompt) is not None
