"""Spec -> Plan: what every room downstream sees, frozen.

In: a Spec that passed the checks. Out: a Plan with compiled paths, types and normalizers looked up. It must not know
YAML, locations or the database; nothing after it knows the Spec.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property

from engine.jmespath import path
from engine.jmespath.path import Path
from engine.spec.models import FieldSpec, Override, Spec
from engine.values.column_types import TYPES, ColumnType
from engine.values.normalizers import NORMALIZERS, Normalizer

#: Part of every digest. Raise it when the engine itself extracts differently from the same spec.
EXTRACTION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One column of the target table that a spec fills."""

    name: str
    type: ColumnType
    normalizers: tuple[Normalizer, ...]
    required: bool
    on_missing: str  # "keep" | "clear"
    filter: bool
    key: bool  # part of the conflict columns
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """How one operation's output becomes values: a path per field, in the order of Plan.fields."""

    operation: str
    rows: Path | None
    when: Path | None
    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A default target of the backfill script."""

    org_id: str
    submissions: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A compiled spec."""

    name: str
    title: str
    description: str
    file: str  # the spec's file name, for headers of generated files and messages
    table: str
    slug: str
    row_name: str
    conflict: tuple[str, ...]  # includes org_id
    fields: tuple[Field, ...]
    mappings: tuple[Mapping, ...]
    on_absent: str  # "keep" | "delete"
    indexes: tuple[tuple[str, ...], ...]
    targets: tuple[Target, ...]
    digest: str = field(repr=False)  # of all that the stored row depends on; a description is not part of it

    @property
    def many(self) -> bool:
        """Whether one step result may give several rows."""
        return any(mapping.rows is not None for mapping in self.mappings)

    @property
    def operations(self) -> tuple[str, ...]:
        return tuple(mapping.operation for mapping in self.mappings)

    @cached_property
    def key_fields(self) -> tuple[Field, ...]:
        """The fields among the conflict columns, in conflict order (org_id is no field)."""
        return tuple(self.field(name) for name in self.conflict if name != "org_id")

    @cached_property
    def filters(self) -> tuple[Field, ...]:
        return tuple(item for item in self.fields if item.filter)

    def field(self, name: str) -> Field:
        return self._by_name[name]

    def mapping_for(self, operation: str | None) -> Mapping | None:
        return self._by_operation.get(operation or "")

    @cached_property
    def parent_key(self) -> tuple[Field, ...]:
        """Key fields that no operation takes from `item`: they say whose rows `on_absent: delete` compares."""
        return tuple(item for item in self.key_fields if not self._from_item(item))

    def _from_item(self, item: Field) -> bool:
        index = self.fields.index(item)
        return any("item" in mapping.paths[index].roots for mapping in self.mappings)

    @cached_property
    def _by_name(self) -> dict[str, Field]:
        return {item.name: item for item in self.fields}

    @cached_property
    def _by_operation(self) -> dict[str, Mapping]:
        return {mapping.operation: mapping for mapping in self.mappings}


def compile(spec: Spec, file: str) -> Plan:
    """Compile a checked spec. `file` is the name of its file. Raises PathError only for a spec that was not checked."""
    return Plan(
        name=spec.name,
        title=spec.title,
        description=spec.description,
        file=file,
        table=spec.table,
        slug=spec.endpoint,
        row_name=spec.row_name,
        conflict=tuple(spec.conflict),
        fields=tuple(_field(spec, name, item) for name, item in spec.fields.items()),
        mappings=tuple(_mapping(spec, name, item) for name, item in spec.operations.items()),
        on_absent=spec.on_absent,
        indexes=tuple(tuple(columns) for columns in spec.indexes),
        targets=tuple(Target(org_id=item.org_id, submissions=tuple(item.submissions)) for item in spec.backfill),
        digest=_digest(spec),
    )


def _field(spec: Spec, name: str, item: FieldSpec) -> Field:
    return Field(
        name=name,
        type=TYPES[item.type],
        normalizers=tuple(NORMALIZERS[normalizer] for normalizer in item.normalize),
        required=item.required,
        on_missing=item.on_missing,
        filter=item.filter,
        key=name in spec.conflict,
        description=item.description,
    )


def _mapping(spec: Spec, operation: str, override: Override) -> Mapping:
    return Mapping(
        operation=operation,
        rows=_optional(override.rows or spec.rows),
        when=_optional(override.when or spec.when),
        paths=tuple(path.compile(_path_text(name, item, override)) for name, item in spec.fields.items()),
    )


def _path_text(name: str, item: FieldSpec, override: Override) -> str:
    text = override.fields[name].path if name in override.fields else item.path
    assert text is not None, f"unchecked spec: `{name}` has no path"
    return text


def _optional(text: str | None) -> Path | None:
    return None if text is None else path.compile(text)


def _digest(spec: Spec) -> str:
    """SHA-256 over what extraction and the write depend on, and over nothing else."""
    words = {
        "extraction": EXTRACTION,
        "table": spec.table,
        "conflict": spec.conflict,
        "rows": spec.rows,
        "on_absent": spec.on_absent,
        "when": spec.when,
        "operations": {name: override.model_dump() for name, override in spec.operations.items()},
        "fields": {
            name: item.model_dump(include={"type", "path", "normalize", "required", "on_missing"})
            for name, item in spec.fields.items()
        },
    }
    return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()
