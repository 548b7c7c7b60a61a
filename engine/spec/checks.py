"""Check a folder of spec files and find every mistake in one pass.

The checks read raw values and do not depend on each other, so that a misspelt key and a misspelt normalizer in one
spec are both reported in one run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pydantic import ValidationError

from engine.errors import suggest_name
from engine.jmespath.path import CompiledPath
from engine.provided_columns import ENGINE_COLUMNS, PROVIDED_COLUMNS
from engine.spec import shape_errors
from engine.spec.answer_checks import check_answer_schema
from engine.spec.answer_path_checks import check_answer_paths
from engine.spec.diagnostics import Diagnostic
from engine.spec.enums import NullKey, OnInvalid, OnMissing
from engine.spec.models import (
    CORE_TABLES,
    OPERATION_ID,
    RESERVED_FILTERS,
    RESERVED_PARAMETERS,
    RESERVED_SLUGS,
    RESERVED_SPEC_NAMES,
    SYSTEM_COLUMNS,
    Spec,
    build_slug,
)
from engine.spec.path_checks import ParsedPaths, check_paths
from engine.spec.raw_spec import (
    Data,
    list_entries,
    list_field_overrides,
    list_fields,
    list_paths,
    list_texts,
    read_mapping,
    read_overrides,
)
from engine.spec.research_checks import check_research, check_research_owners
from engine.spec.yaml_source import Place, Source
from engine.values.column_types import TYPES
from engine.values.normalizers import NORMALIZERS

#: Types of columns that cannot be part of a key.
_UNCOMPARED = ("jsonb", "text[]")
#: Types of columns that full text can search.
_SEARCHED = ("text", "text[]")


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of checking a folder: the specs without shape errors, their compiled paths, and every mistake."""

    specs: tuple[tuple[Source, Spec], ...]
    diagnostics: tuple[Diagnostic, ...]
    paths: Mapping[str, CompiledPath]  # by JMESPath text; those with mistakes are left out


def check_sources(sources: Sequence[Source]) -> Checked:
    """Check all files of a folder together; return every mistake, in the order of the files."""
    specs = []
    parsed_paths = ParsedPaths()
    for source in sources:
        if source.data is None:
            continue
        try:
            specs.append((source, Spec.model_validate(source.data)))
        except ValidationError as error:
            shape_errors.report_shape_errors(source, error)
        for rule in _FILE_RULES:
            rule(source, source.data)
        check_paths(source, source.data, parsed_paths)
        check_research(source, source.data, parsed_paths.parse_at_roots)
    paths = parsed_paths.list_compiled()
    _check_answers([pair for pair in specs if all(text in paths for _, text in list_paths(pair[0].data))], paths)
    _check_folder(sources)
    return Checked(
        specs=tuple(specs),
        diagnostics=tuple(sorted({diagnostic for source in sources for diagnostic in source.diagnostics})),
        paths=paths,
    )


# --- one file -------------------------------------------------------------------------------------------------------


def _check_names(source: Source, data: Data) -> None:
    name = data.get("name")
    if isinstance(name, str) and name != source.stem:
        hint = f"rename the file to `{name}.yaml`, or the spec to `{source.stem}`"
        source.report_value(("name",), "SPEC205", f"name `{name}` is not the file's, `{source.stem}`", hint)
    if name in RESERVED_SPEC_NAMES:
        message = f"`dex generate` writes something of its own under the name `{name}`"
        source.report_value(("name",), "SPEC207", message, f"call the spec `{name}_rows`, say; its table may stay")
    table = data.get("table")
    if isinstance(table, str) and table.removeprefix("public.") in CORE_TABLES:
        hint = f"give the rows a table of their own, `{table}_found`, say"
        source.report_value(("table",), "SPEC207", f"table `{table}` is the engine's", hint)
        return
    slug = data.get("slug") or (build_slug(table) if isinstance(table, str) else None)
    if slug in RESERVED_SLUGS:
        place = "slug" if data.get("slug") else "table"
        message = f"`/api/v1/{slug}` is an endpoint of the engine's"
        source.report_value((place,), "SPEC207", message, f"write a slug of its own, `slug: {slug}-found`, say")


