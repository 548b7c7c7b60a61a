"""JMESPath text -> its tree, or every mistake in its grammar and its calls.

In: one expression. Out: the tree of jmespath.py, and PathErrors. It must not know the document a path is read from.

Only functions on which Python and TypeScript give the same answer are allowed: FUNCTIONS and REFUSED of
`engine/jmespath/functions.py` are that table.
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

from engine.errors import EngineError, nearest
from engine.jmespath.functions import FUNCTIONS, REFERENCES, REFUSED

Node = Mapping[str, Any]


class PathError(EngineError):
    """A path that is wrong in itself. `code` is one of SPEC401..SPEC409, `offset` the 0-based character."""

    def __init__(self, code: str, message: str, offset: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.offset = offset


#: Everything between quotes; the group is what stands between backticks.
_QUOTED = re.compile(r"""'(?:\\.|[^\\'])*'|"(?:\\.|[^\\"])*"|`((?:\\.|[^\\`])*)`""", re.DOTALL)


def parse(text: str) -> Node:
    """Return the tree of an expression. Raises PathError where it does not parse."""
    try:
        return jmespath.compile(text).parsed  # type: ignore[no-any-return]
    except jmes.ParseError as error:
        offset = len(text) if error.lex_position is None else min(error.lex_position, len(text))
        raise PathError("SPEC401", f"not JMESPath: {_problem(error)}", offset, _parse_hint(text, offset)) from error
    except jmes.JMESPathError as error:
        raise PathError("SPEC401", f"not JMESPath: {sentence(error)}", 0) from error


def _problem(error: jmes.ParseError) -> str:
    if isinstance(error, jmes.IncompleteExpressionError) or error.token_value == "":
        return "the expression ends too early"
    if str(error).startswith("Bad jmespath expression: Unclosed"):
        return f"the quote before `{error.token_value[1:]}` is not closed"
    return f"`{error.token_value}` cannot stand here"


def _parse_hint(text: str, offset: int) -> str:
    before, after = text[:offset], text[offset:]
    return next(hint for left, right, hint in _PARSE_HINTS if re.search(left, before) and re.match(right, after))


#: (what stands before the mistake, what stands at it) -> what to do; the first that fits speaks.
_PARSE_HINTS = (
    ("", r"$", "a step, an operand or a closing bracket is missing at the end"),
    ("", r"-", 'a key with a hyphen is written in double quotes, output."like-this"'),
    ("", r"=", "equality is written `==`"),
    ("", r"\$", "a path starts at `output`, `context`, `run`, `operation` or `item`, without `$`"),
    (r"[<>=!]\s*$", r"[0-9]", "a number is written between backticks, `3`"),
    (r"\.$", r"[0-9]", 'a key that starts with a digit is written in double quotes, output."1"'),
    (r"\[$", r"['\"\w]", "a key stands behind a dot, output.name; brackets hold an index, a slice or a filter"),
    ("", r"['`]", "close the quote"),
    ("", r'"', "in JMESPath a string is written in single quotes, 'like this'; double quotes hold a key"),
    ("", r"[^\x00-\x7f]", 'a key with other letters than a to z is written in double quotes, output."größe"'),
    ("", "", "see the JMESPath grammar; paths look like `output.domain || output.company_domain`"),
)


def sentence(error: Exception) -> str:
    """What an exception of the library says, in our own spelling."""
    text = str(error).split("\n", 1)[0].strip().rstrip(".")
    return text[:1].lower() + text[1:] if text else type(error).__name__


def literal_mistakes(text: str) -> Iterator[PathError]:
    """jmespath.py still reads `bare words` between backticks as strings; other libraries refuse them."""
    for found in _QUOTED.finditer(text):
        if found[1] is not None and (mistake := _literal_mistake(found[1].replace("\\`", "`"), found.start())):
            yield mistake


def _literal_mistake(inner: str, offset: int) -> PathError | None:
    numbers: list[str] = []
    try:
        json.loads(inner, parse_int=numbers.append, parse_float=numbers.append, parse_constant=_no_constant)
    except ValueError:
        a_word = re.match(r"\s*[\w$]", inner)
        hint = (
            f"write a string as '{inner.strip()}' in single quotes" if a_word else "mend the JSON between the backticks"
        )
        return PathError("SPEC408", f"`{inner}` between backticks is not JSON", offset, hint)
    if all(map(_is_kept, numbers)):
        return None
    message = f"`{inner}` holds a number of more digits than TypeScript keeps"
    return PathError("SPEC408", message, offset, "write it as text in single quotes, or with fewer digits")


