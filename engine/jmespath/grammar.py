"""Parse JMESPath text into the tree of jmespath.py, and find mistakes of syntax and in function calls.

Only functions on which Python and TypeScript give the same result are allowed: FUNCTIONS and REFUSED of
`engine/jmespath/functions.py` list them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import pairwise
from typing import Any

import jmespath
from jmespath import exceptions as jmes
from jmespath import lexer

from engine.errors import EngineError, suggest_name
from engine.jmespath.functions import FUNCTIONS, REFERENCES, REFUSED, normalize_literal

Node = Mapping[str, Any]


class PathError(EngineError):
    """A mistake in the text of a path. `code` is one of SPEC401..SPEC411, `offset` the 0-based character."""

    def __init__(self, code: str, message: str, offset: int, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.offset = offset


#: A quoted part of a path; the group is the text between backticks.
_QUOTED = re.compile(r"""'(?:\\.|[^\\'])*'|"(?:\\.|[^\\"])*"|`((?:\\.|[^\\`])*)`""", re.DOTALL)


def parse_expression(text: str) -> Node:
    """Parse an expression into its tree. Raises PathError, with the offset of the mistake, when it does not parse."""
    try:
        return _normalize_literals(jmespath.compile(text).parsed)
    except jmes.ParseError as error:
        offset = len(text) if error.lex_position is None else min(error.lex_position, len(text))
        raise PathError(
            "SPEC401", f"not JMESPath: {_describe_problem(error)}", offset, _find_parse_hint(text, offset)
        ) from error
    except jmes.JMESPathError as error:
        raise PathError("SPEC401", f"not JMESPath: {describe_error(error)}", 0, _GRAMMAR_HINT) from error


def _normalize_literals(node: Node) -> Node:
    """Return a copy of the tree with its literals as both languages read them; the library caches the original."""
    if node["type"] == "literal":
        return {**node, "value": normalize_literal(node["value"])}
    children = [_normalize_literals(child) if isinstance(child, dict) else child for child in node["children"]]
    return {**node, "children": children}


def _describe_problem(error: jmes.ParseError) -> str:
    if isinstance(error, jmes.IncompleteExpressionError) or error.token_value == "":
        return "the expression ends too early"
    if str(error).startswith("Bad jmespath expression: Unclosed"):
        return f"the quote before `{error.token_value[1:]}` is not closed"
    return f"`{error.token_value}` cannot stand here"


def _find_parse_hint(text: str, offset: int) -> str:
    before, after = text[:offset], text[offset:]
    return next(hint for left, right, hint in _PARSE_HINTS if re.search(left, before) and re.match(right, after))


#: The quotes that word processors put in place of straight ones.
_TYPOGRAPHIC_QUOTES = "[‘’‚‛“”„‟«»‹›]"

_GRAMMAR_HINT = "see the JMESPath grammar; paths look like `output.domain || output.company_domain`"
#: Pattern for the text before the mistake, pattern for the text at it, hint. The first row that matches is used.
_PARSE_HINTS = (
    ("", r"$", "a step, an operand or a closing bracket is missing at the end"),
    (
        "",
        _TYPOGRAPHIC_QUOTES,
        "these are typographic quotes; write straight ones, ' around a string and \" around a key",
    ),
    (r"^\s*$", r"\.", "a path has no dot at its start: write `output.name`, or `item.name` under `rows`"),
    (r"\[-?[0-9]+$", "", "`]` is missing behind the index"),
    ("", r"-", 'a key with a hyphen is written in double quotes, output."like-this"'),
    ("", r"=", "equality is written `==`"),
    ("", r"\$", "a path starts at `output`, `context`, `step_input`, `run`, `operation` or `item`, without `$`"),
    (r"[<>=!]\s*$", r"[0-9]", "a number is written between backticks, `3`"),
    (r"\.$", r"[0-9]", 'a key that starts with a digit is written in double quotes, output."1"'),
    (r"\[$", r"['\"\w]", "a key stands behind a dot, output.name; brackets hold an index, a slice or a filter"),
    ("", r"['`]", "close the quote"),
    ("", r'"', "in JMESPath a string is written in single quotes, 'like this'; double quotes hold a key"),
    ("", r"[^\x00-\x7f]", 'a key with other letters than a to z is written in double quotes, output."größe"'),
    ("", "", _GRAMMAR_HINT),
)


def describe_error(error: Exception) -> str:
    """Return the message of an exception of the library in the project's style: lower case, no full stop."""
    text = str(error).split("\n", 1)[0].strip().rstrip(".")
    return text[:1].lower() + text[1:] if text else type(error).__name__


def find_literal_mistakes(text: str) -> Iterator[PathError]:
    """Yield a mistake for each literal between backticks that is not JSON.

    jmespath.py still reads bare words there as strings; other libraries refuse them.
    """
    for match in _QUOTED.finditer(text):
        if match[1] is not None and (mistake := _check_literal(match[1].replace("\\`", "`"), match.start())):
            yield mistake


def _check_literal(inner: str, offset: int) -> PathError | None:
    numbers: list[str] = []
    try:
        json.loads(inner, parse_int=numbers.append, parse_float=numbers.append, parse_constant=_refuse_constant)
    except ValueError:
        a_word = re.match(r"\s*[\w$]", inner)
        hint = (
            f"write a string as '{inner.strip()}' in single quotes" if a_word else "correct the JSON in the backticks"
        )
        return PathError("SPEC408", f"`{inner}` between backticks is not JSON", offset, hint)
    if all(map(_keeps_its_digits, numbers)):
        return None
    message = f"`{inner}` holds a number of more digits than TypeScript keeps"
    return PathError("SPEC408", message, offset, "write it as text in single quotes, or with fewer digits")


