"""A folder of sources -> every mistake in it.

In: Sources (and for the shape, the models of spec.py). Out: Diagnostics, all of them in one pass.
It must not know plans, SQL or the file system.

Checks look at the raw values, each tolerating what another check complains about, so that a spec with one misspelt key
still hears about its misspelt normalizer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

from pydantic import ValidationError

from engine.errors import nearest
from engine.jmespath import path as paths
from engine.jmespath.grammar import PathError
from engine.spec import shape_errors
from engine.spec.diagnostics import Diagnostic
from engine.spec.models import CORE_TABLES, GENERATED, PROVIDED, RESERVED, SYSTEM, Spec
from engine.spec.yaml_source import Place, Position, Source
from engine.values.column_types import TYPES
from engine.values.normalizers import NORMALIZERS

#: Columns of these types are neither keys nor filters.
_UNCOMPARED = ("jsonb", "text[]")

Data = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Checked:
    """What the checks made of one folder: the specs that have the right shape, and everything that is wrong."""

    specs: tuple[tuple[Source, Spec], ...]
    diagnostics: tuple[Diagnostic, ...]


def check(sources: Sequence[Source]) -> Checked:
    """Check a whole folder. Every mistake of every file is found at once, in the order of the files."""
    specs = []
    for source in sources:
        if source.data is None:
            continue
        try:
            specs.append((source, Spec.model_validate(source.data)))
        except ValidationError as error:
            shape_errors.report(source, error)
        for rule in _FILE_RULES:
            rule(source, source.data)
    _check_folder(sources)
    return Checked(tuple(specs), tuple(sorted({item for source in sources for item in source.diagnostics})))


# --- one file -------------------------------------------------------------------------------------------------------


def _check_names(source: Source, data: Data) -> None:
    name = data.get("name")
    if isinstance(name, str) and name != source.stem:
        hint = f"rename the file to `{name}.yaml`, or the spec to `{source.stem}`"
        source.say(source.at(("name",)), "SPEC205", f"name `{name}` is not the file's, `{source.stem}`", hint)
    if name in GENERATED:
        message = f"`dex generate` writes something of its own under the name `{name}`"
        source.say(source.at(("name",)), "SPEC207", message, f"call the spec `{name}_rows`, say; its table may stay")
    if (table := data.get("table")) in CORE_TABLES:
        hint = f"give the rows a table of their own, `{table}_found`, say"
        source.say(source.at(("table",)), "SPEC207", f"table `{table}` is the engine's", hint)


def _check_fields(source: Source, data: Data) -> None:
    conflict = _texts(data.get("conflict"))
    for name, field in _fields(data):
        _check_field_name(source, name)
        kind = field.get("type")
        if isinstance(kind, str) and kind not in TYPES:
            hint = nearest(kind, TYPES)
            source.say(source.at(("fields", name, "type")), "SPEC301", f"unknown type `{kind}`", hint)
        _check_normalizers(source, name, field)
        if kind in _UNCOMPARED and field.get("filter") is True:
            hint = "filter by a scalar column"
            place = ("fields", name, "filter")
            source.say(source.at(place), "SPEC309", f"`{name}` is {kind} and cannot be a filter", hint)
        if field.get("on_missing") == "clear" and (field.get("required") is True or name in conflict):
            what = "required" if field.get("required") is True else "a conflict column"
            message = f"`{name}` is {what} and cannot be cleared"
            source.say(source.at(("fields", name, "on_missing")), "SPEC314", message, "drop `on_missing: clear`")


def _check_field_name(source: Source, name: str) -> None:
    place = ("fields", name)
    if name in PROVIDED:
        hint = "leave it out: the engine fills it"
        source.say(source.at_key(place), "SPEC207", f"column `{name}` is provided by the engine", hint)
    elif name in SYSTEM:
        hint = f"call it `{name}_value`, say"
        source.say(source.at_key(place), "SPEC207", f"`{name}` is a column Postgres gives every table", hint)
    elif name in RESERVED:
        hint = f"call it `{name}_value`, say"
        source.say(source.at_key(place), "SPEC207", f"`{name}` is a parameter of the endpoints", hint)
    elif not shape_errors.is_identifier(name):
        hint = "write a lower-case word with underscores, at most 63 characters"
        source.say(source.at_key(place), "SPEC206", f"`{name}` is not a column name", hint)


def _check_normalizers(source: Source, name: str, field: Data) -> None:
    chain = []
    for index, normalizer in enumerate(_texts(field.get("normalize"))):
        if normalizer in NORMALIZERS:
            chain.append((index, normalizer))
            continue
        place = ("fields", name, "normalize", index)
        source.say(source.at(place), "SPEC304", f"unknown normalizer `{normalizer}`", nearest(normalizer, NORMALIZERS))
    kind = field.get("type")
    if not isinstance(kind, str) or kind not in TYPES:
        return
    for (_, before), (index, after) in pairwise(chain):
        if not NORMALIZERS[before].feeds(NORMALIZERS[after]):
            message = f"`{after}` cannot take what `{before}` gives"
            source.say(source.at(("fields", name, "normalize", index)), "SPEC305", message, "change their order")
    if chain and not NORMALIZERS[chain[-1][1]].fits(kind):
        index, last = chain[-1]
        message = f"normalizer `{last}` gives no value for a column of type `{kind}`"
        hint = "take another normalizer, or another type"
        source.say(source.at(("fields", name, "normalize", index)), "SPEC305", message, hint)


def _check_conflict(source: Source, data: Data) -> None:
    columns, fields = _texts(data.get("conflict")), dict(_fields(data))
    if columns and "org_id" not in columns:
        hint = "add `org_id`: two organisations must never share a row"
        source.say(source.at(("conflict",)), "SPEC303", "`conflict` lacks `org_id`", hint)
    for index, column in enumerate(columns):
        place = ("conflict", index)
        if column == "org_id":
            continue
        if column not in fields and fields:
            message = f"conflict column `{column}` is not a field"
            source.say(source.at(place), "SPEC302", message, nearest(column, fields))
        elif fields.get(column, {}).get("type") in _UNCOMPARED:
            kind = fields[column]["type"]
            source.say(source.at(place), "SPEC310", f"conflict column `{column}` is {kind}", "take a scalar column")


def _check_lists(source: Source, data: Data) -> None:
    """`conflict`, `operations`, the targets' submissions: nothing twice. `indexes`: known columns."""
    for place in (("conflict",), ("operations",)):
        _check_repeats(source, data.get(place[0]), place)
    for index, target in enumerate(_items(data.get("backfill"))):
        if isinstance(target, dict):
            _check_repeats(source, target.get("submissions"), ("backfill", index, "submissions"))
    known = {name for name, _ in _fields(data)} | set(PROVIDED)
    for row, columns in enumerate(_items(data.get("indexes"))):
        for column, text in enumerate(_texts(columns)):
            if text not in known:
                message = f"indexed column `{text}` does not exist"
                source.say(source.at(("indexes", row, column)), "SPEC311", message, nearest(text, known))


