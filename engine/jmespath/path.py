"""JMESPath text -> a compiled path.

In: one expression. Out: a Path that searches a document, and knows which parts of the document it reads.
It must not know specs or columns.

Paths are evaluated by Python here and by TypeScript in the runner's persist blocks, so only the functions on which both
give the same answer are allowed. `engine/jmespath/functions.py` has their table; `tests/conformance` holds both
languages to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from jmespath import exceptions as jmes

from engine.errors import EngineError, nearest
from engine.jmespath import grammar
from engine.jmespath.functions import Interpreter
from engine.jmespath.grammar import Node, PathError
from engine.values.exact_json import kind as kind_of

#: The roots of the document a path is evaluated over, and the keys of those that hold nothing else.
ROOTS = ("output", "context", "run", "operation", "item")
KEYS: Mapping[str, tuple[str, ...]] = {
    "run": ("org_id", "submission_id", "pipeline_run_id", "step_position"),
    "operation": ("id", "status"),
}

Steps = tuple[str, ...]


class PathRaised(EngineError):
    """Evaluating a path over one document raised: a function was given a value it does not take (`found`)."""

    def __init__(self, message: str, found: Any = None) -> None:
        super().__init__(message)
        self.found = found


@dataclass(frozen=True)
class Path:
    """A compiled JMESPath expression. Equal when the text is equal."""

    text: str
    ast: Node = field(repr=False, compare=False)

    def search(self, document: Any) -> Any:
        """Evaluate over `document`; a missing value is None. Raises PathRaised when a function refuses its input."""
        if self.alternatives is not None:
            return _first_truthy(self.alternatives, document)
        try:
            return _INTERPRETER.visit(self.ast, document)
        except jmes.JMESPathTypeError as error:
            raise _raised(error) from error
        except (jmes.JMESPathError, ValueError, ArithmeticError, TypeError, RecursionError) as error:
            raise PathRaised(grammar.sentence(error)) from error

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
    """Compile an expression. Raises PathError with the first of its mistakes."""
    for mistake in mistakes(text):
        raise mistake
    return Path(text, grammar.parse(text))


def mistakes(text: str) -> list[PathError]:
    """Return every mistake of an expression, each with its code, its character and what to do; none when it compiles.

    Syntax, unknown or refused functions, wrong arguments, roots that do not exist. What does not parse has one mistake.
    """
    if not text.strip():
        return [PathError("SPEC401", "the path is empty", 0, "write a path such as `output.domain`")]
    try:
        return list(grammar.literal_mistakes(text)) or _meant_mistakes(Path(text, grammar.parse(text)))
    except PathError as error:
        return [error]
    except RecursionError:
        return [PathError("SPEC401", "not JMESPath: it nests too deep to be read", 0, "write a shorter path")]


def _meant_mistakes(path: Path) -> list[PathError]:
    """What is wrong with an expression that parses, in the order of its characters."""
    found = grammar.tree_mistakes(path.text, path.ast)
    if not any(mistake.code == "SPEC409" for mistake in found):  # what lacks its `&` would be taken for a root
        found += [*_root_mistakes(path), *_key_mistakes(path)]
    return sorted(found, key=lambda mistake: mistake.offset)


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


def _raised(error: jmes.JMESPathTypeError) -> PathRaised:
    """In our own words: the library's sentence holds the whole value, however large."""
    wanted = " or ".join(f"`{name}`" for name in error.expected_types)
    found = kind_of(error.current_value)
    return PathRaised(f"`{error.function_name}` takes {wanted}, found `{found}`", error.current_value)


def _root_mistakes(path: Path) -> Iterator[PathError]:
    text = path.text
    for root in path.roots - set(ROOTS):
        word = re.escape(root)
        found = re.search(rf"""(?<![\w."'`])({word}(?!\w)|"{word}")""", text)
        offset = found.start() if found else max(text.find(root), 0)
        yield PathError("SPEC404", f"root `{root}` does not exist", offset, _root_hint(root, text[offset : offset + 1]))


def _key_mistakes(path: Path) -> Iterator[PathError]:
    for root, key in sorted({steps[:2] for steps in path.reads if len(steps) > 1 and steps[0] in KEYS}):
        if key not in KEYS[root]:
            found = re.search(rf"""(?<![\w."'`]){root}\s*\.\s*"?({re.escape(key)})""", path.text)
            offset = found.start(1) if found else max(path.text.find(key), 0)
            yield PathError("SPEC404", f"`{root}` has no `{key}`", offset, nearest(key, KEYS[root]))


def _root_hint(root: str, sign: str) -> str:
    if sign == '"':
        return f"in JMESPath double quotes hold a key; a string is written '{root}'"
    if root in ("null", "true", "false"):
        return f"a literal stands between backticks, `{root}`"
    near = nearest(root, ROOTS)
    if near.startswith("did you mean"):
        return near
    return f"did you mean `output.{root}`? a path starts at `output`, `context`, `run`, `operation` or `item`"


def _alternatives(node: Node) -> tuple[Steps, ...] | None:
    if node["type"] == "or_expression":
        left, right = (_alternatives(child) for child in node["children"])
        return None if left is None or right is None else (*left, *right)
    steps = _dotted(node)
    return None if steps is None else (steps,)


def _dotted(node: Node) -> Steps | None:
    """`a.b.c` as its steps; None for anything else."""
    if node["type"] == "field":
        return (node["value"],)
    if node["type"] == "subexpression":
        parts = [_dotted(child) for child in node["children"]]
        if all(part is not None for part in parts):
            return tuple(step for part in parts if part for step in part)
    return None


def _collect(node: Node, at: Steps | None, found: set[Steps]) -> Steps | None:
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
