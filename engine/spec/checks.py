"""Check a folder of spec files and find every mistake in one pass.

The checks look at raw values and tolerate each other's mistakes, so that a spec with a misspelt key is told of its
misspelt normalizer in the same run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

from pydantic import ValidationError

from engine.errors import suggest_name
from engine.jmespath.path import DOCUMENT_ROOTS, CompiledPath, ParsedPath, parse_path
from engine.provided_columns import PROVIDED_COLUMNS
from engine.spec import shape_errors
from engine.spec.answer_checks import check_answer
from engine.spec.diagnostics import Diagnostic
from engine.spec.models import (
    CORE_TABLES,
    RESERVED_FILTERS,
    RESERVED_PARAMETERS,
    RESERVED_SPEC_NAMES,
    SYSTEM_COLUMNS,
    Spec,
)
from engine.spec.research_checks import check_research, check_research_owners
from engine.spec.vocabulary import OnAbsent, OnMissing
from engine.spec.yaml_source import Place, Source
from engine.values.column_types import TYPES
from engine.values.normalizers import NORMALIZERS

#: Columns of these types are no keys.
_UNCOMPARED = ("jsonb", "text[]")
#: Columns of these types can be searched by their words.
_SEARCHED = ("text", "text[]")

Data = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of checking a folder: its specs of the right shape, their compiled paths, and every mistake."""

    specs: tuple[tuple[Source, Spec], ...]
    diagnostics: tuple[Diagnostic, ...]
    paths: Mapping[str, CompiledPath]  # JMESPath text -> its compiled path; texts with mistakes are left out


class _ParsedPaths(dict[str, ParsedPath]):
    """The paths of a folder by their text. A text is parsed when it is first looked up, and never again."""

    def __init__(self) -> None:
        self.with_roots: dict[tuple[str, Sequence[str]], ParsedPath] = {}  # those of `research`, which start elsewhere

    def __missing__(self, text: str) -> ParsedPath:
        parsed = self[text] = self.parse_at_roots(text, DOCUMENT_ROOTS)
        return parsed

    def parse_at_roots(self, text: str, roots: Sequence[str]) -> ParsedPath:
        """Parse a path that may start at `roots`."""
        if (text, roots) not in self.with_roots:
            self.with_roots[text, roots] = parse_path(text, roots)
        return self.with_roots[text, roots]

    def list_compiled(self) -> dict[str, CompiledPath]:
        """Return the compiled paths by their text, wherever they start."""
        return {text: parsed.path for (text, _), parsed in self.with_roots.items() if parsed.path}


def check_sources(sources: Sequence[Source]) -> Checked:
    """Check a whole folder and return every mistake of every file, in the order of the files."""
    specs = []
    parsed_paths = _ParsedPaths()
    for source in sources:
        if source.data is None:
            continue
        try:
            specs.append((source, Spec.model_validate(source.data)))
        except ValidationError as error:
            shape_errors.report_shape_errors(source, error)
        for rule in _FILE_RULES:
            rule(source, source.data)
        _check_paths(source, source.data, parsed_paths)
        _check_absent(source, source.data, parsed_paths)
        check_research(source, source.data, parsed_paths.parse_at_roots)
    paths = parsed_paths.list_compiled()
    for source, spec in specs:
        if all(text in paths for _, text in _list_paths(source.data)):
            check_answer(source, spec, paths)
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
    if (table := data.get("table")) in CORE_TABLES:
        hint = f"give the rows a table of their own, `{table}_found`, say"
        source.report_value(("table",), "SPEC207", f"table `{table}` is the engine's", hint)


def _check_fields(source: Source, data: Data) -> None:
    conflict = _list_texts(data.get("conflict"))
    for name, field in _list_fields(data):
        _check_field_name(source, name)
        kind = field.get("type")
        if isinstance(kind, str) and kind not in TYPES:
            hint = suggest_name(kind, TYPES)
            source.report_value(("fields", name, "type"), "SPEC301", f"unknown type `{kind}`", hint)
        _check_normalizers(source, name, field)
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
    if name in PROVIDED_COLUMNS:
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


def _check_normalizers(source: Source, name: str, field: Data) -> None:
    chain = []
    for index, normalizer in enumerate(_list_texts(field.get("normalize"))):
        if normalizer in NORMALIZERS:
            chain.append((index, normalizer))
            continue
        place = ("fields", name, "normalize", index)
        source.report_value(
            place, "SPEC304", f"unknown normalizer `{normalizer}`", suggest_name(normalizer, NORMALIZERS)
        )
    kind = field.get("type")
    if not isinstance(kind, str) or kind not in TYPES:
        return
    for (_, before), (index, after) in pairwise(chain):
        if not NORMALIZERS[before].can_feed(NORMALIZERS[after]):
            message = f"`{after}` cannot take what `{before}` gives"
            source.report_value(("fields", name, "normalize", index), "SPEC305", message, "change their order")
    if chain and not NORMALIZERS[chain[-1][1]].fits_column(kind):
        index, last = chain[-1]
        message = f"normalizer `{last}` gives no value for a column of type `{kind}`"
        hint = "take another normalizer, or another type"
        source.report_value(("fields", name, "normalize", index), "SPEC305", message, hint)


