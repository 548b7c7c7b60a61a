"""What pydantic found wrong with a spec's shape -> Diagnostics at the right place.

In: a Source and pydantic's ValidationError. Out: diagnostics in the source. It must not know what the values mean.
"""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, ValidationError

from engine.errors import nearest
from engine.spec.models import IDENTIFIER, FieldOverride, FieldSpec, Override, Spec, TargetSpec
from engine.spec.yaml_source import Place, Source

_WORDS = {
    "string_type": "a string",
    "list_type": "a list",
    "dict_type": "a mapping",
    "bool_type": "`true` or `false`",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "int_type": "a whole number",
}


def is_identifier(text: str) -> bool:
    """Whether `text` may name a column: lower case, digits, underscores, at most 63 characters."""
    return re.fullmatch(IDENTIFIER, text) is not None


def report(source: Source, error: ValidationError) -> None:
    """Say every entry of `error` at its place in the source."""
    for entry in error.errors(include_url=False):
        place = tuple(entry["loc"])
        kind = entry["type"]
        if kind == "extra_forbidden":
            hint = nearest(str(place[-1]), _model_at(place[:-1]).model_fields)
            source.say(source.at_key(place), "SPEC201", f"unknown key `{place[-1]}`{_where(place)}", hint)
        elif kind == "missing":
            message = f"missing key `{place[-1]}`{_where(place)}"
            source.say(source.at_key(place[:-1]), "SPEC202", message, f"add `{place[-1]}:`")
        elif kind in _WORDS:
            _report_type(source, place, _WORDS[kind], entry["input"])
        else:
            _report_value(source, place, kind, entry)


def _report_type(source: Source, place: Place, wanted: str, found: Any) -> None:
    if place == ("operations",) and isinstance(found, list):
        wanted, index = "a string", next(at for at, item in enumerate(found) if not isinstance(item, str))
        place, found = (*place, index), found[index]
    hint = f"write {wanted}"
    if place[-1] in ("path", "rows", "when"):
        hint = "quote the path: YAML reads some signs at its start as something else"
    elif place == ("operations",):
        wanted, hint = "a list of ids", "write `[company.derive.intel_briefing]`, say"
    message = f"`{_name(place)}` takes {wanted}, found {_kind(found)}"
    source.say(source.at(place), "SPEC203", message, hint)


def _report_value(source: Source, place: Place, kind: str, entry: Any) -> None:
    found = entry["input"]
    if place == ("spec",):
        message = f"unknown format version `{found}`" if isinstance(found, int) else "`spec` takes the whole number 1"
        source.say(source.at(place), "SPEC204", message, "write `spec: 1`")
    elif kind == "string_pattern_mismatch" and place[0] == "backfill":
        source.say(source.at(place), "SPEC313", f"`{found}` is not a UUID", "write 8-4-4-4-12 hexadecimal digits")
    elif kind == "string_pattern_mismatch":
        hint = "lower-case words, digits and hyphens" if place == ("slug",) else _IDENTIFIER_HINT
        source.say(source.at(place), "SPEC206", f"`{found}` is not a {_NAMES[str(place[-1])]}", f"write {hint}")
    elif kind == "literal_error":
        known = re.findall(r"'(\w+)'", entry["ctx"]["expected"])
        message = f"`{_name(place)}` is {' or '.join(f'`{word}`' for word in known)}, found `{found}`"
        source.say(source.at(place), "SPEC209", message, nearest(str(found), known))
    elif kind == "too_long":
        message = f"`{_name(place)}` has more than {entry['ctx']['max_length']} entries, which Postgres cannot hold"
        source.say(source.at(place), "SPEC209", message, "leave some out; a document fits one `jsonb` column")
    else:
        hint = "write a few words" if isinstance(found, str) else "give it at least one entry"
        source.say(source.at(place), "SPEC209", f"`{_name(place)}` is empty", hint)


_IDENTIFIER_HINT = "lower-case words with underscores, at most 63 characters"
_NAMES = {"name": "spec name", "table": "table name", "row_name": "row name", "slug": "slug"}


def _where(place: Place) -> str:
    if len(place) == 1:
        return ""
    return f" in `{_name(place[:-1])}`"


def _name(place: Place) -> str:
    """The place as a person would name it: `fields.company_name.path`, `backfill[0].org_id`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).removeprefix(".")


def _kind(value: Any) -> str:
    words = {type(None): "nothing", bool: "a truth value", str: "a string", list: "a list", dict: "a mapping"}
    return words.get(type(value), "a number")


def _model_at(place: Place) -> type[BaseModel]:
    """Which model's keys are legal at `place`."""
    match place:
        case ("fields", _):
            return FieldSpec
        case ("operations", _):
            return Override
        case ("operations", _, "fields", _):
            return FieldOverride
        case ("backfill", _):
            return TargetSpec
        case _:
            return Spec
