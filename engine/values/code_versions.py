"""Compute a version of what a function does, from its code and the libraries it uses.

The version is part of a plan's digest: when a normalizer starts to give other values, the step results of the specs
that use it become pending again. It does not depend on comments, docstrings, the place in the file or Python's
version.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import io
import re
import textwrap
import tokenize
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import fields, is_dataclass
from datetime import date, timedelta
from functools import cache
from importlib.metadata import version
from types import CodeType, FunctionType
from typing import Any

#: The prefix of modules whose functions and constants are part of the version; other packages count by their version.
_FOLLOWED = "engine."
_PLAIN = (str, bytes, int, float, bool, date, timedelta, type(None))


@cache
def compute_version(function: Callable[..., Any], libraries: tuple[str, ...] = ()) -> str:
    """Return a short text that changes when the function, what it calls, or one of `libraries` changes."""
    digest = hashlib.sha256("\n".join(_list_code(function)).encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return " ".join((digest, *(f"{name}={version(name)}" for name in libraries)))


def _list_code(function: Callable[..., Any]) -> Iterator[str]:
    """Yield the code of a function, and of every function and constant of the engine that it uses, each once."""
    seen: set[int] = set()
    stack: list[Any] = [inspect.unwrap(function), function]
    while stack:
        part = stack.pop()
        if isinstance(part, _PLAIN):
            yield repr(part)
            continue
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, FunctionType):
            yield _read_code(part)
            stack += reversed(list(_list_named_parts(part)))
        elif isinstance(part, re.Pattern):
            yield f"{part.pattern!r} {part.flags}"
        elif isinstance(part, Set):
            yield repr(sorted(map(str, part)))
        elif isinstance(part, Mapping):
            stack += [child for pair in part.items() for child in pair]
        elif isinstance(part, tuple | list):
            stack += part
        elif is_dataclass(part) and not isinstance(part, type):
            stack += [getattr(part, field.name) for field in fields(part)]


def _list_named_parts(function: FunctionType) -> Iterator[Any]:
    """Yield the engine's globals that a function names, and the values that it closes over."""
    for name in sorted(_collect_names(function.__code__)):
        part = function.__globals__.get(name)
        is_foreign = callable(part) and not str(getattr(part, "__module__", "")).startswith(_FOLLOWED)
        if part is not None and not is_foreign:
            yield part
    for cell in function.__closure__ or ():
        yield cell.cell_contents


def _collect_names(code: CodeType) -> set[str]:
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return {*code.co_names, *(name for constant in inner for name in _collect_names(constant))}


@cache
def _read_code(function: FunctionType) -> str:
    """Return a function's source without comments, docstring and layout; its byte code if there is no source."""
    try:
        source = textwrap.dedent(inspect.getsource(function))
        cuts = [*_find_comments(source), *_find_docstrings(source)]
    except (OSError, SyntaxError, tokenize.TokenError):  # typed into an interpreter, or only part of a line
        code = function.__code__
        return repr((code.co_code, [part for part in code.co_consts if isinstance(part, _PLAIN)], code.co_names))
    lines = [line.encode() for line in source.splitlines()]
    for (first, start), (last, end) in sorted(cuts, reverse=True):
        lines[first - 1 : last] = [lines[first - 1][:start] + lines[last - 1][end:]]
    return " ".join(b" ".join(lines).decode().split())


Cut = tuple[tuple[int, int], tuple[int, int]]  # start and end (exclusive) of a text: line from 1, byte from 0


def _find_comments(source: str) -> Iterator[Cut]:
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            line, column = token.start
            start = len(lines[line - 1][:column].encode())
            yield (line, start), (line, start + len(token.string.encode()))


def _find_docstrings(source: str) -> Iterator[Cut]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node, clean=False) is not None:
            text = node.body[0]
            assert text.end_lineno is not None and text.end_col_offset is not None
            yield (text.lineno, text.col_offset), (text.end_lineno, text.end_col_offset)
