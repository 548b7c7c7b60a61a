"""Describe pydantic's errors about a body or parameters: which field, with which code, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

#: The parts of a request with which FastAPI's location of a mistake begins, before the name of the field.
_PLACES: Final = ("body", "query", "path", "header")
#: How the types of pydantic's errors about numbers begin.
_NUMBER_ERRORS: Final = ("int_", "greater_than", "less_than")
#: pydantic's errors about values that are not in a closed list.
_CHOICE_ERRORS: Final = ("enum", "literal_error")
#: What is said instead of pydantic's sentences, which name types of Python; `{}` stands for its details.
_SENTENCES: Final[Mapping[str, str]] = {
    "missing": "it is missing",
    "too_short": "it has {actual_length} elements, and needs at least {min_length}",
    "too_long": "it has {actual_length} elements, and takes at most {max_length}",
    "string_too_short": "it has fewer than {min_length} characters",
    "string_too_long": "it has more than {max_length} characters",
    "string_pattern_mismatch": "it does not match `{pattern}`",
    "greater_than": "it is not above {gt}",
    "greater_than_equal": "it is below {ge}",
    "less_than": "it is not below {lt}",
    "less_than_equal": "it is above {le}",
    **dict.fromkeys(("int_type", "int_parsing", "int_parsing_size", "int_from_float"), "it is not a whole number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "it is not true or false"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "it is not an object"),
    "string_type": "it is not a string",
    "list_type": "it is not an array",
}


def describe_mistakes(mistakes: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the code, the field and the message of each mistake: one per field, although pydantic has one per type.

    Where a value may be one of several lists, pydantic reports each list; the message has all of them.
    """
    by_field: dict[str | None, list[Mapping[str, Any]]] = {}
    for mistake in mistakes:
        by_field.setdefault(_find_field(mistake), []).append(mistake)
    return [_describe_field(field, found) for field, found in by_field.items()]


def _find_field(mistake: Mapping[str, Any]) -> str | None:
    """Return the path of a mistake's field, None for the whole body.

    A parameter of a query string, path or header is flat: what follows its name is the type that pydantic tried.
    """
    place, *parts = mistake["loc"]
    if place == "body" and not parts:
        return None
    if place not in _PLACES:
        return ".".join(map(str, mistake["loc"]))
    return ".".join(map(str, parts if place == "body" else parts[:1]))


def _describe_field(field: str | None, mistakes: list[Mapping[str, Any]]) -> dict[str, Any]:
    if field is None:
        return {"code": "not_json", "field": None, "message": "the body is empty: send a JSON object"}
    first = mistakes[0]
    is_number = first["loc"][0] == "query" and first["type"].startswith(_NUMBER_ERRORS)
    choices = [_list_choices(mistake) for mistake in mistakes if mistake["type"] in _CHOICE_ERRORS]
    message = f"it is none of {', '.join(choices)}" if choices else _write_sentence(first)
    return {"code": "out_of_range" if is_number else "invalid_body", "field": field, "message": message}


def _list_choices(mistake: Mapping[str, Any]) -> str:
    expected: str = mistake["ctx"]["expected"]
    return expected.replace(" or ", ", ").replace("'", "`")


def _write_sentence(mistake: Mapping[str, Any]) -> str:
    sentence = _SENTENCES.get(mistake["type"])
    if sentence is not None:
        return sentence.format(**mistake.get("ctx", {}))
    message: str = mistake["msg"].removeprefix("Value error, ")
    return message[:1].lower() + message[1:]