def _check_repeats(source: Source, values: Any, place: Place) -> None:
    seen: set[str] = set()
    for index, value in enumerate(_texts(values)):
        if value in seen:
            source.say(source.at((*place, index)), "SPEC208", f"`{value}` is said twice", "keep one of the two")
        seen.add(value)


def _check_overrides(source: Source, data: Data) -> None:
    fields = dict(_fields(data))
    overrides = _overrides(data)
    for operation, override in overrides.items():
        for name in _mapping(override.get("fields")):
            if name not in fields:
                place = ("operations", operation, "fields", name)
                source.say(source.at_key(place), "SPEC308", f"no field `{name}` to override", nearest(name, fields))
    for name, field in fields.items():
        if not field or field.get("path") is not None:  # a field that is no mapping is another check's
            continue
        without = [op for op, override in overrides.items() if name not in _mapping(override.get("fields"))]
        if without or not overrides:
            named = without and isinstance(data["operations"], dict)  # in a list, none could
            missing = f" and operation `{without[0]}` gives none" if named else ""
            message = f"field `{name}` has no `path`{missing}"
            source.say(source.at_key(("fields", name)), "SPEC315", message, f"add `path: output.{name}`")


def _check_paths(source: Source, data: Data) -> None:
    for place, text in _paths(data):
        if source.followed_by_comment(place):
            hint = "quote the path, or put the comment on a line of its own"
            source.say(source.at(place), "SPEC406", f"YAML cuts this unquoted path at ` #`, leaving `{text}`", hint)
        path = _compile(source, place, text)
        if path and "item" in path.roots and (reason := _item_missing(data, place)):
            offset = max(text.find("item"), 0)
            source.say(source.inside(place, offset), "SPEC407", reason, "start the path at `output`")


def _compile(source: Source, place: Place, text: str) -> paths.Path | None:
    wrong = paths.mistakes(text)
    for error in wrong:
        hint = error.hint
        if error.code == "SPEC402" and (known := [name for name in NORMALIZERS if f"`{name}`" in error.message]):
            hint = f"that is a normalizer: take the value as it is and add `normalize: [{known[0]}]`"
        source.say(source.inside(place, error.offset), error.code, error.message, hint)
    return None if wrong else paths.compile(text)


def _item_missing(data: Data, place: Place) -> str:
    """Why `item` is nothing at `place`: it is the element of `rows`, of each operation that reads this path."""
    if place[-1] != "path":
        return "`item` exists only in the paths of fields, one element of `rows` at a time"
    operations = _overrides(data)
    if place[0] == "operations":
        readers = [str(place[1])]
    else:
        readers = [op for op, override in operations.items() if place[1] not in _mapping(override.get("fields"))]
    without = [op for op in readers if not (operations[op].get("rows") or data.get("rows"))]
    if not without or not any("rows" in place_ for place_, _ in _paths(data)):
        return "`item` exists only in a spec with `rows`" if without else ""
    return f"`item` exists only under `rows`, which operation `{without[0]}` does not have"


