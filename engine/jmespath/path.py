"""Parse JMESPath expressions into compiled paths, which search a document and tell which parts of it they read.

Paths are evaluated here, and in TypeScript by the runner's persist blocks, so only functions on which both agree are
allowed (`engine/jmespath/functions.py`). `tests/conformance` compares the two languages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from jmespath import exceptions as jmes

from engine.errors import EngineError, suggest_name
from engine.jmespath import grammar
from engine.jmespath.functions import Interpreter
from engine.jmespath.grammar import Node, PathError
from engine.values.exact_json import json_kind

#: The roots: the keys with which a path may start, which are those of the document that it is evaluated over.
DOCUMENT_ROOTS = ("output", "context", "step_input", "run", "operation", "item", "parent")
#: The roots that exist only with `rows`: an element and, with nested `rows`, the element around it.
ELEMENT_ROOTS = frozenset({"item", "parent"})
#: The keys of the roots that have a fixed set of them.
ROOT_KEYS: Mapping[str, tuple[str, ...]] = {
    "run": ("org_id", "company_id", "submission_id", "pipeline_run_id", "step_position"),
    "operation": ("id", "status"),
}

Steps = tuple[str, ...]

#: The most characters of a path: parsing takes time that grows with the square of the length.
MAX_PATH_LENGTH = 10_000


class EvaluationError(EngineError):
    """A path cannot be evaluated over a document: a function got a value of the wrong type, which is `found`."""

    def __init__(self, message: str, found: Any = None) -> None:
        super().__init__(message)
        self.found = found


@dataclass(frozen=True)
class CompiledPath:
    """A compiled JMESPath expression. Two are equal if their texts are equal."""

    text: str
    ast: Node = field(repr=False, compare=False)

    def search(self, document: Any) -> Any:
        """Return the value of the path in `document`, None where it is missing.

        Raises EvaluationError when a function refuses its argument.
        """
        if self.alternatives is not None:
            return _search_alternatives(self.alternatives, document)
        try:
            return _INTERPRETER.visit(self.ast, document)
        except jmes.JMESPathTypeError as error:
            raise _build_evaluation_error(error) from error
        except (jmes.JMESPathError, ValueError, ArithmeticError, TypeError, RecursionError) as error:
            raise EvaluationError(grammar.describe_error(error)) from error

    def search_or_none(self, document: Any) -> Any:
        """Evaluate the path over `document`; None for a missing value, and where the evaluation fails."""
        try:
            return self.search(document)
        except EvaluationError:
            return None

    @cached_property
    def reads(self) -> frozenset[Steps]:
        """The paths of the parts of a document on which the result depends; `()` is the whole document."""
        reads: set[Steps] = set()
        result = _collect_reads(self.ast, (), reads)
        if result is not None:
            reads.add(result)
        return frozenset(reads)

    @cached_property
    def roots(self) -> frozenset[str]:
        """The roots of the parts that the path reads."""
        return frozenset(steps[0] for steps in self.reads if steps)

    @cached_property
    def alternatives(self) -> tuple[Steps, ...] | None:
        """The dotted paths of `a.b || c.d` in their order; None for any other expression."""
        return _split_alternatives(self.ast)


@dataclass(frozen=True, slots=True)
class ParsedPath:
    """The result of parsing one expression: its compiled path, or its mistakes in the order of their offsets."""

    path: CompiledPath | None  # None when there are mistakes
    mistakes: tuple[PathError, ...] = ()


def parse_path(text: str, roots: Sequence[str] = DOCUMENT_ROOTS) -> ParsedPath:
    """Parse an expression once and check it: its syntax, function calls, roots and their keys.

    `roots` are those it may start with. Mistakes are returned, not raised; an expression that does not parse has one.
    """
    if not text.strip():
        return ParsedPath(None, (PathError("SPEC401", "the path is empty", 0, "write a path such as `output.domain`"),))
    if len(text) > MAX_PATH_LENGTH:
        message = f"the path has {len(text)} characters, and may have {MAX_PATH_LENGTH}"
        return ParsedPath(None, (PathError("SPEC411", message, 0, "write a shorter path"),))
    try:
        if mistakes := tuple(grammar.find_literal_mistakes(text)):
            return ParsedPath(None, mistakes)
        path = CompiledPath(text, grammar.parse_expression(text))
        mistakes = _find_mistakes(path, roots)
    except PathError as error:
        return ParsedPath(None, (error,))
    except RecursionError:
        too_deep = PathError("SPEC401", "not JMESPath: it nests too deep to be read", 0, "write a shorter path")
        return ParsedPath(None, (too_deep,))
    return ParsedPath(None if mistakes else path, mistakes)


def compile_path(text: str) -> CompiledPath:
    """Compile an expression that is known to be correct. Raises PathError, its first mistake, if it is not."""
    parsed = parse_path(text)
    if parsed.path is None:
        raise parsed.mistakes[0]
    return parsed.path


def _find_mistakes(path: CompiledPath, roots: Sequence[str]) -> tuple[PathError, ...]:
    """Return the mistakes of an expression that parses, in the order of their offsets."""
    mistakes = grammar.find_tree_mistakes(path.text, path.ast)
    if not any(
        mistake.code == "SPEC409"
        for mistake in mistakes
        # Without this, a name that lacks its `&` would be reported as an unknown root too.
    ):
        compared = {mistake.offset for mistake in mistakes if mistake.code == "SPEC410"}
        found = [*_find_root_mistakes(path, roots), *_find_key_mistakes(path)]
        mistakes += [mistake for mistake in found if mistake.offset not in compared]
    return tuple(sorted(mistakes, key=lambda mistake: mistake.offset))


def is_truthy(value: Any) -> bool:
    """Return whether JMESPath regards `value` as true: null, false, "", [] and {} are falsy; 0 is not."""
    return bool(value) or not (value is None or value is False or isinstance(value, (str, list, dict)))


def _search_alternatives(alternatives: tuple[Steps, ...], document: Any) -> Any:
    """Evaluate `a.b || c` with the interpreter's result in a tenth of its time; nearly every path has this form."""
    value = None
    for steps in alternatives:
        value = document
        for step in steps:
            if not isinstance(value, dict):
                value = None
                break
            value = value.get(step)
        if value or is_truthy(value):
            break
    return value