def _check_fields(source: Source, data: Data) -> None:
    conflict = list_texts(data.get("conflict"))
    for name, field in list_fields(data):
        _check_field_name(source, name)
        kind = field.get("type")
        if isinstance(kind, str) and kind not in TYPES:
            hint = suggest_type(kind)
            source.report_value(("fields", name, "type"), "SPEC301", f"unknown type `{kind}`", hint)
        _check_normalizers(source, ("fields", name), kind, field.get("normalize"))
        _check_coalesce(source, data, name, field)
        _check_key_words(source, name, field, name in conflict)
        if field.get("filter") is True:
            _check_filter(source, name, kind)
        if field.get("on_missing") == OnMissing.CLEAR and (field.get("required") is True or name in conflict):
            what = "required" if field.get("required") is True else "a conflict column"
            message = f"`{name}` is {what} and cannot be cleared"
            source.report_value(("fields", name, "on_missing"), "SPEC314", message, "drop `on_missing: clear`")


def _check_filter(source: Source, name: str, kind: Any) -> None:
    if kind == "jsonb":
        hint = "give the part you filter by a column of its own"
        source.report_value(("fields", name, "filter"), "SPEC309", f"`{name}` is {kind} and cannot be a filter", hint)
    if name in RESERVED_FILTERS:
        hint = f"call it `{name}_value`, say, or leave out `filter`"
        source.report_key(("fields", name), "SPEC207", f"`{name}` is a parameter of the query endpoint", hint)


def _check_field_name(source: Source, name: str) -> None:
    place = ("fields", name)
    if name in ENGINE_COLUMNS:
        hint = "leave it out: the engine fills it"
        source.report_key(place, "SPEC207", f"column `{name}` is provided by the engine", hint)
    elif name in SYSTEM_COLUMNS:
        hint = f"call it `{name}_value`, say"
        source.report_key(place, "SPEC207", f"`{name}` is a column Postgres gives every table", hint)
    elif name in RESERVED_PARAMETERS:
        hint = f"call it `{name}_value`, say"
        source.report_key(place, "SPEC207", f"`{name}` is a parameter of the endpoints", hint)
    elif not shape_errors.is_identifier(name):
        hint = "write a lower-case word with underscores, at most 63 characters"
        source.report_key(place, "SPEC206", f"`{name}` is not a column name", hint)


def suggest_type(kind: str) -> str:
    """Return a hint for an unknown column type: what another system calls so, or the type with the closest name."""
    word = re.sub(r"\(.*\)|[^a-z0-9\[\] ]", "", kind.lower()).strip()
    if word in _TYPE_SYNONYMS:
        return f"write `{_TYPE_SYNONYMS[word]}`"
    return suggest_name(kind, TYPES)


#: The type of a spec for each name of a type in other systems.
_TYPE_SYNONYMS = {
    **dict.fromkeys(("string", "str", "varchar", "character varying", "char", "character", "citext", "enum"), "text"),
    **dict.fromkeys(("int", "int4", "int32", "smallint", "int2", "serial"), "integer"),
    **dict.fromkeys(("int8", "int64", "long", "bigserial"), "bigint"),
    **dict.fromkeys(("decimal", "number", "money", "dec"), "numeric"),
    **dict.fromkeys(("float", "double", "float8", "float4", "float64", "real"), "double precision"),
    **dict.fromkeys(("bool", "bit"), "boolean"),
    **dict.fromkeys(("json", "object", "dict", "map", "any"), "jsonb"),
    **dict.fromkeys(("datetime", "timestamp", "timestamp with time zone", "time"), "timestamptz"),
    **dict.fromkeys(("array", "list", "string[]", "strings", "varchar[]"), "text[]"),
    "guid": "uuid",
}


def _check_normalizers(source: Source, place: Place, kind: Any, normalize: Any) -> None:
    chain = []
    for index, normalizer in enumerate(list_texts(normalize)):
        if normalizer in NORMALIZERS:
            chain.append((index, normalizer))
            continue
        hint = suggest_name(normalizer, NORMALIZERS)
        source.report_value((*place, "normalize", index), "SPEC304", f"unknown normalizer `{normalizer}`", hint)
    if not isinstance(kind, str) or kind not in TYPES:
        return
    for (_, before), (index, after) in pairwise(chain):
        if not NORMALIZERS[before].can_feed(NORMALIZERS[after]):
            message = f"`{after}` cannot take what `{before}` gives"
            hint = "change their order"
            if before == "json":
                hint = 'open JSON inside a string in the path, "parse_json(output.text).name"'
            source.report_value((*place, "normalize", index), "SPEC305", message, hint)
    if chain and not NORMALIZERS[chain[-1][1]].fits_column(kind):
        index, last = chain[-1]
        message = f"normalizer `{last}` gives no value for a column of type `{kind}`"
        hint = "take another normalizer, or another type"
        source.report_value((*place, "normalize", index), "SPEC305", message, hint)


