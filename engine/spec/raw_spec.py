"""Read raw values of a spec, whatever their types: a value of an unexpected type counts as absent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engine.spec.yaml_source import Place

Data = dict[str, Any]


def read_mapping(value: Any) -> Data:
    """Return `value` if it is a mapping, else an empty mapping."""
    return value if isinstance(value, dict) else {}


def list_entries(value: Any) -> list[Any]:
    """Return `value` if it is a list, else an empty list."""
    return value if isinstance(value, list) else []


def list_texts(value: Any) -> list[str]:
    """Return the strings in `value` if it is a list, else an empty list."""
    return [entry for entry in list_entries(value) if isinstance(entry, str)]


def read_overrides(data: Data) -> dict[str, Data]:
    """Return the overrides of each operation by its id, whether `operations` is a list or a mapping."""
    operations = data.get("operations")
    return {name: {} for name in list_texts(operations)} | {
        name: read_mapping(override) for name, override in read_mapping(operations).items()
    }


def list_fields(data: Data) -> Iterator[tuple[str, Data]]:
    """Yield the name of every field with its settings."""
    for name, field in read_mapping(data.get("fields")).items():
        yield name, read_mapping(field)


def list_field_overrides(data: Data) -> Iterator[tuple[str, str, Data]]:
    """Yield (operation, field, settings) for each field that an operation overrides."""
    for operation, override in read_overrides(data).items():
        for name, field in read_mapping(override.get("fields")).items():
            yield operation, name, read_mapping(field)


def list_rows_paths(holder: Data) -> list[str]:
    """Return the paths of `rows` in a spec or override: none, one, or two if rows are nested."""
    rows = holder.get("rows")
    return [rows] if isinstance(rows, str) else list_texts(rows)


def list_paths(data: Data) -> Iterator[tuple[Place, str]]:
    """Yield every JMESPath string of a spec with the place where it is written."""
    for place, holder in _list_path_holders(data):
        in_field = len(place) > 1 and place[-2] == "fields"
        for key in ("path",) if in_field else ("rows", "when"):
            text = holder.get(key)
            if isinstance(text, str):
                yield (*place, key), text
            elif key == "rows":
                yield from (((*place, key, index), each) for index, each in enumerate(list_texts(text)))


def _list_path_holders(data: Data) -> Iterator[tuple[Place, Data]]:
    yield (), data
    for name, field in list_fields(data):
        yield ("fields", name), field
    for operation, override in read_mapping(data.get("operations")).items():
        yield ("operations", operation), read_mapping(override)
        for name, field in read_mapping(read_mapping(override).get("fields")).items():
            yield ("operations", operation, "fields", name), read_mapping(field)


def list_field_paths(data: Data, name: str, operation: str) -> list[str]:
    """Return the paths by which an operation fills a field; for a field with `coalesce`, those of its sources."""
    field = read_mapping(read_mapping(data.get("fields")).get(name))
    if sources := list_texts(field.get("coalesce")):
        return [path for source in sources if source != name for path in list_own_paths(data, source, operation)]
    return list_own_paths(data, name, operation)


def list_own_paths(data: Data, name: str, operation: str) -> list[str]:
    """Return the path of a field in an operation, in a list; an empty list if it has none."""
    field = read_mapping(read_mapping(data.get("fields")).get(name))
    own = read_mapping(read_mapping(read_overrides(data).get(operation, {}).get("fields")).get(name))
    path = own.get("path") if own.get("path") is not None else field.get("path")
    return [path] if isinstance(path, str) else []


def list_operation_rows(data: Data, operation: str) -> list[str]:
    """Return the paths of `rows` in an operation: its own, or else the spec's."""
    return list_rows_paths(read_overrides(data).get(operation, {})) or list_rows_paths(data)
