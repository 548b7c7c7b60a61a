"""Compile a checked spec into a Plan: frozen, with its paths compiled and its types and normalizers looked up.

Extraction, SQL and generated files are all made from the Plan; none of them reads the Spec.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType

from engine.jmespath.path import ELEMENT_ROOTS, CompiledPath
from engine.research_plan import Research, compile_research
from engine.spec.enums import NullKey, OnAbsent, OnInvalid, OnMissing
from engine.spec.models import FieldSpec, Override, Spec
from engine.spec.operation_paths import list_rows_texts
from engine.spec.referenced_files import ReferencedFile
from engine.values.code_versions import compute_version
from engine.values.column_types import TYPES, ColumnType
from engine.values.normalizers import NORMALIZERS, Normalizer

#: Part of every digest. Raise it when the engine starts to extract different rows from the same spec.
EXTRACTION_VERSION = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One column of the target table that a spec fills."""

    name: str
    type: ColumnType
    normalizers: tuple[Normalizer, ...]
    required: bool  # declared `required`, or a conflict column that rejects null
    on_missing: OnMissing
    on_invalid: OnInvalid = OnInvalid.REJECT
    coalesce: tuple[str, ...] = ()  # instead of a path: the fields whose first value it takes
    filter: bool
    key: bool  # part of the conflict columns
    description: str


@dataclass(frozen=True, kw_only=True)
class OperationMapping:
    """The paths that read one operation's output: those of the rows, of the guard `when`, and of each field.

    `paths` is in the order of `Plan.fields`.
    """

    operation: str
    rows: CompiledPath | None
    inner_rows: CompiledPath | None = None  # the path of an array inside each element of `rows`
    when: CompiledPath | None
    fields: tuple[Field, ...]  # with the normalizers of this operation
    paths: tuple[CompiledPath | None, ...]  # None for a field that is derived from others

    @property
    def rows_texts(self) -> tuple[str, ...]:
        """The paths of `rows` as written in the spec: none, one, or two if `rows` is nested."""
        return tuple(path.text for path in (self.rows, self.inner_rows) if path is not None)

    @cached_property
    def needs_objects(self) -> bool:
        """True when some path reads a key of `item`: then an element that is not an object is refused."""
        reads = (steps for path in self.paths if path is not None for steps in path.reads)
        return any(steps[0] == "item" and len(steps) > 1 for steps in reads if steps)

    @cached_property
    def sources(self) -> tuple[tuple[Field, CompiledPath], ...]:
        """The fields that have a path, each with its path: all but those derived by `coalesce`."""
        pairs = zip(self.fields, self.paths, strict=True)
        return tuple((column, path) for column, path in pairs if path is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An organisation and its submissions that `dex backfill` processes when its caller names none."""

    org_id: str
    submissions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SpecText:
    """The YAML text of a spec, to be shown: `whole`, and `shared` without the block `backfill`, which names tenants."""

    whole: str
    shared: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A compiled spec: all that the rest of the engine needs to know about it."""

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
    research: Research | None  # None: another spec, or no spec, says how the operations are executed
    digest: str = field(repr=False)  # a hash of all that the stored rows depend on, so of no description
    rebuilds: str = ""  # of a temporary plan that fills a new table: the spec whose table that becomes
    text: SpecText = field(repr=False, default=SpecText("", ""))

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
    def given_fields(self) -> tuple[Field, ...]:
        """The fields whose values a caller gives: all but those derived by `coalesce`."""
        return tuple(column for column in self.fields if not column.coalesce)

    def list_fields(self, operation: str | None) -> tuple[Field, ...]:
        """Return the fields with the normalizers of an operation; with those of the spec for any other operation."""
        mapping = self.find_mapping(operation)
        return mapping.fields if mapping else self.fields

    def list_operation_fields(self, name: str) -> tuple[Field, ...]:
        """Return a field as each operation fills it, with the normalizers of that operation."""
        index = self.fields.index(self.field(name))
        return tuple(mapping.fields[index] for mapping in self.mappings)

    @cached_property
    def has_normalizers_by_operation(self) -> bool:
        """True when some operation overrides the normalizers of a field."""
        return any(mapping.fields != self.fields for mapping in self.mappings)

    @cached_property
    def filters(self) -> tuple[Field, ...]:
        """The fields that a query may filter by."""
        return tuple(column for column in self.fields if column.filter)

    @cached_property
    def kept_fields(self) -> tuple[Field, ...]:
        """The fields that keep their older value where a newer result has none (`on_missing: keep`)."""
        return tuple(column for column in self.fields if column.on_missing is OnMissing.KEEP and not column.key)

    def field(self, name: str) -> Field:
        return self._by_name[name]

    def find_mapping(self, operation: str | None) -> OperationMapping | None:
        return self._by_operation.get(operation or "")

    @cached_property
    def parent_key(self) -> tuple[Field, ...]:
        """The key fields that come from the step result itself, not from an element of its rows.

        With `on_absent: delete`, a step result replaces all rows that have its values of these fields.
        """
        return tuple(column for column in self.key_fields if not self._reads_element(column))

    def _reads_element(self, column: Field) -> bool:
        """Return whether some operation reads the field, or a field it is derived from, from an element."""
        if column.coalesce:
            return any(self._reads_element(self.field(name)) for name in column.coalesce)
        index = self.fields.index(column)
        paths = (mapping.paths[index] for mapping in self.mappings)
        return any(path is not None and not path.roots.isdisjoint(ELEMENT_ROOTS) for path in paths)

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
    text: SpecText = SpecText("", ""),
) -> Plan:
    """Compile a spec that passed the checks, with the paths that the checks compiled.

    `file` is the name of the spec's file, `paths` holds a compiled path for each JMESPath text of the spec
    (`Checked.paths`), `files` those that the spec refers to (`Source.files`).
    Raises KeyError only for a spec that did not pass the checks.
    """
    fields = tuple(_compile_field(spec, name, column, paths) for name, column in spec.fields.items())
    mappings = tuple(
        _compile_mapping(spec, name, override, fields, paths) for name, override in spec.operations.items()
    )
    return Plan(
        name=spec.name,
        title=spec.title,
        description=spec.description,
        file=file,
        table=spec.table,
        slug=spec.endpoint,
        row_name=spec.row_name,
        conflict=tuple(spec.conflict),
        fields=fields,
        mappings=mappings,
        on_absent=OnAbsent(spec.on_absent),
        indexes=tuple(tuple(columns) for columns in spec.indexes),
        search=tuple(spec.search),
        targets=tuple(Target(org_id=target.org_id, submissions=tuple(target.submissions)) for target in spec.backfill),
        research=compile_research(spec, paths, files),
        digest=_compute_digest(spec, fields, mappings),
        text=text,
    )