def _check_coalesce(source: Source, data: Data, name: str, field: Data) -> None:
    if field.get("coalesce") is None:
        return
    place, fields = ("fields", name, "coalesce"), dict(list_fields(data))
    own = [override for _, overridden, override in list_field_overrides(data) if overridden == name]
    if field.get("path") is not None or any(override.get("path") is not None for override in own):
        source.report_value(place, "SPEC317", f"`{name}` has both `path` and `coalesce`", "keep one of the two")
    if field.get("type") in TYPES and field.get("type") != "text":
        message = f"`coalesce` takes text fields, and `{name}` is {field['type']}"
        source.report_value(("fields", name, "type"), "SPEC317", message, "write `type: text`")
    for index, other in enumerate(list_texts(field["coalesce"])):
        if other not in fields:
            hint = suggest_name(other, fields)
            source.report_value((*place, index), "SPEC317", f"`coalesce` names no field `{other}`", hint)
        elif fields[other].get("coalesce") is not None:
            message = f"`{other}` has `coalesce` itself, and `coalesce` does not chain"
            source.report_value((*place, index), "SPEC317", message, "name the fields that have a path")
        elif fields[other].get("type") in TYPES and fields[other].get("type") != "text":
            message = f"`coalesce` takes text fields, and `{other}` is {fields[other]['type']}"
            source.report_value((*place, index), "SPEC317", message, "name text fields")


def _check_key_words(source: Source, name: str, field: Data, is_key: bool) -> None:
    """Report `null_key` on a column outside the key, and `on_invalid: missing` on a key column."""
    if field.get("null_key") is not None and not is_key:
        message = f"`{name}` is no conflict column, so `null_key` says nothing"
        source.report_value(("fields", name, "null_key"), "SPEC318", message, "drop it, or write `required: true`")
    elif field.get("null_key") == NullKey.MATCH and field.get("required") is True:
        message = f"`{name}` is required, so its key is never null"
        source.report_value(("fields", name, "null_key"), "SPEC318", message, "drop `null_key` or `required`")
    if field.get("on_invalid") == OnInvalid.MISSING and is_key:
        message = f"`{name}` is a conflict column: an invalid value must not give it another row's key"
        source.report_value(("fields", name, "on_invalid"), "SPEC318", message, "drop `on_invalid: missing`")


def _check_conflict(source: Source, data: Data) -> None:
    columns, fields = list_texts(data.get("conflict")), dict(list_fields(data))
    if columns and "org_id" not in columns:
        hint = "add `org_id`: two organisations must never share a row"
        source.report_value(("conflict",), "SPEC303", "`conflict` lacks `org_id`", hint)
    for index, column in enumerate(columns):
        place = ("conflict", index)
        if column == "org_id":
            continue
        if column not in fields and fields:
            message = f"conflict column `{column}` is not a field"
            source.report_value(place, "SPEC302", message, suggest_name(column, fields))
        elif fields.get(column, {}).get("type") in _UNCOMPARED:
            kind = fields[column]["type"]
            source.report_value(place, "SPEC310", f"conflict column `{column}` is {kind}", "take a scalar column")


def _check_lists(source: Source, data: Data) -> None:
    """Report repeated entries in `conflict`, `operations` and submissions, and indexed columns that do not exist."""
    for place in (("conflict",), ("operations",)):
        _check_repeats(source, data.get(place[0]), place)
    for index, target in enumerate(list_entries(data.get("backfill"))):
        if isinstance(target, dict):
            _check_repeats(source, target.get("submissions"), ("backfill", index, "submissions"))
    known = {name for name, _ in list_fields(data)} | set(PROVIDED_COLUMNS)
    for row, columns in enumerate(list_entries(data.get("indexes"))):
        for column, text in enumerate(list_texts(columns)):
            if text not in known:
                message = f"indexed column `{text}` does not exist"
                source.report_value(("indexes", row, column), "SPEC311", message, suggest_name(text, known))


def _check_operation_ids(source: Source, data: Data) -> None:
    operations = data.get("operations")
    report = source.report_value if isinstance(operations, list) else source.report_key
    for step, operation in enumerate(list_entries(operations) or read_mapping(operations)):
        if isinstance(operation, str) and not re.fullmatch(OPERATION_ID, operation):
            place = ("operations", step if isinstance(operations, list) else operation)
            message = f"`{operation}` is not the id of an operation" if operation else "the id of an operation is empty"
            hint = "write `company.derive.funding`, say: 1 to 200 characters of ASCII, no space"
            report(place, "SPEC206", message, hint)


