"""Compile a checked spec into a Plan: frozen, with its paths compiled and its types and normalizers looked up.

Extraction, SQL and generated files are all made from the Plan; none of them reads the Spec.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

from engine.jmespath.path import CompiledPath
from engine.research_plan import Research, compile_research
from engine.spec.models import FieldSpec, Override, Spec
from engine.spec.referenced_files import ReferencedFile
from engine.spec.vocabulary import OnAbsent, OnMissing
from engine.values.column_types import TYPES, ColumnType
from engine.values.normalizers import NORMALIZERS, Normalizer

#: Part of every digest. Raise it when the engine starts to extract different rows from the same spec.
EXTRACTION_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One column of the target table that a spec fills."""

    name: str
    type: ColumnType
    normalizers: tuple[Normalizer, ...]
    required: bool
    on_missing: OnMissing
    filter: bool
    key: bool  # part of the conflict columns
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationMapping:
    """The paths of one operation: to its rows, to its guard, and one per field in the order of Plan.fields."""

    operation: str
    rows: CompiledPath | None
    when: CompiledPath | None
    paths: tuple[CompiledPath, ...]


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
    mappings: tuple[OperationMapping, ...]
    on_absent: OnAbsent
    indexes: tuple[tuple[str, ...], ...]
    search: tuple[str, ...] = ()  # the columns that full text searches
    targets: tuple[Target, ...]
    research: Research | None  # None: another spec, or nothing here, says how the operations are executed
    digest: str = field(repr=False)  # of all that the stored row depends on; a description is not part of it

    @property
    def many(self) -> bool:
        """True when one step result may give several rows."""
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
        return tuple(column for column in self.fields if column.filter)

    def field(self, name: str) -> Field:
        return self._by_name[name]

    def find_mapping(self, operation: str | None) -> OperationMapping | None:
        return self._by_operation.get(operation or "")

    @cached_property
    def parent_key(self) -> tuple[Field, ...]:
        """Key fields that no operation takes from `item`: they say whose rows `on_absent: delete` compares."""
        return tuple(column for column in self.key_fields if not self._reads_item(column))

    def _reads_item(self, column: Field) -> bool:
        index = self.fields.index(column)
        return any("item" in mapping.paths[index].roots for mapping in self.mappings)

    @cached_property
    def _by_name(self) -> dict[str, Field]:
        return {column.name: column for column in self.fields}

    @cached_property
    def _by_operation(self) -> dict[str, OperationMapping]:
        return {mapping.operation: mapping for mapping in self.mappings}


def compile_spec(
    spec: Spec,
    file: str,
    paths: Mapping[str, CompiledPath],
    files: Mapping[str, ReferencedFile] = MappingProxyType({}),
) -> Plan:
    """Compile a spec that passed the checks, with the paths that the checks compiled.

    `file` is the name of the spec's file, `paths` holds a compiled path for each JMESPath text of the spec
    (`Checked.paths`), `files` those that the spec refers to (`Source.files`).
    Raises KeyError only for a spec that did not pass the checks.
    """
    return Plan(
        name=spec.name,
        title=spec.title,
        description=spec.description,
        file=file,
        table=spec.table,
        slug=spec.endpoint,
        row_name=spec.row_name,
        conflict=tuple(spec.conflict),
        fields=tuple(_compile_field(spec, name, column) for name, column in spec.fields.items()),
        mappings=tuple(_compile_mapping(spec, name, override, paths) for name, override in spec.operations.items()),
        on_absent=OnAbsent(spec.on_absent),
        indexes=tuple(tuple(columns) for columns in spec.indexes),
        search=tuple(spec.search),
        targets=tuple(Target(org_id=target.org_id, submissions=tuple(target.submissions)) for target in spec.backfill),
        research=compile_research(spec, paths, files),
        digest=_compute_digest(spec),
    )


def _compile_field(spec: Spec, name: str, column: FieldSpec) -> Field:
    return Field(
        name=name,
        type=TYPES[column.type],
        normalizers=tuple(NORMALIZERS[normalizer] for normalizer in column.normalize),
        required=column.required,
        on_missing=OnMissing(column.on_missing),
        filter=column.filter,
        key=name in spec.conflict,
        description=column.description,
    )


def _compile_mapping(
    spec: Spec, operation: str, override: Override, paths: Mapping[str, CompiledPath]
) -> OperationMapping:
    rows, when = override.rows or spec.rows, override.when or spec.when
    return OperationMapping(
        operation=operation,
        rows=None if rows is None else paths[rows],
        when=None if when is None else paths[when],
        paths=tuple(paths[_choose_path_text(name, column, override)] for name, column in spec.fields.items()),
    )


def _choose_path_text(name: str, column: FieldSpec, override: Override) -> str:
    text = override.fields[name].path if name in override.fields else column.path
    assert text is not None, f"unchecked spec: `{name}` has no path"
    return text


def _compute_digest(spec: Spec) -> str:
    """Return the SHA-256 of the parts of a spec that the stored row depends on."""
    parts = {
        "extraction": EXTRACTION_VERSION,
        "table": spec.table,
        "conflict": spec.conflict,
        "rows": spec.rows,
        "on_absent": spec.on_absent,
        "when": spec.when,
        "operations": {name: override.model_dump() for name, override in spec.operations.items()},
        "fields": {
            name: column.model_dump(include={"type", "path", "normalize", "required", "on_missing"})
            for name, column in spec.fields.items()
        },
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
