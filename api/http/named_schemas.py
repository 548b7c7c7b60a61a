"""JSON Schemas with names. They become components of the OpenAPI document, so that generated clients have types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

REFERENCE = "#/components/schemas/"


class NamedSchema(dict[str, Any]):
    """A JSON Schema with a name; to code that ignores the name it is a plain dict."""

    def __init__(self, name: str, schema: Mapping[str, Any]) -> None:
        super().__init__(schema)
        self.name = name


def move_to_components(value: Any, components: dict[str, Any]) -> Any:
    """Return `value` with a `$ref` in place of each NamedSchema; add these schemas to `components`.

    Raises ValueError when two different schemas have the same name.
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