_INTERPRETER = Interpreter()


def _build_evaluation_error(error: jmes.JMESPathTypeError) -> EvaluationError:
    """Build the error with a short message: the library's message contains the whole value, however large."""
    wanted = " or ".join(f"`{name}`" for name in error.expected_types)
    found = json_kind(error.current_value)
    return EvaluationError(f"`{error.function_name}` takes {wanted}, found `{found}`", error.current_value)


def _find_root_mistakes(path: CompiledPath, roots: Sequence[str]) -> Iterator[PathError]:
    text = path.text
    for root in path.roots - set(roots):
        word = re.escape(root)
        found = re.search(rf"""(?<![\w."'`])({word}(?!\w)|"{word}")""", text)
        offset = found.start() if found else max(text.find(root), 0)
        yield PathError(
            "SPEC404",
            f"root `{root}` does not exist" if roots == DOCUMENT_ROOTS else f"root `{root}` does not exist here",
            offset,
            _build_root_hint(root, text[offset : offset + 1], roots),
        )


def _find_key_mistakes(path: CompiledPath) -> Iterator[PathError]:
    for root, key in sorted({steps[:2] for steps in path.reads if len(steps) > 1 and steps[0] in ROOT_KEYS}):
        if key not in ROOT_KEYS[root]:
            found = re.search(rf"""(?<![\w."'`]){root}\s*\.\s*"?({re.escape(key)})""", path.text)
            offset = found.start(1) if found else max(path.text.find(key), 0)
            yield PathError("SPEC404", f"`{root}` has no `{key}`", offset, suggest_name(key, ROOT_KEYS[root]))


def _build_root_hint(root: str, sign: str, roots: Sequence[str]) -> str:
    if sign == '"':
        return f"in JMESPath double quotes hold a key; a string is written '{root}'"
    if root in ("null", "true", "false"):
        return f"a literal stands between backticks, `{root}`"
    near = suggest_name(root, roots)
    if near.startswith("did you mean"):
        return near
    if roots != DOCUMENT_ROOTS:
        *others, last = (f"`{name}`" for name in roots)
        return f"a path here starts at {', '.join(others)} or {last}" if others else f"a path here starts at {last}"
    return f"did you mean `output.{root}`? a path starts at `output`, `context`, `run`, `operation` or `item`"


def _split_alternatives(node: Node) -> tuple[Steps, ...] | None:
    """Return the dotted paths of `a.b || c.d` in their order; None for any other expression."""
    if node["type"] == "or_expression":
        left, right = (_split_alternatives(child) for child in node["children"])
        return None if left is None or right is None else (*left, *right)
    steps = _split_steps(node)
    return None if steps is None else (steps,)


def _split_steps(node: Node) -> Steps | None:
    """Return the steps of a dotted path `a.b.c`; None for any other expression."""
    if node["type"] == "field":
        return (node["value"],)
    if node["type"] == "subexpression":
        parts = [_split_steps(child) for child in node["children"]]
        if all(part is not None for part in parts):
            return tuple(step for part in parts if part for step in part)
    return None


def _collect_reads(node: Node, at: Steps | None, reads: set[Steps]) -> Steps | None:
    """Add to `reads` every path that `node` reads if evaluated at the path `at`; return the path of the node's value.

    None is returned for a value that was computed, and so has no path; what it was computed from is in `reads`.
    """
    kind, children = node["type"], node.get("children", ())
    if kind == "field":
        return None if at is None else (*at, node["value"])
    if kind in ("current", "identity"):
        return at
    if kind in ("subexpression", "pipe"):
        for child in children:
            at = _collect_reads(child, at, reads)
        return at
    if kind in ("literal", "expref", "index", "slice"):
        return None  # `&name` is evaluated on elements of another argument, and that whole argument is in `reads`
    # Every other node reads the whole values of its operands, so nothing inside them needs a path of its own.
    if kind in ("index_expression", "projection", "value_projection", "filter_projection", "flatten"):
        children = children[:1]
    elif kind in ("multi_select_list", "multi_select_dict"):
        reads.update([at] if at else [])  # a multiselect on null is null, so its result depends on its base too
    for child in children:
        prefix = _collect_reads(child, at, reads)
        if prefix is not None:
            reads.add(prefix)
    return None
