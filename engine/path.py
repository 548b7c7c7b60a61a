"""JMESPath text -> a compiled path.

In: one expression. Out: a Path that searches a document, and knows which parts of the document it reads.
It must not know specs or columns.

Paths are evaluated by Python here and by TypeScript in the runner's persist blocks, so only the functions on which both
give the same answer are allowed; FUNCTIONS and REFUSED below are that table, and `tests/conformance` holds both
languages to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import Any

import jmespath
from jmespath import exceptions as jmes

from engine.diagnostic import EngineError, nearest
from engine.exact import kind as kind_of
from engine.function import FUNCTIONS, REFUSED, Interpreter

#: The roots of the document a path is evaluated over.
ROOTS = ("output", "context", "run", "operation", "item")

Steps = tuple[str, ...]
_Node = Mapping[str, Any]


class PathError(EngineError):
    """A path that is wrong in itself. `code` is one of SPEC401..SPEC408, `offset` the 0-based character."""

    def __init__(self, code: str, message: str, offset: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.offset = offset


class PathRaised(EngineError):
    """Evaluating a path over one document raised: a function was given a value it does not take (`found`)."""

    def __init__(self, message: str, found: Any = None) -> None:
        super().__init__(message)
        self.found = found


@dataclass(frozen=True)
class Path:
    """A compiled JMESPath expression. Equal when the text is equal."""

    text: str
    ast: _Node = field(repr=False, compare=False)

    def search(self, document: Any) -> Any:
        """Evaluate over `document`; a missing value is None. Raises PathRaised when a function refuses its input."""
        if self.alternatives is not None:
            return _first_truthy(self.alternatives, document)
        try:
            return _INTERPRETER.visit(self.ast, document)
        except jmes.JMESPathTypeError as error:
            raise _raised(error) from error
        except (jmes.JMESPathError, ValueError, ArithmeticError, TypeError, RecursionError) as error:
            raise PathRaised(_sentence(error)) from error

    @cached_property
    def reads(self) -> frozenset[Steps]:
        """The dotted prefixes whose whole value the answer depends on; `()` is the whole document."""
        found: set[Steps] = set()
        result = _collect(self.ast, (), found)
        if result is not None:
            found.add(result)
        return frozenset(found)

    @cached_property
    def roots(self) -> frozenset[str]:
        return frozenset(steps[0] for steps in self.reads if steps)

    @cached_property
    def alternatives(self) -> tuple[Steps, ...] | None:
        """`a.b || c.d` as its dotted paths, in order; None when the expression is anything else."""
        return _alternatives(self.ast)


def compile(text: str) -> Path:
    """Compile an expression.

    Raises PathError naming the code, the character and what to do: syntax, unknown or refused functions, wrong number
    of arguments, roots that do not exist.
    """
    if not text.strip():
        raise PathError("SPEC401", "the path is empty", 0, "write a path such as `output.domain`")
    _check_literals(text)
    path = Path(text, _parse(text))
    _check_references(text, path.ast)
    _check_negations(text, path.ast)
    _check_functions(text, path.ast)
    _check_roots(text, path)
    return path


def truthy(value: Any) -> bool:
    """JMESPath's truth: null, false, "", [] and {} are falsy; 0 is not."""
    return not (value is None or value is False or value == "" or value == [] or value == {})


def _first_truthy(alternatives: tuple[Steps, ...], document: Any) -> Any:
    """What the interpreter answers to `a.b || c`, a tenth of the work: nearly every path is one of these."""
    value = None
    for steps in alternatives:
        value = document
        for step in steps:
            value = value.get(step) if isinstance(value, dict) else None
        if truthy(value):
            break
    return value


_INTERPRETER = Interpreter()
#: Everything between quotes; the group is what stands between backticks.
_QUOTED = re.compile(r"""'(?:\\.|[^\\'])*'|"(?:\\.|[^\\"])*"|`((?:\\.|[^\\`])*)`""", re.DOTALL)


def _parse(text: str) -> _Node:
    try:
        return jmespath.compile(text).parsed  # type: ignore[no-any-return]
    except jmes.ParseError as error:
        offset = len(text) if error.lex_position is None else min(error.lex_position, len(text))
        raise PathError("SPEC401", f"not JMESPath: {_problem(error)}", offset, _parse_hint(text, offset)) from error
    except jmes.JMESPathError as error:
        raise PathError("SPEC401", f"not JMESPath: {_sentence(error)}", 0) from error


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


def _raised(error: jmes.JMESPathTypeError) -> PathRaised:
    """In our own words: the library's sentence holds the whole value, however large."""
    wanted = " or ".join(f"`{name}`" for name in error.expected_types)
    found = kind_of(error.current_value)
    return PathRaised(f"`{error.function_name}` takes {wanted}, found `{found}`", error.current_value)


def _sentence(error: Exception) -> str:
    text = str(error).split("\n", 1)[0].strip().rstrip(".")
    return text[:1].lower() + text[1:] if text else type(error).__name__


def _walk(node: Any) -> Iterator[_Node]:
    if isinstance(node, dict):
        yield node
        for child in node.get("children", ()):
            yield from _walk(child)


def _check_literals(text: str) -> None:
    """jmespath.py still reads `bare words` between backticks as strings; other libraries refuse them."""
    for found in _QUOTED.finditer(text):
        if found[1] is not None and not _is_json(found[1].replace("\\`", "`")):
            raise _bad_literal(found[1], found.start())


