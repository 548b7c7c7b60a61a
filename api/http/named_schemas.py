"""JSON Schemas with names: where they stand in the OpenAPI document, generated clients find types of these names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

REFERENCE = "#/components/schemas/"


class NamedSchema(dict[str, Any]):
    """A schema that becomes a component. It is a plain schema to whoever validates with it."""

    def __init__(self, name: str, schema: Mapping[str, Any]) -> None:
        super().__init__(schema)
        self.name = name


def move_to_components(value: Any, components: dict[str, Any]) -> Any:
    """Return `value` with a reference for each named schema in it; put the schemas into `components`.

    Raises ValueError for two schemas of one name that differ.
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
