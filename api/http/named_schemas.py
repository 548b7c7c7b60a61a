"""JSON Schemas with names, which become components of the OpenAPI document, so that generated clients have types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

REFERENCE = "#/components/schemas/"


class NamedSchema(dict[str, Any]):
    """A JSON Schema with a name. It is a plain dict for code that does not use the name."""

    def __init__(self, name: str, schema: Mapping[str, Any]) -> None:
        super().__init__(schema)
        self.name = name


def move_to_components(value: Any, components: dict[str, Any]) -> Any:
    """Return `value` with each NamedSchema in it replaced by a `$ref`; add the schemas to `components`.

    Raises ValueError when two different schemas have one name.
    """
    if isinstance(value, Mapping):
        plain = {key: move_to_components(part, components) for key, part in value.items()}
        if not isinstance(value, NamedSchema):
            return plain
        if components.setdefault(value.name, plain) != plain:
            raise ValueError(f"two schemas are called `{value.name}`")
        return {"$ref": REFERENCE + value.name}
    if isinstance(value, list | tuple):
        return [move_to_components(part, components) for part in value]
    return value