def _check_conflict(source: Source, data: Data) -> None:
    columns, fields = _list_texts(data.get("conflict")), dict(_list_fields(data))
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
    """Check that `conflict`, `operations` and target submissions repeat nothing, and that indexed columns exist."""
    for place in (("conflict",), ("operations",)):
        _check_repeats(source, data.get(place[0]), place)
    for index, target in enumerate(_list_entries(data.get("backfill"))):
        if isinstance(target, dict):
            _check_repeats(source, target.get("submissions"), ("backfill", index, "submissions"))
    known = {name for name, _ in _list_fields(data)} | set(PROVIDED_COLUMNS)
    for row, columns in enumerate(_list_entries(data.get("indexes"))):
        for column, text in enumerate(_list_texts(columns)):
            if text not in known:
                message = f"indexed column `{text}` does not exist"
                source.report_value(("indexes", row, column), "SPEC311", message, suggest_name(text, known))


def _check_search(source: Source, data: Data) -> None:
    _check_repeats(source, data.get("search"), ("search",))
    fields = dict(_list_fields(data))
    for index, name in enumerate(_list_texts(data.get("search"))):
        if name not in fields:
            message = f"searched column `{name}` is not a field"
            source.report_value(("search", index), "SPEC311", message, suggest_name(name, fields))
        elif (kind := fields[name].get("type")) in TYPES and kind not in _SEARCHED:
            hint = "search columns of type `text` or `text[]`; give a part of a document a column of its own"
            source.report_value(("search", index), "SPEC309", f"`{name}` is {kind} and cannot be searched", hint)


def _check_repeats(source: Source, values: Any, place: Place) -> None:
    seen: set[str] = set()
    for index, value in enumerate(_list_texts(values)):
        if value in seen:
            source.report_value((*place, index), "SPEC208", f"`{value}` is said twice", "keep one of the two")
        seen.add(value)


def _check_overrides(source: Source, data: Data) -> None:
    fields = dict(_list_fields(data))
    overrides = _read_overrides(data)
    for operation, override in overrides.items():
        for name in _read_mapping(override.get("fields")):
            if name not in fields:
                place = ("operations", operation, "fields", name)
                source.report_key(place, "SPEC308", f"no field `{name}` to override", suggest_name(name, fields))
    for name, field in fields.items():
        if not field or field.get("path") is not None:  # a field that is no mapping is another check's
            continue
        without = [op for op, override in overrides.items() if name not in _read_mapping(override.get("fields"))]
        if without or not overrides:
            named = without and isinstance(data["operations"], dict)  # in a list, none could
            missing = f" and operation `{without[0]}` gives none" if named else ""
            message = f"field `{name}` has no `path`{missing}"
            source.report_key(("fields", name), "SPEC315", message, f"add `path: output.{name}`")


def _check_paths(source: Source, data: Data, parsed_paths: _ParsedPaths) -> None:
    for place, text in _list_paths(data):
        if source.is_cut_by_comment(place):
            hint = "quote the path, or put the comment on a line of its own"
            source.report_value(place, "SPEC406", f"YAML cuts this unquoted path at ` #`, leaving `{text}`", hint)
        parsed = parsed_paths[text]
        for mistake in parsed.mistakes:
            hint = mistake.hint
            if mistake.code == "SPEC402" and (
                known := [name for name in NORMALIZERS if f"`{name}`" in mistake.message]
            ):
                hint = f"that is a normalizer: take the value as it is and add `normalize: [{known[0]}]`"
            source.report_character(place, mistake.offset, mistake.code, mistake.message, hint)
        if _reads_item(parsed) and (reason := _explain_missing_item(data, place)):
            source.report_character(place, max(text.find("item"), 0), "SPEC407", reason, "start the path at `output`")


def _reads_item(parsed: ParsedPath) -> bool:
    return parsed.path is not None and "item" in parsed.path.roots


def _explain_missing_item(data: Data, place: Place) -> str:
    """Return why `item` does not exist at `place`; "" when it does.

    It is one element of `rows`, so every operation that reads the path at `place` needs `rows`.
    """
    if place[-1] != "path":
        return "`item` exists only in the paths of fields, one element of `rows` at a time"
    operations = _read_overrides(data)
    if place[0] == "operations":
        readers = [str(place[1])]
    else:
        readers = [op for op, override in operations.items() if place[1] not in _read_mapping(override.get("fields"))]
    without = [op for op in readers if not (operations[op].get("rows") or data.get("rows"))]
    if not without or not any("rows" in place_ for place_, _ in _list_paths(data)):
        return "`item` exists only in a spec with `rows`" if without else ""
    return f"`item` exists only under `rows`, which operation `{without[0]}` does not have"


