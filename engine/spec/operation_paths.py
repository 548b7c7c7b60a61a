"""List the paths that a spec uses in one of its operations, each with the place where it is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from engine.jmespath.path import CompiledPath
from engine.spec.models import FieldSpec, Spec
from engine.spec.yaml_source import Place

#: Compiled paths by their JMESPath text.
Paths = Mapping[str, CompiledPath]


def list_rows_texts(rows: str | list[str] | None) -> list[str]:
    """Return the paths of `rows`, which is one path or a list of them."""
    return [rows] if isinstance(rows, str) else rows or []


def list_rows(spec: Spec, paths: Paths, operation: str) -> list[CompiledPath]:
    """Return the paths of `rows` in one operation, outermost first; none if a step result gives one row."""
    return [paths[text] for text in list_rows_texts(spec.operations[operation].rows or spec.rows)]


def list_row_places(spec: Spec, operation: str) -> list[Place]:
    """Return where in the spec each path that `list_rows` returns is written, in the same order."""
    own = spec.operations[operation].rows
    place: Place = ("operations", operation, "rows") if own else ("rows",)
    rows = own or spec.rows or ()
    return [place] if isinstance(rows, str) else [(*place, index) for index in range(len(rows))]


def list_field_paths(spec: Spec, paths: Paths, operation: str) -> Iterator[tuple[Place, str, FieldSpec, CompiledPath]]:
    """Yield each field that has a path in one operation: the path's place, the field's name, the field, the path."""
    override = spec.operations[operation]
    for name, column in spec.fields.items():
        own = override.fields.get(name)
        is_own = own is not None and own.path is not None
        place: Place = ("operations", operation, "fields", name, "path") if is_own else ("fields", name, "path")
        text = own.path if own is not None and is_own else column.path
        if text is not None:
            yield place, name, column, paths[text]