def _check_search(source: Source, data: Data) -> None:
    _check_repeats(source, data.get("search"), ("search",))
    fields = dict(list_fields(data))
    for index, name in enumerate(list_texts(data.get("search"))):
        if name not in fields:
            message = f"searched column `{name}` is not a field"
            source.report_value(("search", index), "SPEC311", message, suggest_name(name, fields))
        elif (kind := fields[name].get("type")) in TYPES and kind not in _SEARCHED:
            hint = "search columns of type `text` or `text[]`; give a part of a document a column of its own"
            source.report_value(("search", index), "SPEC309", f"`{name}` is {kind} and cannot be searched", hint)


def _check_repeats(source: Source, values: Any, place: Place) -> None:
    seen: set[str] = set()
    for index, value in enumerate(list_texts(values)):
        if value in seen:
            source.report_value((*place, index), "SPEC208", f"`{value}` is given twice", "keep one of the two")
        seen.add(value)


def _check_overrides(source: Source, data: Data) -> None:
    fields = dict(list_fields(data))
    overrides = read_overrides(data)
    for operation, override in overrides.items():
        for name in read_mapping(override.get("fields")):
            if name not in fields:
                place = ("operations", operation, "fields", name)
                source.report_key(place, "SPEC308", f"no field `{name}` to override", suggest_name(name, fields))
    for operation, name, override in list_field_overrides(data):
        place = ("operations", operation, "fields", name)
        _check_normalizers(source, place, fields.get(name, {}).get("type"), override.get("normalize"))
    for name, field in fields.items():
        if not field or field.get("path") is not None or field.get("coalesce") is not None:
            continue  # a field that is not a mapping is reported as a shape error
        with_path = {op for op, other, override in list_field_overrides(data) if other == name and override.get("path")}
        without = [operation for operation in overrides if operation not in with_path]
        if without or not overrides:
            named = without and isinstance(data["operations"], dict)  # operations in a list cannot have a path
            missing = f" and operation `{without[0]}` gives none" if named else ""
            message = f"field `{name}` has no `path`{missing}"
            source.report_key(("fields", name), "SPEC315", message, f"add `path: output.{name}`")


_FILE_RULES: tuple[Callable[[Source, Data], None], ...] = (
    _check_names,
    _check_fields,
    _check_conflict,
    _check_lists,
    _check_operation_ids,
    _check_search,
    _check_overrides,
)

# --- the folder -----------------------------------------------------------------------------------------------------


def _check_answers(specs: Sequence[tuple[Source, Spec]], paths: Mapping[str, CompiledPath]) -> None:
    """Check the schema of each operation's answer, then the paths of every spec that reads it."""
    answers_by_spec = [(spec, check_answer_schema(source, spec, paths)) for source, spec in specs]
    answers = {operation: answer for spec, answer in answers_by_spec if answer for operation in spec.operations}
    for source, spec in specs:
        check_answer_paths(source, spec, paths, answers)


def _check_folder(sources: Sequence[Source]) -> None:
    check_research_owners(sources)
    for key in ("table", "slug", "row_name"):
        _check_unique(sources, key)


def _check_unique(sources: Sequence[Source], key: str) -> None:
    owners: dict[str, Source] = {}
    for source in sources:
        for name, place in _list_names(key, source.data or {}):
            owner = owners.setdefault(name, source)
            if owner is not source and not _follows_from_table(key, source, owner):
                _report_taken_name(source, place, key, name, owner)


def _follows_from_table(key: str, source: Source, owner: Source) -> bool:
    """Return whether two slugs are equal only because the tables are equal, which is reported already."""
    tables = [[name for name, _ in _list_names("table", spec.data)] for spec in (source, owner)]
    return key == "slug" and tables[0] == tables[1]


def _report_taken_name(source: Source, place: Place, key: str, name: str, owner: Source) -> None:
    kind = key.replace("_", " ")
    hint = f"choose another {kind}"
    if key != "row_name":
        hint = f"{hint}, or let one spec claim both operations"
    source.report_value(place, "SPEC306", f"{kind} `{name}` is claimed by `{owner.file}` too", hint)


def _list_names(key: str, data: Data) -> Iterator[tuple[str, Place]]:
    if isinstance(data.get(key), str):
        yield data[key].removeprefix("public." if key == "table" else ""), (key,)
    elif key == "slug" and isinstance(data.get("table"), str):
        yield build_slug(data["table"]), ("table",)