def _check_absent(source: Source, data: Data, parsed_paths: _ParsedPaths) -> None:
    if data.get("on_absent") != OnAbsent.DELETE:
        return
    place = ("on_absent",)
    if not any(path_place[-1] == "rows" for path_place, _ in _list_paths(data)):
        source.report_value(place, "SPEC312", "`on_absent: delete` without `rows`", "drop it, or add `rows`")
    elif not _has_parent_key(data, parsed_paths):
        message = "`on_absent: delete` needs a conflict column that does not come from `item`"
        hint = "add one, such as the company's domain; it says whose rows are compared"
        source.report_value(place, "SPEC312", message, hint)


def _has_parent_key(data: Data, parsed_paths: _ParsedPaths) -> bool:
    """Tell whether some conflict column gets its value from outside `item` in every operation."""
    from_item = {
        place[place.index("fields") + 1]
        for place, text in _list_paths(data)
        if place[-1] == "path" and _reads_item(parsed_paths[text])
    }
    return bool(set(_list_texts(data.get("conflict"))) & {name for name, _ in _list_fields(data)} - from_item)


_FILE_RULES: tuple[Callable[[Source, Data], None], ...] = (
    _check_names,
    _check_fields,
    _check_conflict,
    _check_lists,
    _check_search,
    _check_overrides,
)

# --- the folder -----------------------------------------------------------------------------------------------------


def _check_folder(sources: Sequence[Source]) -> None:
    check_research_owners(sources)
    for key in ("table", "slug", "row_name"):
        _check_unique(sources, "SPEC306", key, partial(_list_names, key))


def _check_unique(
    sources: Sequence[Source], code: str, what: str, claims: Callable[[Data], Iterator[tuple[str, Place]]]
) -> None:
    owners: dict[str, Source] = {}
    for source in sources:
        for name, place in claims(source.data or {}):
            owner = owners.setdefault(name, source)
            if owner is not source and not _follows_from_table(what, source, owner):
                _report_taken_name(source, place, code, what, name, owner)


def _follows_from_table(what: str, source: Source, owner: Source) -> bool:
    """Tell whether two slugs are the same because the tables are: then only the table is reported."""
    return what == "slug" and source.data.get("table") == owner.data.get("table")


def _report_taken_name(source: Source, place: Place, code: str, what: str, name: str, owner: Source) -> None:
    kind = what.replace("_", " ")
    hint = f"choose another {kind}"
    if what != "row_name":
        hint = f"{hint}, or let one spec claim both operations"
    source.report_value(place, code, f"{kind} `{name}` is claimed by `{owner.file}` too", hint)


def _list_names(key: str, data: Data) -> Iterator[tuple[str, Place]]:
    if isinstance(data.get(key), str):
        yield data[key], (key,)
    elif key == "slug" and isinstance(data.get("table"), str):
        yield data["table"].replace("_", "-"), ("table",)


# --- reading raw values without believing in their shape --------------------------------------------------------------


def _read_mapping(value: Any) -> Data:
    return value if isinstance(value, dict) else {}


def _list_entries(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _list_texts(value: Any) -> list[str]:
    return [entry for entry in _list_entries(value) if isinstance(entry, str)]


def _read_overrides(data: Data) -> dict[str, Data]:
    """Return operation id -> its overrides, whether `operations` is a list or a mapping."""
    operations = data.get("operations")
    return {name: {} for name in _list_texts(operations)} | {
        name: _read_mapping(override) for name, override in _read_mapping(operations).items()
    }


def _list_fields(data: Data) -> Iterator[tuple[str, Data]]:
    for name, field in _read_mapping(data.get("fields")).items():
        yield name, _read_mapping(field)


def _list_paths(data: Data) -> Iterator[tuple[Place, str]]:
    """Yield every JMESPath string of a spec with its place."""
    for place, holder in _list_path_holders(data):
        for key in ("rows", "when", "path"):
            text = holder.get(key)
            if isinstance(text, str) and (key == "path") == (len(place) > 1 and place[-2] == "fields"):
                yield (*place, key), text


def _list_path_holders(data: Data) -> Iterator[tuple[Place, Data]]:
    yield (), data
    for name, field in _list_fields(data):
        yield ("fields", name), field
    for operation, override in _read_mapping(data.get("operations")).items():
        yield ("operations", operation), _read_mapping(override)
        for name, field in _read_mapping(_read_mapping(override).get("fields")).items():
            yield ("operations", operation, "fields", name), _read_mapping(field)