def _compile_field(spec: Spec, name: str, column: FieldSpec, paths: Mapping[str, CompiledPath]) -> Field:
    return Field(
        name=name,
        type=TYPES[column.type],
        normalizers=tuple(NORMALIZERS[normalizer] for normalizer in column.normalize),
        required=column.required or _is_null_key_rejected(spec, name, paths),
        on_missing=OnMissing(column.on_missing),
        on_invalid=OnInvalid(column.on_invalid),
        coalesce=tuple(column.coalesce or ()),
        filter=column.filter,
        key=name in spec.conflict,
        description=column.description,
    )


def _is_null_key_rejected(spec: Spec, name: str, paths: Mapping[str, CompiledPath]) -> bool:
    """Return whether a conflict column rejects null: by its `null_key`, or by default where a path reads `item`."""
    null_key = spec.fields[name].null_key
    if name not in spec.conflict:
        return False
    if null_key is not None:
        return NullKey(null_key) is NullKey.REJECT
    return any("item" in paths[text].roots for text in _list_path_texts(spec, name))


def _list_path_texts(spec: Spec, name: str) -> Iterator[str]:
    """Yield the paths that fill a field in any operation; for a derived field, the paths of the fields it takes."""
    column = spec.fields[name]
    for source in column.coalesce or ():
        yield from _list_path_texts(spec, source)
    overrides = [override.fields[name].path for override in spec.operations.values() if name in override.fields]
    yield from (text for text in (column.path, *overrides) if text is not None)


def _compile_mapping(
    spec: Spec, operation: str, override: Override, fields: tuple[Field, ...], paths: Mapping[str, CompiledPath]
) -> OperationMapping:
    rows, when = override.rows or spec.rows, override.when or spec.when
    outer, inner, *_ = (*list_rows_texts(rows), None, None)
    return OperationMapping(
        operation=operation,
        rows=None if outer is None else paths[outer],
        inner_rows=None if inner is None else paths[inner],
        when=None if when is None else paths[when],
        fields=tuple(_override_normalizers(column, override) for column in fields),
        paths=tuple(_choose_path(spec, column, override, paths) for column in fields),
    )


def _override_normalizers(column: Field, override: Override) -> Field:
    """Return the field with the normalizers that an operation has of its own, if it has any."""
    own = override.fields[column.name].normalize if column.name in override.fields else None
    return column if own is None else replace(column, normalizers=tuple(NORMALIZERS[name] for name in own))


def _choose_path(
    spec: Spec, column: Field, override: Override, paths: Mapping[str, CompiledPath]
) -> CompiledPath | None:
    if column.coalesce:
        return None
    own = override.fields[column.name].path if column.name in override.fields else None
    text = own if own is not None else spec.fields[column.name].path
    assert text is not None, f"unchecked spec: `{column.name}` has no path"
    return paths[text]


def _compute_digest(spec: Spec, fields: Sequence[Field], mappings: Sequence[OperationMapping]) -> str:
    """Return a 64-bit hash of all that the stored rows depend on, including the code of normalizers and casts."""
    parts = {
        "extraction": EXTRACTION_VERSION,
        "table": spec.table,
        "conflict": spec.conflict,
        "on_absent": spec.on_absent,
        "operations": {
            mapping.operation: [
                mapping.rows_texts,
                mapping.when.text if mapping.when else None,
                [path.text if path else None for path in mapping.paths],
                [[normalizer.name for normalizer in column.normalizers] for column in mapping.fields],
            ]
            for mapping in mappings
        },
        "fields": [
            (column.name, column.type.name, column.required, column.on_missing, column.on_invalid, column.coalesce)
            for column in fields
        ],
        "code": _collect_versions(mappings),
    }
    # Short, since every ledger entry holds it; 64 bits are enough to tell the versions of a spec apart.
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _collect_versions(mappings: Iterable[OperationMapping]) -> dict[str, str]:
    """Return the code version of every normalizer and cast that the plan uses, by its name."""
    columns = [column for mapping in mappings for column in mapping.fields]
    versions = {column.type.name: compute_version(column.type.cast) for column in columns}
    return versions | {normalizer.name: normalizer.version for column in columns for normalizer in column.normalizers}