def _refuse_constant(name: str) -> None:
    raise ValueError(name)  # NaN and Infinity, which Python accepts although JSON does not have them


def _keeps_its_digits(number: str) -> bool:
    try:
        double = Decimal(float(number))
        return double.is_finite() and ("." in number or double == Decimal(number))
    except ArithmeticError:
        return False


def find_tree_mistakes(text: str, ast: Node) -> list[PathError]:
    """Return the mistakes that a tree has for any document: misplaced `&` and `!`, and wrong function calls."""
    places = _locate_nodes(text, ast)
    mistakes = [*_find_reference_mistakes(ast, places), *_find_negation_mistakes(ast, places)]
    mistakes += _find_comparison_mistakes(text)
    return [*mistakes, *_find_call_mistakes(ast, places)]


def _walk_nodes(node: Any) -> Iterator[Node]:
    """Yield every node in the order of the text; a filter's comes before the expression after it, as written."""
    if isinstance(node, dict):
        yield node
        children = node.get("children", ())
        for child in [children[0], *children[:0:-1]] if node["type"] == "filter_projection" else children:
            yield from _walk_nodes(child)


def _locate_nodes(text: str, ast: Node) -> dict[int, int]:
    """Return the offset of each call, `!` and `&` in the text, by identity of the node.

    The tree has no positions, but nodes and tokens of one type come in the same order.
    """
    tokens = list(lexer.Lexer().tokenize(text))
    signs: dict[str, Iterator[int]] = {
        "function_expression": iter([name["start"] for name, sign in pairwise(tokens) if _is_call(name, sign)]),
        "not_expression": iter([token["start"] for token in tokens if token["type"] == "not"]),
        "expref": iter([token["start"] for token in tokens if token["type"] == "expref"]),
    }
    return {id(node): next(signs[node["type"]]) for node in _walk_nodes(ast) if node["type"] in signs}


def _is_call(name: Mapping[str, Any], sign: Mapping[str, Any]) -> bool:
    return (name["type"], sign["type"]) == ("unquoted_identifier", "lparen")


def _find_reference_mistakes(node: Node, places: Mapping[int, int], argument: bool = False) -> Iterator[PathError]:
    """Yield a mistake for each `&name` that is not a function's argument: elsewhere, libraries treat it differently."""
    if node["type"] == "expref" and not argument:
        message = "not JMESPath: `&` stands only before an argument of a function"
        hint = "use it inside `sort_by`, `max_by`, `min_by` or `map`"
        yield PathError("SPEC401", message, places[id(node)], hint)
    for child in node.get("children", ()):
        if isinstance(child, dict):
            yield from _find_reference_mistakes(child, places, argument=node["type"] == "function_expression")


def _find_comparison_mistakes(text: str) -> Iterator[PathError]:
    """Yield a mistake for each `role == "CTO"`: double quotes mark a key, so this compares the values of two keys."""
    tokens = list(lexer.Lexer().tokenize(text))
    for before, name, after in zip(tokens, tokens[1:], tokens[2:], strict=False):
        is_compared = before["type"] in _COMPARATORS and after["type"] not in ("dot", "lbracket", "flatten", "filter")
        if name["type"] == "quoted_identifier" and is_compared:
            word = name["value"]
            hint = f"write a string in single quotes, '{word}'; a key of that name is `@.\"{word}\"`"
            message = f'"{word}" is a key here, not a string'
            yield PathError("SPEC410", message, name["start"], hint)


_COMPARATORS = ("eq", "ne", "lt", "lte", "gt", "gte")


def _find_negation_mistakes(ast: Node, places: Mapping[int, int]) -> Iterator[PathError]:
    """Yield a mistake for each `!a.b`: it means `(!a).b`, the key of a boolean, which is always null."""
    for node in _walk_nodes(ast):
        first = next(iter(node.get("children", ())), None)
        if node["type"] in ("subexpression", "index_expression") and _is_negation(first):
            hint = "write `!(output.error)`: `!` binds closer than `.`"
            message = "`!` negates the first step only, so this is always null"
            yield PathError("SPEC401", message, places[id(first)], hint)


def _is_negation(node: Any) -> bool:
    return isinstance(node, dict) and node["type"] == "not_expression"


def _find_call_mistakes(ast: Node, places: Mapping[int, int]) -> Iterator[PathError]:
    for node in _walk_nodes(ast):
        if node["type"] == "function_expression" and (mistake := _check_call(node, places[id(node)])):
            yield mistake


def _check_call(node: Node, offset: int) -> PathError | None:
    name, count = node["value"], len(node["children"])
    if name in REFUSED:
        reason, instead = REFUSED[name]
        return PathError("SPEC405", f"function `{name}` is refused: {reason}", offset, instead)
    if name not in FUNCTIONS:
        return PathError("SPEC402", f"unknown function `{name}`", offset, suggest_name(name, FUNCTIONS))
    low, high = FUNCTIONS[name]
    if count < low or (high is not None and count > high):
        wanted = f"{low}{'' if high == low else ' or more'} argument{'' if high == low == 1 else 's'}"
        return PathError("SPEC403", f"function `{name}` takes {wanted}, found {count}", offset, "correct the call")
    for index, argument in enumerate(node["children"]):
        if (argument["type"] == "expref") != (index == REFERENCES.get(name)):
            takes = "no `&`" if argument["type"] == "expref" else "an expression for each element, with `&` before it"
            message = f"argument {index + 1} of function `{name}` takes {takes}"
            return PathError("SPEC409", message, offset, _build_reference_hint(name))
    return None


def _build_reference_hint(name: str) -> str:
    if name not in REFERENCES:
        return "drop the `&`"
    return f"write `{name}({'&name, output.people' if REFERENCES[name] == 0 else 'output.people, &name'})`, say"