def _check_absent(source: Source, data: Data) -> None:
    if data.get("on_absent") != "delete":
        return
    position = source.at(("on_absent",))
    if not any(place[-1] == "rows" for place, _ in _paths(data)):
        source.say(position, "SPEC312", "`on_absent: delete` without `rows`", "drop it, or add `rows`")
    elif not _has_parent_key(data):
        message = "`on_absent: delete` needs a conflict column that does not come from `item`"
        source.say(
            position, "SPEC312", message, "add one, such as the company's domain; it says whose rows are compared"
        )


def _has_parent_key(data: Data) -> bool:
    """Whether some conflict column gets its value from outside `item` in every operation."""
    from_item = {
        place[place.index("fields") + 1] for place, text in _paths(data) if place[-1] == "path" and _item(text)
    }
    return bool(set(_texts(data.get("conflict"))) & {name for name, _ in _fields(data)} - from_item)


def _item(text: str) -> bool:
    try:
        return "item" in paths.compile(text).roots
    except PathError:
        return False


_FILE_RULES: tuple[Callable[[Source, Data], None], ...] = (
    _check_names,
    _check_fields,
    _check_conflict,
    _check_lists,
    _check_overrides,
    _check_paths,
    _check_absent,
)

# --- the folder -----------------------------------------------------------------------------------------------------


def _check_folder(sources: Sequence[Source]) -> None:
    _claim(sources, "SPEC307", "operation", _operation_places)
    for key in ("table", "slug", "row_name"):
        _claim(sources, "SPEC306", key, partial(_named, key))


def _claim(
    sources: Sequence[Source], code: str, what: str, claims: Callable[[Data], Iterator[tuple[str, Place]]]
) -> None:
    owners: dict[str, Source] = {}
    for source in sources:
        for name, place in claims(source.data or {}):
            owner = owners.setdefault(name, source)
            if owner is not source and not _follows_from_table(what, source, owner):
                position = source.at_key(place) if place in source.keys and what == "operation" else source.at(place)
                _say_taken(source, position, code, what, name, owner)


def _follows_from_table(what: str, source: Source, owner: Source) -> bool:
    """Two specs of one table share its slug too; saying it once is enough."""
    return what == "slug" and source.data.get("table") == owner.data.get("table")


def _say_taken(source: Source, position: Position, code: str, what: str, name: str, owner: Source) -> None:
    kind = what.replace("_", " ")
    hint = f"choose another {kind}"
    if what != "row_name":
        hint = "leave it to one of the two" if what == "operation" else f"{hint}, or let one spec claim both operations"
    source.say(position, code, f"{kind} `{name}` is claimed by `{owner.file}` too", hint)


def _operation_places(data: Data) -> Iterator[tuple[str, Place]]:
    operations = data.get("operations")
    for index, name in enumerate(_texts(operations)):
        yield name, ("operations", index)
    for name in _mapping(operations):
        yield name, ("operations", name)


def _named(key: str, data: Data) -> Iterator[tuple[str, Place]]:
    if isinstance(data.get(key), str):
        yield data[key], (key,)
    elif key == "slug" and isinstance(data.get("table"), str):
        yield data["table"].replace("_", "-"), ("table",)


# --- reading raw values without believing in their shape --------------------------------------------------------------


def _mapping(value: Any) -> Data:
    return value if isinstance(value, dict) else {}


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _texts(value: Any) -> list[str]:
    return [item for item in _items(value) if isinstance(item, str)]


def _overrides(data: Data) -> dict[str, Data]:
    """Operation id -> what it says differently, whether `operations` is a list or a mapping."""
    operations = data.get("operations")
    return {name: {} for name in _texts(operations)} | {
        name: _mapping(override) for name, override in _mapping(operations).items()
    }


def _fields(data: Data) -> Iterator[tuple[str, Data]]:
    for name, field in _mapping(data.get("fields")).items():
        yield name, _mapping(field)


def _paths(data: Data) -> Iterator[tuple[Place, str]]:
    """Every JMESPath string of a spec with its place."""
    for place, holder in _path_holders(data):
        for key in ("rows", "when", "path"):
            text = holder.get(key)
            if isinstance(text, str) and (key == "path") == (len(place) > 1 and place[-2] == "fields"):
                yield (*place, key), text


def _path_holders(data: Data) -> Iterator[tuple[Place, Data]]:
    yield (), data
    for name, field in _fields(data):
        yield ("fields", name), field
    for operation, override in _mapping(data.get("operations")).items():
        yield ("operations", operation), _mapping(override)
        for name, field in _mapping(_mapping(override).get("fields")).items():
            yield ("operations", operation, "fields", name), _mapping(field)
