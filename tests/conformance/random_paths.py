"""Documents and paths by chance, made of what the two languages have disagreed on: spellings of numbers, orders of keys.

Numbers are JSON text, so that one value occurs in several spellings; keys are ones that look like indexes, or that
JavaScript objects have by birth. Every path is one that `dex check` accepts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from hypothesis import strategies as st

from engine.jmespath import path
from engine.jmespath.grammar import PathError
from engine.values.exact_json import Json, loads

Draw: TypeAlias = Callable[[st.SearchStrategy[Any]], Any]

NUMBERS = tuple(
    "0 1 2 -3 10 10.0 1.5 1.10 1.1 -0 -0.0 1e2 1E-7 3.0 100 0.1 1e21 9007199254740992 9007199254740993 "
    "12345678901234567890 12345678901234567891 -12345678901234567890 0.30000000000000004 123456789.123456789123 1e400".split()
)
KEYS = ("a", "b", "aa", "1", "10", "é", "__proto__", "length", "constructor")
TEXTS = ("", " ", "a", "b", "10", "é😀", "\uffee", "toString")
LITERALS = (
    *("'a'", "'10'", "''", "`1`", "`0`", "`1.0`", "`1.10`", "`-0.0`", "`1e2`", "`0.0000001`", "`null`", "`true`"),
    *("`[]`", "`{}`", '`"é"`', '`[1, "a", 10.0]`', '`{"b": 1, "aa": 2, "10": 3.0}`'),
)
OPERATORS = ("||", "&&", "==", "!=", "<", "<=", ">", ">=", "|")
STEPS = ("[0]", "[-1]", "[*]", "[]", "[1:]", "[::-1]", "[:2]", ".*")
CALLS_OF_ONE = "abs avg ceil floor sum keys length max min reverse sort to_array type values".split()
CALLS_OF_TWO = "contains ends_with join not_null starts_with".split()


def build_documents() -> st.SearchStrategy[dict[str, Json]]:
    """Build `{output, context, item}`: an object, an object and anything."""
    leaves = st.one_of(
        st.sampled_from(NUMBERS).map(loads),
        st.sampled_from(NUMBERS).map(loads),
        st.sampled_from((None, True, False)),
        st.sampled_from(TEXTS),
    )
    values: st.SearchStrategy[Json] = st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
        max_leaves=12,
    )
    objects = st.dictionaries(st.sampled_from(KEYS), values, min_size=1, max_size=5)
    return st.fixed_dictionaries({"output": objects, "context": objects, "item": values})


@st.composite
def build_paths(draw: Draw) -> str:
    """Build a path over a document of `build_documents`."""
    text = _write_expression(draw, draw(st.integers(0, 3)), is_root=True)
    try:
        path.compile_path(text)
    except PathError:  # such as a `!` before a step: what `dex check` refuses reaches neither language
        return "output"
    return text


def _write_expression(draw: Draw, depth: int, is_root: bool) -> str:
    if depth == 0:
        return _write_leaf(draw, is_root)
    kinds = (_write_walk, _write_walk, _write_operation, _write_call)
    return draw(st.sampled_from(kinds))(draw, depth - 1, is_root)


def _write_leaf(draw: Draw, is_root: bool) -> str:
    kind = draw(st.integers(0, 4))
    if kind == 0:
        return draw(st.sampled_from(LITERALS))
    if kind == 1:
        return draw(st.sampled_from(("output", "context", "item", "@") if is_root else ("@",)))
    key = _quote_key(draw(st.sampled_from(KEYS)))
    return f"{draw(st.sampled_from(('output', 'context', 'item')))}.{key}" if is_root else key


def _write_walk(draw: Draw, depth: int, is_root: bool) -> str:
    base = _write_expression(draw, depth, is_root)
    kind = draw(st.integers(0, 4))
    if kind == 0:
        return f"({base}).{_quote_key(draw(st.sampled_from(KEYS)))}"
    if kind == 1:
        return f"({base})[?{_write_expression(draw, depth, False)}]"
    if kind == 2:
        return f"[{base}, {_write_expression(draw, depth, is_root)}]"
    if kind == 3:
        keys = [_quote_key(draw(st.sampled_from(KEYS))) for _ in range(2)]
        return f"{{{keys[0]}: {base}, {keys[1]}: {_write_expression(draw, depth, is_root)}}}"
    step = draw(st.sampled_from(STEPS))
    return f"({base}){step}{draw(st.sampled_from(('', '.a', '.*', '[0]')))}"


def _write_operation(draw: Draw, depth: int, is_root: bool) -> str:
    operator = draw(st.sampled_from((*OPERATORS, "!")))
    if operator == "!":
        return f"!({_write_expression(draw, depth, is_root)})"
    right = _write_expression(draw, depth, is_root and operator != "|")
    return f"({_write_expression(draw, depth, is_root)} {operator} {right})"


def _write_call(draw: Draw, depth: int, is_root: bool) -> str:
    one = _write_expression(draw, depth, is_root)
    kind = draw(st.integers(0, 4))
    if kind <= 1:
        return f"{draw(st.sampled_from(CALLS_OF_ONE))}({one})"
    if kind == 2:
        return f"{draw(st.sampled_from(CALLS_OF_TWO))}({one}, {_write_expression(draw, depth, is_root)})"
    if kind == 3:
        element = _write_expression(draw, depth, False)
        name = draw(st.sampled_from(("map", "sort_by", "max_by", "min_by")))
        return f"map(&{element}, {one})" if name == "map" else f"{name}({one}, &{element})"
    return f"merge({one}, {_write_expression(draw, depth, is_root)})"


def _quote_key(key: str) -> str:
    return key if key.isascii() and key.isidentifier() else f'"{key}"'
