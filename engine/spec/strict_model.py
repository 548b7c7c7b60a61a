"""The base of the YAML format's models: unknown keys are mistakes, and no value is converted."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class StrictModel(BaseModel):
    """A part of a spec as its author writes it."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