def _bad_literal(inner: str, offset: int) -> PathError:
    if re.match(r"\s*[-\[{]*[0-9]", inner):
        message = f"`{inner}` holds a number of more digits than TypeScript keeps"
        return PathError("SPEC408", message, offset, "write it as text in single quotes, or with fewer digits")
    hint = f"write a string as '{inner.strip()}' in single quotes"
    return PathError("SPEC408", f"`{inner}` between backticks is not JSON", offset, hint)


def _check_references(text: str, node: _Node, argument: bool = False) -> None:
    """`&name` is an argument of a function and nothing else; elsewhere the libraries make different things of it."""
    if node["type"] == "expref" and not argument:
        hint = "use it inside `sort_by`, `max_by`, `min_by` or `map`"
        raise PathError(
            "SPEC401", "not JMESPath: `&` stands only before an argument of a function", text.find("&"), hint
        )
    for child in node.get("children", ()):
        if isinstance(child, dict):
            _check_references(text, child, argument=node["type"] == "function_expression")


def _check_negations(text: str, ast: _Node) -> None:
    """`!a.b` reads as `(!a).b`, a step into true or false: null, whatever the document holds."""
    for node in _walk(ast):
        first = next(iter(node.get("children", ())), None)
        if node["type"] in ("subexpression", "index_expression") and _is_negation(first):
            hint = "write `!(output.error)`: `!` binds closer than `.`"
            raise PathError("SPEC401", "`!` negates the first step only, so this is always null", text.find("!"), hint)


def _is_negation(node: Any) -> bool:
    return isinstance(node, dict) and node["type"] == "not_expression"


def _is_json(text: str) -> bool:
    try:
        numbers: list[str] = []
        json.loads(text, parse_int=numbers.append, parse_float=numbers.append)
        return all(Decimal(number) == Decimal(float(number)) or "." in number for number in numbers)
    except (ValueError, ArithmeticError):
        return False


def _check_functions(text: str, ast: _Node) -> None:
    for node in _walk(ast):
        if node["type"] != "function_expression":
            continue
        name, count = node["value"], len(node["children"])
        offset = _call_offset(text, name)
        if name in REFUSED:
            reason, instead = REFUSED[name]
            raise PathError("SPEC405", f"function `{name}` is refused: {reason}", offset, instead)
        if name not in FUNCTIONS:
            raise PathError("SPEC402", f"unknown function `{name}`", offset, nearest(name, FUNCTIONS))
        low, high = FUNCTIONS[name]
        if count < low or (high is not None and count > high):
            wanted = f"{low}{'' if high == low else ' or more'} argument{'' if high == low == 1 else 's'}"
            raise PathError("SPEC403", f"function `{name}` takes {wanted}, found {count}", offset, "mend the call")


def _call_offset(text: str, name: str) -> int:
    found = re.search(rf"(?<![\w.]){re.escape(name)}\s*\(", text)
    return found.start() if found else max(text.find(name), 0)


def _check_roots(text: str, path: Path) -> None:
    for root in sorted(path.roots - set(ROOTS)):
        word = re.escape(root)
        found = re.search(rf"""(?<![\w."'`])({word}(?!\w)|"{word}")""", text)
        offset = found.start() if found else max(text.find(root), 0)
        raise PathError("SPEC404", f"root `{root}` does not exist", offset, _root_hint(root, text[offset]))


def _root_hint(root: str, sign: str) -> str:
    if sign == '"':
        return f"in JMESPath double quotes hold a key; a string is written '{root}'"
    near = nearest(root, ROOTS)
    if near.startswith("did you mean"):
        return near
    return f"did you mean `output.{root}`? a path starts at `output`, `context`, `run`, `operation` or `item`"


def _alternatives(node: _Node) -> tuple[Steps, ...] | None:
    if node["type"] == "or_expression":
        left, right = (_alternatives(child) for child in node["children"])
        return None if left is None or right is None else (*left, *right)
    steps = _dotted(node)
    return None if steps is None else (steps,)


def _dotted(node: _Node) -> Steps | None:
    """`a.b.c` as its steps; None for anything else."""
    if node["type"] == "field":
        return (node["value"],)
    if node["type"] == "subexpression":
        parts = [_dotted(child) for child in node["children"]]
        if all(part is not None for part in parts):
            return tuple(step for part in parts if part for step in part)
    return None


def _collect(node: _Node, at: Steps | None, found: set[Steps]) -> Steps | None:
    """Add to `found` every prefix `node` reads when evaluated at prefix `at`; return the prefix of its answer.

    None stands for a value that is no plain prefix: it was computed from prefixes already in `found`.
    """
    kind, children = node["type"], node.get("children", ())
    if kind == "field":
        return None if at is None else (*at, node["value"])
    if kind in ("current", "identity"):
        return at
    if kind in ("subexpression", "pipe"):
        for child in children:
            at = _collect(child, at, found)
        return at
    if kind in ("literal", "expref", "index", "slice"):
        return None  # an expref runs over elements of another argument, which is read whole already
    # Everything else looks at whole values: its operands', and below them nothing that is not read already.
    if kind in ("index_expression", "projection", "value_projection", "filter_projection", "flatten"):
        children = children[:1]
    elif kind in ("multi_select_list", "multi_select_dict"):
        _whole_null_test(at, found)
    for child in children:
        _whole(_collect(child, at, found), found)
    return None


def _whole(at: Steps | None, found: set[Steps]) -> None:
    if at is not None:
        found.add(at)


def _whole_null_test(at: Steps | None, found: set[Steps]) -> None:
    """A multiselect on null is null, so below the root it also depends on whether its base is there at all."""
    if at:
        found.add(at)
