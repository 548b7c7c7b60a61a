"""Convert pydantic's validation errors to diagnostics with line, column and hint."""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import BaseModel, ValidationError

from engine.errors import suggest_name
from engine.spec.models import IDENTIFIER, FieldOverride, FieldSpec, Override, Spec, TargetSpec
from engine.spec.research_models import InputSpec, ResearchSpec
from engine.spec.yaml_source import Place, Source

_TYPE_NAMES = {
    "string_type": "a string",
    "list_type": "a list",
    "dict_type": "a mapping",
    "bool_type": "`true` or `false`",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "int_type": "a whole number",
}


def is_identifier(text: str) -> bool:
    """Return whether `text` can name a column: lower-case letters, digits, underscores, at most 63 characters."""
    return re.fullmatch(IDENTIFIER, text) is not None


def report_shape_errors(source: Source, error: ValidationError) -> None:
    """Report each entry of pydantic's `error` as a diagnostic of the source."""
    for entry in error.errors(include_url=False):
        place = tuple(step for step in entry["loc"] if step not in _BRANCHES)
        kind = entry["type"]
        if place != tuple(entry["loc"]) and _is_other_branch(source, place, entry["loc"]):
            continue
        if kind == "extra_forbidden":
            hint = _suggest_key(source, place)
            source.report_key(place, "SPEC201", f"unknown key `{place[-1]}`{_describe_parent(place)}", hint)
        elif kind == "missing":
            message = f"missing key `{place[-1]}`{_describe_parent(place)}"
            source.report_key(place[:-1], "SPEC202", message, f"add `{place[-1]}:`")
        elif kind in _TYPE_NAMES:
            _report_type(source, place, _TYPE_NAMES[kind], entry["input"])
        else:
            _report_value(source, place, kind, entry)


#: The steps in pydantic's locations that stand for the two forms of `rows`: a path, or a list of paths.
_BRANCHES = ("str", "list[str]")


def _is_other_branch(source: Source, place: Place, loc: Place) -> bool:
    """Return whether an error is about the form of `rows` (path, or list of paths) that the author did not use."""
    value = source.data
    for step in place[: place.index("rows") + 1]:
        value = value[step]
    return isinstance(value, list) != ("list[str]" in loc)


def _suggest_key(source: Source, place: Place) -> str:
    """Return a hint for a key that does not exist in the format."""
    key = str(place[-1])
    if key == "default" and place[0] == "fields":
        field = source.data["fields"].get(place[1], {})
        path, value = field.get("path", "output.name"), field.get("default")
        literal = f"'{value}'" if isinstance(value, str) else f"`{json.dumps(value)}`"
        return f'put it into the path: path: "{path} || {literal}"'
    if spaces := {character for character in key if character.isspace() and character != " "}:
        return f"the key holds U+{ord(spaces.pop()):04X}, which looks like a space: write a plain one, or none"
    return suggest_name(key, _find_model(place[:-1]).model_fields)


def _report_type(source: Source, place: Place, wanted: str, value: Any) -> None:
    if place == ("operations",) and isinstance(value, list):
        wanted, index = "a string", next(at for at, entry in enumerate(value) if not isinstance(entry, str))
        place, value = (*place, index), value[index]
    hint = f"write {wanted}"
    if place[-1] in ("path", "rows", "when") or (place[:2] == ("research", "output") and len(place) == 3):
        hint = "quote the path: YAML reads some signs at its start as something else"
    elif place == ("operations",):
        wanted, hint = "a list of ids", "write `[company.derive.intel_briefing]`, say"
    message = f"`{_format_place(place)}` takes {wanted}, found {_describe_kind(value)}"
    source.report_value(place, "SPEC203", message, hint)


def _report_value(source: Source, place: Place, kind: str, entry: Any) -> None:
    source.report_value(place, *_describe_value_error(place, kind, entry))


def _describe_value_error(place: Place, kind: str, entry: Any) -> tuple[str, str, str]:
    """Return code, message and hint for a value that has the right type but is not allowed."""
    value, name = entry["input"], _format_place(place)
    if place == ("spec",):
        message = f"unknown format version `{value}`" if isinstance(value, int) else "`spec` takes the whole number 1"
        return "SPEC204", message, "write `spec: 1`"
    if place == ("research", "fresh_for"):
        return "SPEC209", f"`{value}` is no duration", "write a number and `s`, `m`, `h`, `d` or `w`: `90d`, say"
    if kind == "string_pattern_mismatch" and place[0] == "backfill":
        return "SPEC313", f"`{value}` is not a UUID", "write 8-4-4-4-12 hexadecimal digits"
    if kind == "string_pattern_mismatch":
        hint = "lower-case words, digits and hyphens" if place == ("slug",) else _IDENTIFIER_HINT
        return "SPEC206", f"`{value}` is not a {_PATTERN_NAMES[str(place[-1])]}", f"write {hint}"
    if kind == "literal_error":
        known = re.findall(r"'(\w+)'", entry["ctx"]["expected"])
        message = f"`{name}` is {' or '.join(f'`{word}`' for word in known)}, found `{value}`"
        return "SPEC209", message, suggest_name(str(value), known)
    if kind == "too_short" and place[-1] == "coalesce" and value:
        return "SPEC209", f"`{name}` names one field only", "name two or more, or take its `path` here"
    if kind == "too_long" and place[-1] == "rows":
        return "SPEC209", f"`{name}` has {len(value)} paths", "rows stand within rows once: write one path or two"
    if kind == "too_long":
        message = f"`{name}` has more than {entry['ctx']['max_length']} entries, which Postgres cannot hold"
        return "SPEC209", message, "leave some out; a document fits one `jsonb` column"
    hint = "write a few words" if isinstance(value, str) else "give it at least one entry"
    return "SPEC209", f"`{name}` is empty", hint


_IDENTIFIER_HINT = "lower-case words with underscores, at most 63 characters"
_PATTERN_NAMES = {"name": "spec name", "table": "table name", "row_name": "row name", "slug": "slug"}


def _describe_parent(place: Place) -> str:
    if len(place) == 1:
        return ""
    return f" in `{_format_place(place[:-1])}`"


def _format_place(place: Place) -> str:
    """Format a place for messages: `fields.company_name.path`, `backfill[0].org_id`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).removeprefix(".")


def _describe_kind(value: Any) -> str:
    kinds = {type(None): "nothing", bool: "a truth value", str: "a string", list: "a list", dict: "a mapping"}
    return kinds.get(type(value), "a number")


def _find_model(place: Place) -> type[BaseModel]:
    """Return the model that defines the keys at `place`."""
    match place:
        case ("fields", _):
            return FieldSpec
        case ("operations", _):
            return Override
        case ("operations", _, "fields", _):
            return FieldOverride
        case ("backfill", _):
            return TargetSpec
        case ("research",):
            return ResearchSpec
        case ("research", "inputs", _):
            return InputSpec
        case _:
            return Spec