def _no_constant(name: str) -> None:
    raise ValueError(name)  # NaN and Infinity, which Python reads and JSON does not have


def _is_kept(number: str) -> bool:
    try:
        return Decimal(number) == Decimal(float(number)) or "." in number
    except ArithmeticError:
        return False


def tree_mistakes(text: str, ast: Node) -> list[PathError]:
    """What is wrong in a tree whatever the document: `&` and `!` where they mean nothing, and calls."""
    places = _places(text, ast)
    found = [*_reference_mistakes(ast, places), *_negation_mistakes(ast, places)]
    return [*found, *_call_mistakes(ast, places)]


def _walk(node: Any) -> Iterator[Node]:
    """Every node, in the order of the text: a filter is written before what follows it."""
    if isinstance(node, dict):
        yield node
        children = node.get("children", ())
        for child in [children[0], *children[:0:-1]] if node["type"] == "filter_projection" else children:
            yield from _walk(child)


def _places(text: str, ast: Node) -> dict[int, int]:
    """Where the calls, the `!` and the `&` of an expression stand: the node's identity -> its character."""
    tokens = list(lexer.Lexer().tokenize(text))
    signs: dict[str, Iterator[int]] = {
        "function_expression": iter([name["start"] for name, sign in pairwise(tokens) if _is_call(name, sign)]),
        "not_expression": iter([token["start"] for token in tokens if token["type"] == "not"]),
        "expref": iter([token["start"] for token in tokens if token["type"] == "expref"]),
    }
    return {id(node): next(signs[node["type"]]) for node in _walk(ast) if node["type"] in signs}


def _is_call(name: Mapping[str, Any], sign: Mapping[str, Any]) -> bool:
    return (name["type"], sign["type"]) == ("unquoted_identifier", "lparen")


def _reference_mistakes(node: Node, places: Mapping[int, int], argument: bool = False) -> Iterator[PathError]:
    """`&name` is an argument of a function and nothing else; elsewhere the libraries make different things of it."""
    if node["type"] == "expref" and not argument:
        message = "not JMESPath: `&` stands only before an argument of a function"
        hint = "use it inside `sort_by`, `max_by`, `min_by` or `map`"
        yield PathError("SPEC401", message, places[id(node)], hint)
    for child in node.get("children", ()):
        if isinstance(child, dict):
            yield from _reference_mistakes(child, places, argument=node["type"] == "function_expression")


def _negation_mistakes(ast: Node, places: Mapping[int, int]) -> Iterator[PathError]:
    """`!a.b` reads as `(!a).b`, a step into true or false: null, whatever the document holds."""
    for node in _walk(ast):
        first = next(iter(node.get("children", ())), None)
        if node["type"] in ("subexpression", "index_expression") and _is_negation(first):
            hint = "write `!(output.error)`: `!` binds closer than `.`"
            message = "`!` negates the first step only, so this is always null"
            yield PathError("SPEC401", message, places[id(first)], hint)


def _is_negation(node: Any) -> bool:
    return isinstance(node, dict) and node["type"] == "not_expression"


def _call_mistakes(ast: Node, places: Mapping[int, int]) -> Iterator[PathError]:
    for node in _walk(ast):
        if node["type"] == "function_expression" and (mistake := _call_mistake(node, places[id(node)])):
            yield mistake


def _call_mistake(node: Node, offset: int) -> PathError | None:
    name, count = node["value"], len(node["children"])
    if name in REFUSED:
        reason, instead = REFUSED[name]
        return PathError("SPEC405", f"function `{name}` is refused: {reason}", offset, instead)
    if name not in FUNCTIONS:
        return PathError("SPEC402", f"unknown function `{name}`", offset, nearest(name, FUNCTIONS))
    low, high = FUNCTIONS[name]
    if count < low or (high is not None and count > high):
        wanted = f"{low}{'' if high == low else ' or more'} argument{'' if high == low == 1 else 's'}"
        return PathError("SPEC403", f"function `{name}` takes {wanted}, found {count}", offset, "mend the call")
    for index, argument in enumerate(node["children"]):
        if (argument["type"] == "expref") != (index == REFERENCES.get(name)):
            takes = "no `&`" if argument["type"] == "expref" else "an expression for each element, with `&` before it"
            message = f"argument {index + 1} of function `{name}` takes {takes}"
            return PathError("SPEC409", message, offset, _reference_hint(name))
    return None


def _reference_hint(name: str) -> str:
    if name not in REFERENCES:
        return "drop the `&`"
    return f"write `{name}({'&name, output.people' if REFERENCES[name] == 0 else 'output.people, &name'})`, say"
